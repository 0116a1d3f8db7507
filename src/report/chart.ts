/** Charts as pictures without a browser: vega-lite spec → vega scene → SVG → PNG. */
import { Resvg } from '@resvg/resvg-js';
import * as vega from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { ArgumentError } from '../runtime/errors.js';
import { writeAtomic } from '../runtime/files.js';

const font = 'DejaVu Sans';

/** The SVG of a vega-lite spec whose data is inline. The spec's own `config` wins over the house style. */
export async function toSvg(spec: TopLevelSpec): Promise<string> {
  const style = { font, background: 'white', view: { stroke: null }, axis: { gridColor: '#e5e5e5' } };
  // The logger throws on a warning: a field that is misspelt must not become an empty chart.
  const logger = strictLogger();
  const compiled = compile(spec, { config: style, logger }).spec;
  const view = new vega.View(vega.parse(compiled), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** Draws a chart into a .svg or .png file; `scale` multiplies the pixels of a PNG. */
export async function writeChart(spec: TopLevelSpec, path: string, scale = 2): Promise<void> {
  const svg = await toSvg(spec);
  if (path.endsWith('.svg')) return writeAtomic(path, svg);
  if (!path.endsWith('.png'))
    throw new ArgumentError(`a chart is .svg or .png, not ${path}`, {
      hint: 'name the file *.svg or *.png',
    });
  const picture = new Resvg(svg, {
    fitTo: { mode: 'zoom', value: scale },
    font: { loadSystemFonts: true, defaultFontFamily: font },
  });
  writeAtomic(path, picture.render().asPng());
}

function strictLogger() {
  const refuse = (...messages: readonly unknown[]): never => {
    throw new ArgumentError(`chart: ${messages.map(String).join(' ')}`, {
      hint: 'look at the rows that the chart was given',
    });
  };
  const logger = {
    level: () => logger,
    warn: refuse,
    error: refuse,
    info: () => logger,
    debug: () => logger,
  };
  return logger as never;
}

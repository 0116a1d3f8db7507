/**
 * `npm run bench:kinds`: a layer of every attention kind at several lengths, on the CPU or on a device: time of forward
 * and of forward + backward beside flash (in turns, A B A B, in this run), peak bytes of a training step, time and bytes
 * of decoding a token after T others. A second table answers whether factorised weights save memory, at T = 1024 or the
 * longest length that is asked for.
 */
import { join } from 'node:path';
import { median } from 'simple-statistics';
import { type Cell, writeCsv } from '../src/io/csv.js';
import { writeChart } from '../src/report/chart.js';
import { type Figure, machine, writeReport } from '../src/report/json.js';
import { type Column, fixed, markdownTable, textTable } from '../src/report/table.js';
import { writeAtomic } from '../src/runtime/files.js';
import { packageRoot } from '../src/runtime/load.js';
import type { RuntimeOptions } from '../src/runtime/runtime.js';
import { bind, check } from './lib/bounds.js';
import { busyCores } from './lib/busy.js';
import { findDevices } from './lib/devices.js';
import { DIM, type Entry, entries, HEADS, LayerWork } from './lib/kinds.js';
import { kindsChart } from './lib/kinds-chart.js';
import { savings } from './lib/kinds-savings.js';
import { stacks } from './lib/kinds-stack.js';
import { type Common, command, list, run, sizes } from './lib/options.js';
import { progress } from './lib/progress.js';
import type { Summary } from './lib/stats.js';
import { type Effort, interleave, quick, thorough } from './lib/timing.js';

interface Options extends Common {
  lengths: number[];
  kinds?: string[];
  device: string;
  out: string;
}

/** One kind at one length. */
interface Line {
  entry: Entry;
  length: number;
  parameters: number;
  forward: Summary;
  both: Summary;
  /** flash beside it in the same turns. */
  flash: { forward: Summary; both: Summary };
  peak: number;
  decode: { seconds: number; bytesPerToken: number } | null;
}

const columns: Column[] = [
  { key: 'kind' },
  { key: 'T' },
  { key: 'parameters' },
  { key: 'forward_ms', title: 'forward ms', format: fixed(2) },
  { key: 'backward_ms', title: 'backward ms', format: fixed(2) },
  { key: 'over_flash', title: "both over flash's", format: fixed(2) },
  { key: 'tokens_per_s', title: 'tokens/s', format: fixed(0) },
  { key: 'peak_MiB', title: 'peak MiB', format: fixed(1) },
  { key: 'decode_ms', title: 'decode ms/token', format: fixed(3) },
  { key: 'cache_bytes_per_token', title: 'cache bytes/token', format: fixed(0) },
];

await run<Options>(
  command('bench:kinds', 'every attention kind beside flash')
    .option('--lengths <numbers>', 'T, separated by commas', sizes, [512, 1024, 2048, 4096])
    .option('--kinds <names>', 'only these kinds, separated by commas', list)
    .option('--device <device>', "number or part of the name of a Vulkan device, or 'none'", 'none')
    .option('--out <folder>', 'folder for CSV, JSON, chart and table', join(packageRoot(), 'bench/results')),
  main,
);

async function main(options: Options): Promise<number> {
  const effort: Effort = options.quick ? quick : { ...thorough, runs: 10 };
  const { devices } = findDevices(options.device);
  const side: RuntimeOptions = devices[0]
    ? { device: devices[0].index, route: 'gpu' }
    : { device: 'none', route: 'cpu' };
  const about = machine(devices.slice(0, 1).map((d) => d.name));
  console.log(
    `${devices[0]?.name ?? about.cpu}, ${about.cores} cores, Node ${about.node}; B=1 C=${DIM} H=${HEADS}, fp32`,
  );
  const figures: Figure[] = [await busyCores()];
  const chosen = entries(options.kinds);
  const bar = progress(options.lengths.length * chosen.length, 'kinds');
  const lines: Line[] = [];
  for (const length of options.lengths)
    for (const entry of chosen) {
      bar.step(`${entry.name} T=${length}`);
      lines.push(await measure(entry, length, side, effort));
    }
  bar.stop();
  figures.push(...lines.flatMap(figuresOf), ...growth(lines));
  const rows = lines.map(rowOf);
  console.log(`\n${textTable(rows, columns)}`);
  const saved = await savings(side, Math.min(1024, Math.max(...options.lengths)));
  figures.push(...saved.figures);
  console.log(`\n${textTable(saved.rows)}\n\n${saved.answer}`);
  const deep = await stacks(side, Math.max(...options.lengths));
  figures.push(...deep);
  console.log(
    `\n${textTable(deep.map(({ name, metric, value, unit }) => ({ stack: name, metric, value, unit })))}`,
  );

  const base = join(options.out, devices[0] ? `kinds-${slug(devices[0].name)}` : 'kinds');
  await writeCsv(`${base}.csv`, rows);
  await writeChart(kindsChart(rows as never, `${about.cores} cores ${about.cpu}`), `${base}.png`);
  const tables = [markdownTable(rows, columns), markdownTable(saved.rows), saved.answer];
  writeAtomic(`${base}.md`, `${tables.join('\n\n')}\n`);
  const good = check(figures, bind('kinds', figures));
  writeReport(options.json ?? `${base}.json`, { machine: about, cases: figures });
  console.log(`\nSaved ${base}.csv, .png, .md and .json`);
  return options.check && !good ? 1 : 0;
}

function slug(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}

async function measure(entry: Entry, length: number, side: RuntimeOptions, effort: Effort): Promise<Line> {
  const work = new LayerWork(entry, length, side);
  const flash = new LayerWork({ name: 'flash', config: { kind: 'flash' } }, length, side);
  try {
    await work.run('both');
    await flash.run('both');
    const peak = await work.peak('both');
    const times = await interleave(
      {
        flashForward: flash.contender('forward'),
        forward: work.contender('forward'),
        flashBoth: flash.contender('both'),
        both: work.contender('both'),
      },
      effort,
    );
    const decoded = await work.decode(8);
    return {
      entry,
      length,
      parameters: work.layer.size,
      forward: times.forward,
      both: times.both,
      flash: { forward: times.flashForward, both: times.flashBoth },
      peak,
      decode: decoded && { seconds: median(decoded.seconds), bytesPerToken: decoded.bytes / length },
    };
  } finally {
    work.dispose();
    flash.dispose();
  }
}

function nameOf({ entry, length }: Line): string {
  return `${entry.name} T=${length}`;
}

function figuresOf(line: Line): Figure[] {
  const name = nameOf(line);
  const peer = 'flash';
  const { both, forward, flash, decode } = line;
  return [
    { name, metric: 'forward', value: forward.median * 1e3, unit: 'ms', peer, ratio: forward.median / flash.forward.median }, // biome-ignore format: one figure a line
    { name, metric: 'forward + backward', value: both.median * 1e3, unit: 'ms', peer, ratio: both.median / flash.both.median }, // biome-ignore format: one figure a line
    { name, metric: 'peak bytes', value: line.peak / 2 ** 20, unit: 'MiB' },
    ...(decode
      ? [
          { name, metric: 'decode', value: decode.seconds * 1e3, unit: 'ms/token' },
          { name, metric: 'cache', value: decode.bytesPerToken, unit: 'bytes/token' },
        ]
      : []),
  ];
}

/** Peak bytes at T = 4096 over those at 512, and over flash's. */
function growth(lines: readonly Line[]): Figure[] {
  const at = (name: string, length: number) =>
    lines.find((l) => l.entry.name === name && l.length === length);
  return lines
    .filter(({ length }) => length === 4096)
    .flatMap((long) => {
      const { name } = long.entry;
      const [short, flash] = [at(name, 512), at('flash', 4096)];
      return [
        ...(short
          ? [{ name, metric: 'peak bytes, T = 4096 over 512', value: long.peak / short.peak, unit: 'x' }]
          : []),
        ...(flash ? [{ name: nameOf(long), metric: "peak bytes over flash's", value: long.peak / flash.peak, unit: 'x' }] : []), // biome-ignore format: one figure a line
      ];
    });
}

function rowOf(line: Line): Record<string, Cell> {
  const { entry, length, parameters, forward, both, flash, peak, decode } = line;
  return {
    kind: entry.name,
    T: length,
    parameters,
    forward_ms: forward.median * 1e3,
    forward_mad_ms: forward.mad * 1e3,
    backward_ms: (both.median - forward.median) * 1e3,
    both_ms: both.median * 1e3,
    both_mad_ms: both.mad * 1e3,
    over_flash: both.median / flash.both.median,
    tokens_per_s: length / both.median,
    peak_MiB: peak / 2 ** 20,
    decode_ms: decode ? decode.seconds * 1e3 : null,
    cache_bytes_per_token: decode?.bytesPerToken ?? null,
  };
}

/** `attn-vk inspect`: what a run, a checkpoint or a file of tensors holds, and how training went. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type Cell, readCsv } from '../io/csv.js';
import { parseObject } from '../io/json.js';
import { SafetensorsFile } from '../io/safetensors.js';
import { Weights } from '../io/weights.js';
import { textTable } from '../report/table.js';
import { readBytes } from '../runtime/files.js';
import { type DType, dtypeBytes } from '../tensor/dtype.js';
import { sizeOf } from '../tensor/shape.js';
import type { ManifestFile } from '../train/manifest.js';
import { curve } from './curve.js';
import { locate, type Place, type Which } from './locate.js';
import { latestOption } from './options.js';
import { colors, count, facts, print, printJson, size } from './output.js';

interface Described {
  name: string;
  dtype: DType;
  shape: readonly number[];
  elements: number;
  bytes: number;
}

type Metrics = Record<string, number | string | null>;

interface Inspection extends Omit<Place, 'path'> {
  path: string;
  /** config.json of the model. */
  config: Record<string, unknown> | null;
  tensors: Described[];
  parameters: number;
  bytes: number;
  /** Of a run. */
  manifest: ManifestFile | null;
  checkpoints: { name: string; bytes: number }[];
  metrics: Metrics[];
}

export function inspectCommand(program: Command): void {
  program
    .command('inspect')
    .description(
      'show what a run, a checkpoint, a model or a .safetensors file holds, and the curve of training',
    )
    .argument('<run>', 'folder of a run, a checkpoint or a model; or a .safetensors file')
    .addOption(latestOption())
    .option('--json', 'print everything as JSON')
    .action(async (path: string, { latest, json }: { latest?: boolean; json?: boolean }) => {
      const found = await inspect(path, latest ? 'latest' : 'best');
      if (json) printJson(found);
      else print(format(found));
    });
}

async function inspect(path: string, which: Which): Promise<Inspection> {
  const place = locate(path, which);
  const tensors = describeTensors(place);
  const { run, model } = place;
  return {
    ...place,
    config: model ? json(join(model, 'config.json')) : null,
    tensors,
    parameters: tensors.reduce((n, t) => n + t.elements, 0),
    bytes: tensors.reduce((n, t) => n + t.bytes, 0),
    manifest: run ? (json(join(run, 'run.json')) as unknown as ManifestFile) : null,
    checkpoints: run ? checkpoints(run) : [],
    metrics: run ? await metrics(join(run, 'metrics.csv')) : [],
  };
}

const json = (path: string) => parseObject(readBytes(path), path);

function describeTensors({ kind, path, model }: Place): Described[] {
  if (kind !== 'file' && model === null) return [];
  using weights = kind === 'file' ? new SafetensorsFile(path) : new Weights(model!);
  return weights.names.map((name) => {
    const { dtype, shape } = weights.describe(name)!;
    const elements = sizeOf(shape);
    return { name, dtype, shape, elements, bytes: elements * dtypeBytes[dtype] };
  });
}

function checkpoints(run: string): Inspection['checkpoints'] {
  const folder = join(run, 'checkpoints');
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(folder, entry.name, 'state.json')))
    .map(({ name }) => ({ name, bytes: bytesIn(join(folder, name)) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

const bytesIn = (folder: string): number =>
  readdirSync(folder).reduce((n, name) => n + statSync(join(folder, name)).size, 0);

async function metrics(path: string): Promise<Metrics[]> {
  if (!existsSync(path)) return [];
  const rows = await readCsv(path);
  const cell = (text: string) => (text === '' ? null : Number.isNaN(Number(text)) ? text : Number(text));
  return rows.map((row) => Object.fromEntries(Object.entries(row).map(([key, text]) => [key, cell(text)])));
}

function format(found: Inspection): string {
  const { bold } = colors(process.stdout);
  const { kind, path, model, run, tensors, parameters, bytes } = found;
  const parts = [
    facts([
      [kind, path],
      ...(run && run !== path ? [['run', run] as const] : []),
      ...(model && model !== path ? [['model', model] as const] : []),
      ...ofManifest(found.manifest),
      ...(tensors.length > 0
        ? [['tensors', `${tensors.length}, ${count(parameters)} parameters, ${size(bytes)}`] as const]
        : []),
    ]),
  ];
  if (tensors.length > 0) parts.push(table(tensors));
  if (found.config) parts.push(`${bold('config.json')}\n${entries(found.config).join('\n')}`);
  if (found.checkpoints.length > 0)
    parts.push(
      `${bold('checkpoints')}\n${facts(
        found.checkpoints.map((c) => [c.name, size(c.bytes)]),
        '  ',
      )}`,
    );
  parts.push(...curves(found.metrics, bold));
  return parts.join('\n\n');
}

const table = (tensors: readonly Described[]): string =>
  textTable(
    tensors.map(({ name, dtype, shape, elements, bytes }) => ({
      tensor: name,
      dtype,
      shape: `[${shape.join(', ')}]`,
      parameters: elements,
      bytes: size(bytes),
    })),
    ['tensor', 'dtype', 'shape', 'parameters', { key: 'bytes', align: 'right' }],
  );

/** The values of an object a line each, nested names with dots. */
function entries(value: Record<string, unknown>, above = ''): string[] {
  return Object.entries(value).flatMap(([key, inside]) => {
    const name = `${above}${key}`;
    const nested = typeof inside === 'object' && inside !== null && !Array.isArray(inside);
    return nested
      ? entries(inside as Record<string, unknown>, `${name}.`)
      : [`  ${name}: ${JSON.stringify(inside)}`];
  });
}

/** What of a run's manifest a person wants to know first. */
function ofManifest(manifest: ManifestFile | null): (readonly [string, string])[] {
  if (!manifest) return [];
  const last = manifest.sessions.at(-1);
  const place = last?.place;
  return [
    ['name', manifest.name],
    ...(last
      ? [
          [
            'ended',
            last.outcome ? `${last.outcome}, at step ${last.to}` : 'not yet, or it was killed',
          ] as const,
        ]
      : []),
    ...(place ? [['device', `${place.device ?? place.cpu}, route ${place.route}`] as const] : []),
  ];
}

function curves(metrics: readonly Metrics[], bold: (text: string) => string): string[] {
  return ['train', 'val'].flatMap((split) => {
    const rows = metrics.filter((row) => row.split === split);
    const drawn = curve(rows.map((row) => ({ step: Number(row.step), value: Number(row.loss) })));
    const last = rows.at(-1);
    const told = last ? ` (${['loss', 'perplexity', 'bpb'].flatMap((k) => of(last, k)).join(', ')})` : '';
    return drawn ? [`${bold(`${split} loss`)}${told}\n${drawn}`] : [];
  });
}

const of = (row: Record<string, Cell>, key: string): string[] =>
  typeof row[key] === 'number' ? [`${key} ${Number(row[key].toPrecision(5))}`] : [];

/**
 * `npm run bench:experiments`: the study of holographic and tensor-train attention at the scale of its configurations,
 * E1 to E9, each trained by `attn-vk train` in a process of its own. What is asked of each: it runs to the end, its loss
 * falls, and no step is lost to a number that is not finite.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from 'simple-statistics';
import { readCsv, writeCsv } from '../src/io/csv.js';
import { type Figure, machine, writeReport } from '../src/report/json.js';
import { markdownTable, textTable } from '../src/report/table.js';
import { writeAtomic } from '../src/runtime/files.js';
import { packageRoot } from '../src/runtime/load.js';
import type { Outcome } from '../src/train/hook.js';
import { bind, check } from './lib/bounds.js';
import { busyCores } from './lib/busy.js';
import { type Common, command, list, run } from './lib/options.js';

interface Options extends Common {
  only?: string[];
  set: string[];
  out?: string;
}

await run<Options>(
  command('bench:experiments', 'E1 to E9: copying, enwik8 and WikiText by several kinds of attention')
    .option('--only <list>', 'experiments by number: e1,e5', list)
    .option('--set <path=value...>', 'settings for all of them, as attn-vk train takes them', [])
    .option('--out <folder>', 'where experiments.json, .csv and .md go; default nowhere'),
  main,
);

/** Figures of one experiment; a row of the table. */
interface Row {
  experiment: string;
  parameters: number;
  steps: number;
  'first loss': number;
  'last loss': number;
  'validation loss': number | null;
  'bits per byte': number | null;
  /** Of the labels that are answers, where a set has such. */
  accuracy: number | null;
  'tokens/s': number;
  'peak MB': number;
  'steps lost': number;
}

async function main(options: Options): Promise<number> {
  const about = machine([]);
  console.log(`${about.cpu}, ${about.cores} cores, Node ${about.node}`);
  const busy = await busyCores();
  const names = readdirSync(join(packageRoot(), 'configs'))
    .filter((file) => /^e\d+\..*\.yaml$/.test(file))
    .filter((file) => !options.only || options.only.includes(file.split('.')[0]!))
    .sort((a, b) => Number.parseInt(a.slice(1), 10) - Number.parseInt(b.slice(1), 10));
  const home = mkdtempSync(join(tmpdir(), 'attn-vk-experiments-'));
  const rows: Row[] = [];
  try {
    for (const name of names) {
      rows.push(await experiment(name, join(home, name), options));
      console.log(textTable(rows.slice(-1).map(shown)));
    }
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
  console.log(`\n${textTable(rows.map(shown))}`);
  const figures = [busy, ...rows.flatMap(figuresOf)];
  const good = check(figures, bind('experiments', figures));
  const report = { machine: about, cases: figures };
  if (options.json) writeReport(options.json, report);
  if (options.out) {
    writeReport(join(options.out, 'experiments.json'), report);
    await writeCsv(
      join(options.out, 'experiments.csv'),
      rows.map((row) => ({ ...row })),
    );
    const where = `${about.cores} cores ${about.cpu}, on the CPU alone`;
    const table = markdownTable(rows.map(shown));
    writeAtomic(
      join(options.out, 'experiments.md'),
      `# E1 to E9\n\nWritten by \`npm run bench:experiments\`: ${where}.\n\n${table}\n`,
    );
  }
  return options.check && !good ? 1 : 0;
}

/** Trains on the CPU alone: figures are for a kind of machine. */
async function experiment(name: string, folder: string, { quick, set }: Options): Promise<Row> {
  const config = join(packageRoot(), 'configs', name);
  const brief = quick
    ? [
        'train.steps=4',
        'train.schedule.warmup=1',
        'train.log.every=2',
        'train.eval.batches=1',
        'data.batch=2',
      ]
    : [];
  const sets = ['route=cpu', ...brief, ...set].flatMap((s) => ['--set', s]);
  const outcome = await attnVk<Outcome & { run: string }>(['train', config, '--out', folder, ...sets]);
  const { accuracy } = await attnVk<{ accuracy: number | null }>(['eval', folder, '--split', 'val']);
  const metrics = await readCsv(join(folder, 'metrics.csv'));
  const train = metrics.filter((r) => r.split === 'train');
  const { parameters } = JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8')) as { parameters: number };
  return {
    experiment: name.replace(/\.yaml$/, ''),
    parameters,
    steps: outcome.step,
    'first loss': Number(train[0]!.loss),
    'last loss': Number(train.at(-1)!.loss),
    'validation loss': outcome.val?.loss ?? null,
    'bits per byte': outcome.val?.bpb ?? null,
    accuracy: accuracy ?? null,
    'tokens/s': median(train.slice(1).map((r) => Number(r.tokens_per_sec))),
    'peak MB': Math.max(...train.map((r) => Number(r.peak_mb))),
    'steps lost': outcome.skipped,
  };
}

/** What a command prints as JSON; it talks to the terminal meanwhile. */
function attnVk<T>(args: string[]): Promise<T> {
  const cli = join(packageRoot(), 'dist/src/cli/index.js');
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cli, ...args, '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.on('error', reject).on('close', (status) => {
      if (status === 0) resolve(JSON.parse(text) as T);
      else reject(new Error(`attn-vk ${args.join(' ')} ended with status ${status}`));
    });
  });
}

function figuresOf(row: Row): Figure[] {
  const name = row.experiment.split('.')[0]!;
  const of = (metric: string, value: number | null, unit: string): Figure[] =>
    value === null ? [] : [{ name, metric, value, unit }];
  return [
    ...of('parameters', row.parameters, ''),
    ...of('last loss over the first', row['last loss'] / row['first loss'], 'x'),
    ...of('validation loss', row['validation loss'], 'nats'),
    ...of('bits per byte', row['bits per byte'], 'bits'),
    ...of('accuracy', row.accuracy, ''),
    ...of('rate', row['tokens/s'], 'tokens/s'),
    ...of('peak bytes', row['peak MB'], 'MB'),
    ...of('steps lost', row['steps lost'], ''),
  ];
}

/** Figures to four places. */
function shown(row: Row): Record<string, string | number | null> {
  const round = (value: string | number | null) =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value;
  return Object.fromEntries(Object.entries(row).map(([key, value]) => [key, round(value)]));
}

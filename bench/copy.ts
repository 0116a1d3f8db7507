/**
 * `npm run bench:copy`: can a kind of attention copy? Sequences of 64 random tokens whose second half repeats the first,
 * two layers of 128 channels; accuracy on the second half of sequences never trained on, for several seeds. The curve of
 * each run is saved. Chance is 1 in 64. `hrr` is expected to fail: it mixes no content between positions.
 */
import { join } from 'node:path';
import { median } from 'simple-statistics';
import { attentionKind, attentionKinds } from '../src/attention/registry.js';
import { type Cell, writeCsv } from '../src/io/csv.js';
import { writeChart } from '../src/report/chart.js';
import { type Figure, machine, writeReport } from '../src/report/json.js';
import { textTable } from '../src/report/table.js';
import { packageRoot } from '../src/runtime/load.js';
import { bind, check } from './lib/bounds.js';
import { type CopyPoint, CopyRun, VOCAB } from './lib/copy.js';
import { copyChart } from './lib/copy-chart.js';
import { type Common, command, list, run, sizes } from './lib/options.js';
import { progress } from './lib/progress.js';

interface Options extends Common {
  kinds?: string[];
  seeds: number[];
  steps?: number;
  out: string;
}

/** Steps between two measurements of a curve. */
const EVERY = 50;
/** A run ends when so much was right in two measurements, one after the other. */
const LEARNT = 0.999;

await run<Options>(
  command('bench:copy', 'which kinds of attention learn to copy')
    .option('--kinds <names>', 'only these kinds, separated by commas', list)
    .option('--seeds <numbers>', 'separated by commas', sizes, [1, 2, 3])
    .option('--steps <n>', 'of training (default: at most 1000, 100 with --quick)', (text) => sizes(text)[0]!)
    .option('--out <folder>', 'folder for CSV, JSON and chart', join(packageRoot(), 'bench/results')),
  main,
);

async function main(options: Options): Promise<number> {
  const kinds =
    options.kinds?.map((name) => attentionKind(name).kind) ?? attentionKinds.map(({ kind }) => kind);
  const steps = options.steps ?? (options.quick ? 100 : 1000);
  const about = machine([]);
  console.log(
    `${about.cpu}, ${about.cores} cores, Node ${about.node}; up to ${steps} steps, chance ${1 / VOCAB}`,
  );
  const bar = progress(kinds.length * options.seeds.length, 'copy');
  const curves: (CopyPoint & { kind: string; seed: number })[] = [];
  const rows: Record<string, Cell>[] = [];
  const figures: Figure[] = [];
  for (const kind of kinds) {
    const ends: CopyPoint[] = [];
    for (const seed of options.seeds) {
      bar.step(`${kind} seed ${seed}`);
      using task = new CopyRun(kind, seed, steps);
      for (let step = 0, learnt = 0; step < steps && learnt < 2; step += EVERY) {
        await task.train(Math.min(EVERY, steps - step));
        const point = await task.point();
        curves.push({ kind, seed, ...point });
        learnt = point.accuracy >= LEARNT ? learnt + 1 : 0;
      }
      ends.push(curves.at(-1)!);
    }
    const accuracy = ends.map((end) => end.accuracy);
    const [worst, middle] = [Math.min(...accuracy), median(accuracy)];
    rows.push({
      kind,
      ...Object.fromEntries(ends.map((end, i) => [`seed ${options.seeds[i]}`, percent(end.accuracy)])),
      'over chance': Number((middle * VOCAB).toFixed(1)),
      loss: Number(median(ends.map((end) => end.loss)).toFixed(3)),
      steps: median(ends.map((end) => end.step)),
    });
    figures.push(
      { name: kind, metric: 'accuracy, worst seed', value: worst, unit: '' },
      { name: kind, metric: 'accuracy, median', value: middle, unit: '' },
    );
  }
  bar.stop();
  console.log(`\n${textTable(rows)}`);
  const base = join(options.out, 'copy');
  await writeCsv(`${base}.csv`, curves as never);
  await writeChart(copyChart(curves), `${base}.png`);
  const good = check(figures, bind('copy', figures));
  writeReport(options.json ?? `${base}.json`, { machine: about, cases: figures });
  console.log(`\nSaved ${base}.csv, .png and .json`);
  return options.check && !good ? 1 : 0;
}

function percent(x: number): string {
  return `${(100 * x).toFixed(1)} %`;
}

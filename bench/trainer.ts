/**
 * `npm run bench:trainer`: what the trainer costs beside the steps themselves. The bare loop of `bench:train`, the trainer
 * (batches of a file made in a thread, metrics.csv and TensorBoard every 10 steps) and the trainer that logs entropies
 * every 50 steps take turns in one process, on equal models and batches. Checkpoints and evaluations are left out.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Runtime, sync, useRuntime } from '../src/index.js';
import { type Figure, machine, writeReport } from '../src/report/json.js';
import { textTable } from '../src/report/table.js';
import { bind, check } from './lib/bounds.js';
import { busyCores } from './lib/busy.js';
import { type Common, command, list, run } from './lib/options.js';
import { Paced, STEPS } from './lib/paced-trainer.js';
import { progress } from './lib/progress.js';
import { type Summary, summary } from './lib/stats.js';
import { type Contender, PAUSE_MS } from './lib/timing.js';
import { Training } from './lib/train-loop.js';
import { parseSize, SIZES } from './lib/train-sizes.js';

interface Options extends Common {
  sizes: string[];
}

/** Turns, each a sample of all three, and the seconds that they may take; three there are at least. */
const effort = { turns: 31, seconds: 240 };
const brief = { turns: 7, seconds: 20 };

await run<Options>(
  command('bench:trainer', 'what the trainer costs beside the steps themselves').option(
    '--sizes <list>',
    'layers x width x heads x T x batch, separated by commas',
    list,
    SIZES.slice(0, 3),
  ),
  main,
);

type Side = 'bare' | 'trainer' | 'entropy';

interface Line extends Record<Side, Summary> {
  size: string;
  /** Medians of the ratios of samples of one turn: what a slower minute of the machine does to both falls out. */
  overhead: number;
  more: number;
}

async function main(options: Options): Promise<number> {
  for (const size of options.sizes) parseSize(size);
  const about = machine([]);
  console.log(`${about.cpu}, ${about.cores} cores, Node ${about.node}`);
  const figures: Figure[] = [await busyCores()];
  useRuntime(new Runtime({ device: 'none', route: 'cpu' }));
  const bar = progress(options.sizes.length, 'trainer');
  const lines: Line[] = [];
  for (const size of options.sizes) {
    bar.step(size);
    lines.push(await compare(size, options.quick ? brief : effort));
  }
  bar.stop();
  figures.push(...lines.flatMap(figuresOf));
  const ms = (s: Summary) => Number((s.median * 1e3).toPrecision(4));
  const percent = (ratio: number) => `${(100 * (ratio - 1)).toFixed(1)} %`;
  console.log(
    `\n${textTable(
      lines.map(({ size, bare, trainer, entropy, overhead, more }) => ({
        size,
        'bare ms/step': ms(bare),
        '±': ms({ ...bare, median: bare.mad }),
        'trainer ms/step': ms(trainer),
        overhead: percent(overhead),
        'with entropies': ms(entropy),
        more: percent(more),
        n: bare.n,
      })),
    )}\n\nSizes: layers x width x heads x T x batch. A sample is ${STEPS} steps, drained at both ends.`,
  );
  const good = check(figures, bind('trainer', figures));
  if (options.json) writeReport(options.json, { machine: about, cases: figures });
  return options.check && !good ? 1 : 0;
}

function figuresOf({ size, trainer, entropy, overhead, more }: Line): Figure[] {
  const step = { metric: 'step', unit: 'ms' };
  return [
    {
      name: `trainer ${size}`,
      ...step,
      value: trainer.median * 1e3,
      peer: 'the bare loop',
      ratio: overhead,
    },
    { name: `entropy log ${size}`, ...step, value: entropy.median * 1e3, peer: 'without it', ratio: more },
  ];
}

async function compare(text: string, { turns, seconds }: typeof effort): Promise<Line> {
  const size = parseSize(text);
  const home = mkdtempSync(join(tmpdir(), 'attn-vk-trainer-'));
  const ends: (() => unknown)[] = [() => rmSync(home, { recursive: true, force: true })];
  try {
    const bare = new Training(false, size);
    ends.unshift(() => bare.dispose());
    const path = join(home, 'text.txt');
    writeFileSync(
      path,
      Uint8Array.from(bare.text, (v) => v + 32),
    ); // letters: data sets refuse what is no text
    const paced = async (name: string, entropy: number) => {
      const trainer = await Paced.open(size, { path, folder: join(home, name), entropy });
      ends.unshift(() => trainer.end());
      return trainer;
    };
    const contenders: Record<Side, Contender> = {
      bare: {
        async sample() {
          await sync();
          const began = performance.now();
          await bare.steps(STEPS);
          await sync();
          return [(performance.now() - began) / 1e3 / STEPS];
        },
      },
      trainer: await paced('trainer', 0),
      entropy: await paced('entropy', STEPS),
    };
    const names = Object.keys(contenders) as Side[];
    for (const name of names) await contenders[name].sample(1); // allocates, prepares
    const taken: Record<Side, number[]> = { bare: [], trainer: [], entropy: [] };
    const until = performance.now() + seconds * 1e3;
    for (let turn = 0; turn < turns && (turn < 3 || performance.now() < until); turn++)
      for (const name of names) {
        await sleep(PAUSE_MS);
        taken[name].push(...(await contenders[name].sample(1)));
      }
    const ratio = (a: Side, b: Side) => summary(taken[a].map((t, i) => t / taken[b][i]!)).median;
    return {
      size: text,
      bare: summary(taken.bare),
      trainer: summary(taken.trainer),
      entropy: summary(taken.entropy),
      overhead: ratio('trainer', 'bare'),
      more: ratio('entropy', 'trainer'),
    };
  } finally {
    for (const end of ends) await end();
  }
}

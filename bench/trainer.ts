/**
 * `npm run bench:trainer`: what the trainer costs beside the steps themselves. The bare loop of `bench:train`, the trainer
 * (batches of a file made in a thread, metrics.csv and TensorBoard every 10 steps) and the trainer that logs entropies
 * every 50 steps take turns in one process, on equal models and batches. Checkpoints and evaluations are left out.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Runtime, sync, useRuntime } from '../src/index.js';
import { type Figure, machine, writeReport } from '../src/report/json.js';
import { textTable } from '../src/report/table.js';
import { bind, check } from './lib/bounds.js';
import { busyCores } from './lib/busy.js';
import { type Common, command, list, run } from './lib/options.js';
import { Paced, STEPS } from './lib/paced-trainer.js';
import { progress } from './lib/progress.js';
import type { Summary } from './lib/stats.js';
import { type Contender, type Effort, interleave } from './lib/timing.js';
import { Training } from './lib/train-loop.js';
import { parseSize, SIZES } from './lib/train-sizes.js';

interface Options extends Common {
  sizes: string[];
}

const effort: Effort = { runs: 15, cap: 100, least: 5 };
const brief: Effort = { runs: 5, cap: 8, least: 3 };

await run<Options>(
  command('bench:trainer', 'what the trainer costs beside the steps themselves').option(
    '--sizes <list>',
    'layers x width x heads x T x batch, separated by commas',
    list,
    SIZES.slice(0, 3),
  ),
  main,
);

type Line = { size: string } & Record<'bare' | 'trainer' | 'entropy', Summary>;

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
  const percent = (a: Summary, b: Summary) => `${(100 * (a.median / b.median - 1)).toFixed(1)} %`;
  console.log(
    `\n${textTable(
      lines.map(({ size, bare, trainer, entropy }) => ({
        size,
        'bare ms/step': ms(bare),
        '±': ms({ ...bare, median: bare.mad }),
        'trainer ms/step': ms(trainer),
        overhead: percent(trainer, bare),
        'with entropies': ms(entropy),
        more: percent(entropy, trainer),
        n: bare.n,
      })),
    )}\n\nSizes: layers x width x heads x T x batch. A sample is ${STEPS} steps, drained at both ends.`,
  );
  const good = check(figures, bind('trainer', figures));
  if (options.json) writeReport(options.json, { machine: about, cases: figures });
  return options.check && !good ? 1 : 0;
}

function figuresOf({ size, bare, trainer, entropy }: Line): Figure[] {
  const against = (name: string, ours: Summary, peer: string, theirs: Summary): Figure => ({
    name,
    metric: 'step',
    value: ours.median * 1e3,
    unit: 'ms',
    peer,
    ratio: ours.median / theirs.median,
  });
  return [
    against(`trainer ${size}`, trainer, 'the bare loop', bare),
    against(`entropy log ${size}`, entropy, 'without it', trainer),
  ];
}

async function compare(text: string, wanted: Effort): Promise<Line> {
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
    const contenders: Record<'bare' | 'trainer' | 'entropy', Contender> = {
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
    for (const contender of Object.values(contenders)) await contender.sample(1); // allocates, prepares
    return { size: text, ...(await interleave(contenders, wanted)) };
  } finally {
    for (const end of ends) await end();
  }
}

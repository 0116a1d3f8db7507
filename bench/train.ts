/**
 * `npm run bench:train`: a GPT (byte vocabulary, learned positions, pre-LN, GELU MLP) trained by AdamW with clipping, at
 * four sizes in fp32 and the largest in bf16 autocast, beside the same model in PyTorch, eager and compiled. Each side
 * is a process of its own, so that its peak memory is its own; they take turns, A B A B. Ratios are ours over theirs.
 */
import { join } from 'node:path';
import { type Figure, machine, writeReport } from '../src/report/json.js';
import { textTable } from '../src/report/table.js';
import { packageRoot } from '../src/runtime/load.js';
import { bind, check } from './lib/bounds.js';
import { busyCores } from './lib/busy.js';
import { type Common, command, list, run } from './lib/options.js';
import { openAnchor, openTorch, Peer } from './lib/peers.js';
import { progress } from './lib/progress.js';
import type { Summary } from './lib/stats.js';
import { type Effort, interleave } from './lib/timing.js';
import { type Dtype, parts, Runner, type Side } from './lib/train-side.js';
import { flopsFormula, flopsPerToken, parseSize, SIZES } from './lib/train-sizes.js';

interface Options extends Common {
  sizes: string[];
  compile: boolean;
}

/** Batches of steps. */
const effort: Effort = { runs: 15, cap: 12, least: 5 };
const brief: Effort = { runs: 5, cap: 1.5, least: 3 };
/** Our side; PyTorch's is bench/anchors/torch_train.py. */
const script = join(packageRoot(), 'dist/bench/lib/train-peer.js');

await run<Options>(
  command('bench:train', 'training a GPT beside PyTorch')
    .option('--sizes <list>', 'layers x width x heads x T x batch, separated by commas', list, SIZES)
    .option('--no-compile', 'without torch.compile, which takes a minute for each size'),
  main,
);

interface Line {
  size: string;
  dtype: Dtype;
  ours: Side;
  theirs: Side[];
  ofCeiling?: number;
}

async function main(options: Options): Promise<number> {
  for (const size of options.sizes) parseSize(size);
  const about = machine([]);
  console.log(`${about.cpu}, ${about.cores} cores, Node ${about.node}`);
  const figures: Figure[] = [await busyCores()];
  const ceilings = await matmulCeilings(figures);
  const walk = options.sizes.flatMap((size) =>
    (size === SIZES.at(-1) ? (['float32', 'bfloat16'] as const) : (['float32'] as const)).map((dtype) => ({
      size,
      dtype,
    })),
  );
  const bar = progress(walk.length, 'training');
  const lines: Line[] = [];
  for (const { size, dtype } of walk) {
    bar.step(`${size} ${dtype}`);
    const line = await compare(size, dtype, options);
    const ceiling = ceilings.get(dtype);
    if (ceiling) line.ofCeiling = (flopsPerToken(size) * tokensPerSecond(size, line.ours)) / ceiling;
    lines.push(line);
  }
  bar.stop();
  figures.push(...lines.flatMap(figuresOf), ...means(lines));
  print(lines);
  const good = check(figures, bind('train', figures));
  if (options.json) writeReport(options.json, { machine: about, cases: figures });
  return options.check && !good ? 1 : 0;
}

/** The best rate of oneDNN's own matmul, called directly, at sizes that suit it. */
async function matmulCeilings(figures: Figure[]): Promise<Map<Dtype, number>> {
  const ceilings = new Map<Dtype, number>();
  const anchor = await openAnchor();
  if (!(anchor instanceof Peer)) {
    console.log(`no ceilings: ${anchor}`);
    return ceilings;
  }
  for (let round = 0; round < 3; round++)
    for (const dtype of ['float32', 'bfloat16'] as const)
      for (const n of ['512', '1024', '2048']) {
        const { samples, flops } = await anchor.run('matmul', dtype, n, 8);
        ceilings.set(dtype, Math.max(ceilings.get(dtype) ?? 0, flops / Math.min(...samples)));
      }
  anchor.close();
  for (const [dtype, f] of ceilings)
    figures.push({ name: `ceiling ${dtype}`, metric: 'matmul', value: f / 1e9, unit: 'GFLOP/s' });
  const told = [...ceilings].map(([dtype, f]) => `${dtype} ${(f / 1e9).toFixed(0)} GFLOP/s`);
  console.log(`matmul ceilings in this run: ${told.join(', ')}`);
  return ceilings;
}

/** One case on every side that is here, in turns. */
async function compare(size: string, dtype: Dtype, { quick, compile }: Options): Promise<Line> {
  const sides: [name: string, work: string, open: () => Promise<Peer | string>][] = [
    ['ours', 'train', () => Peer.open('attn-vk', process.execPath, [script])],
    ['PyTorch eager', 'eager', () => openTorch('torch_train')],
    ...(compile && !quick
      ? [['PyTorch compile', 'compile', () => openTorch('torch_train')] as (typeof sides)[number]]
      : []),
  ];
  const running: { side: Runner; peer: Peer }[] = [];
  try {
    for (const [name, work, open] of sides) {
      const peer = await open();
      const runner = peer instanceof Peer ? new Runner(name, peer, work, dtype, size) : undefined;
      const failure = peer instanceof Peer ? await runner!.warm() : peer;
      if (peer instanceof Peer && !failure) running.push({ side: runner!, peer });
      else if (name === 'ours') throw new Error(`${size} ${dtype}: ${failure}`);
      else console.log(`${name}: not here (${failure})`);
      if (peer instanceof Peer && failure) peer.close();
    }
    await interleave(
      Object.fromEntries(running.map(({ side }) => [side.name, side])),
      quick ? brief : effort,
    );
    const [ours, ...theirs] = await Promise.all(running.map(({ side }) => side.done()));
    for (const { name, loss } of [ours!, ...theirs])
      if (!(loss < Math.log(256) + 0.5))
        throw new Error(`${name} ${size} ${dtype} ended with a loss of ${loss}`);
    return { size, dtype, ours: ours!, theirs };
  } finally {
    for (const { peer } of running) peer.close();
  }
}

function tokensPerSecond(size: string, { step }: Side): number {
  const { length, batch } = parseSize(size);
  return (length * batch) / step.median;
}

function figuresOf({ size, dtype, ours, theirs, ofCeiling }: Line): Figure[] {
  const name = `train ${size} ${dtype}`;
  const rate = { name, metric: 'rate', value: tokensPerSecond(size, ours), unit: 'tokens/s' };
  const peak = { name, metric: 'peak resident', value: ours.peak / 2 ** 20, unit: 'MiB' };
  return [
    { name, metric: 'step', value: ours.step.median * 1e3, unit: 'ms' },
    ...parts.map((part) => ({ name, metric: part, value: ours.parts[part].median * 1e3, unit: 'ms' })),
    ...(ofCeiling ? [{ name, metric: 'of the matmul ceiling', value: ofCeiling, unit: '' }] : []),
    ...(theirs.length === 0 ? [rate, peak] : []),
    ...theirs.flatMap((side) => [
      { ...rate, peer: side.name, ratio: side.step.median / ours.step.median },
      { ...peak, peer: side.name, ratio: ours.peak / side.peak },
    ]),
  ];
}

/** Geometric means over the sizes in fp32, where all of them ran. */
function means(lines: readonly Line[]): Figure[] {
  const exact = lines.filter((l) => l.dtype === 'float32');
  if (!SIZES.every((size) => exact.some((l) => l.size === size))) return [];
  const mean = (values: number[]) => Math.exp(values.reduce((s, v) => s + Math.log(v), 0) / values.length);
  return ['PyTorch eager', 'PyTorch compile'].flatMap((peer) => {
    const ratios = exact.flatMap(({ ours, theirs }) =>
      theirs.filter((t) => t.name === peer).map((t) => t.step.median / ours.step.median),
    );
    if (ratios.length < exact.length) return [];
    const value = mean(exact.map((l) => tokensPerSecond(l.size, l.ours)));
    return [
      {
        name: 'train float32',
        metric: 'rate, geometric mean',
        value,
        unit: 'tokens/s',
        peer,
        ratio: mean(ratios),
      },
    ];
  });
}

function print(lines: readonly Line[]): void {
  const ms = (s: Summary) => Number((s.median * 1e3).toPrecision(4));
  const rows = lines.flatMap(({ size, dtype, ours, theirs, ofCeiling }) =>
    [ours, ...theirs].map((side) => ({
      case: side === ours ? `${size} ${dtype}` : '',
      side: side.name,
      'tokens/s': Math.round(tokensPerSecond(size, side)),
      'ours is': side === ours ? null : `${(side.step.median / ours.step.median).toFixed(2)}x`,
      'ms/step': ms(side.step),
      '±': ms({ ...side.step, median: side.step.mad }),
      forward: ms(side.parts.forward),
      backward: ms(side.parts.backward),
      optimiser: ms(side.parts.optimiser),
      'of the ceiling': side === ours && ofCeiling ? `${(100 * ofCeiling).toFixed(0)} %` : null,
      'peak MiB': Math.round(side.peak / 2 ** 20),
      'last loss': Number(side.loss.toFixed(3)),
      n: side.step.n,
    })),
  );
  console.log(`\n${textTable(rows)}`);
  console.log(
    `\nSizes: layers x width x heads x T x batch. ${flopsFormula}\n` +
      'Steps are timed whole; our parts come from further steps that wait after each.',
  );
}

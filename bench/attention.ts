/**
 * `npm run bench:attention`: causal attention of B = 4, H = 8, D = 64 on the CPU, forward and forward + backward, fp32
 * and bf16, beside PyTorch's fused attention; in turns, A B A B, in this run. Flops count the causal half:
 * 4 T² D H B / 2 forward, 3.5 times that with the backward pass.
 */
import { type Figure, machine, writeReport } from '../src/report/json.js';
import { duration, textTable } from '../src/report/table.js';
import { Runtime } from '../src/runtime/runtime.js';
import { AttentionWork, BATCH, flopsOf, HEADS, type Pass, WIDTH, wrongAttention } from './lib/attention.js';
import { bind, check } from './lib/bounds.js';
import { busyCores } from './lib/busy.js';
import { cpuCeilings } from './lib/ceilings.js';
import { type Common, command, run, sizes } from './lib/options.js';
import { openAnchor, openTorch, Peer } from './lib/peers.js';
import { progress } from './lib/progress.js';
import type { Summary } from './lib/stats.js';
import { type Contender, interleave, quick, thorough } from './lib/timing.js';

interface Options extends Common {
  lengths: number[];
}

const LENGTHS = [512, 1024, 2048, 4096];

await run<Options>(
  command('bench:attention', "causal attention on the CPU beside PyTorch's").option(
    '--lengths <numbers>',
    'T, separated by commas',
    sizes,
    LENGTHS,
  ),
  main,
);

interface Line {
  name: string;
  pass: Pass;
  length: number;
  peak: number;
  ours: Summary;
  theirs?: Summary;
  ofCeiling?: number;
}

async function main(options: Options): Promise<number> {
  const effort = options.quick ? quick : thorough;
  const about = machine([]);
  console.log(
    `${about.cpu}, ${about.cores} cores, Node ${about.node}; B=${BATCH} H=${HEADS} D=${WIDTH}, causal`,
  );
  const figures: Figure[] = [await busyCores()];
  const ceilings = await flopCeilings(figures);
  const torch = await openTorch('torch_attention');
  console.log(torch instanceof Peer ? `peer PyTorch ${torch.version}` : `peer PyTorch: not here (${torch})`);
  const runtime = new Runtime({ device: 'none', route: 'cpu' });
  const lines: Line[] = [];
  try {
    const walk = (['float32', 'bfloat16'] as const).flatMap((dtype) =>
      options.lengths.flatMap((length) =>
        (['forward', 'both'] as const).map((pass) => ({ dtype, length, pass })),
      ),
    );
    const bar = progress(walk.length, 'attention');
    for (const { dtype, length, pass } of walk) {
      const name = `${pass === 'both' ? 'forward+backward' : 'forward'} ${dtype} T=${length}`;
      bar.step(name);
      if (length === options.lengths[0] && pass === 'forward') {
        const mistake = await wrongAttention(runtime, dtype);
        if (mistake) throw new Error(`attention of ${dtype}: ${mistake}`);
      }
      const work = new AttentionWork(runtime, dtype, [BATCH, length, HEADS, WIDTH]);
      try {
        await work.run(pass);
        const peak = await work.peak(pass);
        const contenders: Record<string, Contender> = { ours: work.contender(pass) };
        if (torch instanceof Peer)
          contenders.theirs = torch.contender(pass, dtype, `${BATCH}x${HEADS}x${length}x${WIDTH}`);
        const { ours, theirs } = await interleave(contenders, effort);
        const ceiling = ceilings.get(dtype);
        const ofCeiling = ceiling && flopsOf(pass, length) / ours!.median / ceiling;
        lines.push({ name, pass, length, peak, ours: ours!, theirs, ofCeiling });
      } finally {
        work.dispose();
        await runtime.sync();
      }
    }
    bar.stop();
  } finally {
    if (torch instanceof Peer) torch.close();
    runtime.dispose();
  }
  figures.push(...lines.flatMap(figuresOf), ...growth(lines));
  print(lines);
  const good = check(figures, bind('attention', figures));
  if (options.json) writeReport(options.json, { machine: about, cases: figures });
  return options.check && !good ? 1 : 0;
}

/** Multiply-adds that this machine can do now, measured by the oneDNN anchor's probe. */
async function flopCeilings(figures: Figure[]): Promise<Map<string, number>> {
  const anchor = await openAnchor();
  if (!(anchor instanceof Peer)) {
    console.log(`no ceilings: ${anchor}`);
    return new Map();
  }
  const { flops } = await cpuCeilings(anchor, []);
  anchor.close();
  for (const [dtype, f] of flops)
    figures.push({ name: `ceiling ${dtype}`, metric: 'multiply-adds', value: f / 1e9, unit: 'GFLOP/s' });
  const told = [...flops].map(([dtype, f]) => `${dtype} ${(f / 1e9).toFixed(0)} GFLOP/s`);
  console.log(`ceilings in this run: ${told.join(', ')}`);
  return flops;
}

function rateOf({ pass, length }: Line, s: Summary): number {
  return flopsOf(pass, length) / s.median / 1e9;
}

function figuresOf(line: Line): Figure[] {
  const { name, ours, theirs, ofCeiling, peak } = line;
  return [
    { name, metric: 'time', value: ours.median * 1e3, unit: 'ms' },
    {
      name,
      metric: 'rate',
      value: rateOf(line, ours),
      unit: 'GFLOP/s',
      ...(theirs && { peer: 'PyTorch', ratio: theirs.median / ours.median }),
    },
    ...(ofCeiling ? [{ name, metric: 'of the ceiling', value: ofCeiling, unit: '' }] : []),
    { name, metric: 'peak bytes', value: peak / 2 ** 20, unit: 'MiB' },
  ];
}

/** Bytes at the longest T over those at the shortest, where the two are eightfold apart. */
function growth(lines: readonly Line[]): Figure[] {
  return lines.flatMap((long) => {
    const short = lines.find((l) => l.length === 512 && l.name === long.name.replace('T=4096', 'T=512'));
    if (long.length !== 4096 || !short) return [];
    const name = long.name.replace(' T=4096', '');
    return [{ name, metric: 'peak bytes, T = 4096 over 512', value: long.peak / short.peak, unit: 'x' }];
  });
}

function print(lines: readonly Line[]): void {
  const rows = lines.map((line) => ({
    case: line.name,
    ours: duration(line.ours.median),
    '±': duration(line.ours.mad),
    'GFLOP/s': Number(rateOf(line, line.ours).toFixed(1)),
    'of the ceiling': line.ofCeiling ? `${(100 * line.ofCeiling).toFixed(0)} %` : null,
    'peak MiB': Number((line.peak / 2 ** 20).toFixed(1)),
    PyTorch: line.theirs ? duration(line.theirs.median) : null,
    'its GFLOP/s': line.theirs ? Number(rateOf(line, line.theirs).toFixed(1)) : null,
    'times as fast': line.theirs ? Number((line.theirs.median / line.ours.median).toFixed(2)) : null,
    n: line.ours.n,
  }));
  console.log(`\n${textTable(rows)}`);
}

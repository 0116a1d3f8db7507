/**
 * `npm run bench:cpu`: our CPU ops beside oneDNN called directly from C++, plain C++ loops and, where there is one,
 * PyTorch; each pair in turns, A B A B, in this run. Ratios are ours over theirs.
 */
import { availableParallelism } from 'node:os';
import { type Figure, machine, writeReport } from '../src/report/json.js';
import { duration, textTable } from '../src/report/table.js';
import { Runtime } from '../src/runtime/runtime.js';
import { bind, check } from './lib/bounds.js';
import { busyCores } from './lib/busy.js';
import { cpuCeilings } from './lib/ceilings.js';
import { CHAIN, chain } from './lib/chain.js';
import { type Comparison, comparisons } from './lib/comparisons.js';
import { type Common, command, list, run } from './lib/options.js';
import { openAnchor, openTorch, Peer } from './lib/peers.js';
import { progress } from './lib/progress.js';
import { rate, rateUnit } from './lib/result.js';
import { wrong } from './lib/spot-check.js';
import type { Summary } from './lib/stats.js';
import { type Contender, type Effort, interleave, quick, thorough } from './lib/timing.js';
import { Work } from './lib/work.js';

interface Options extends Common {
  ops: string[];
}

await run<Options>(
  command('bench:cpu', 'CPU ops beside oneDNN, C++ loops and PyTorch').option(
    '--ops <names>',
    'ops, separated by commas (default: all); chain is one',
    list,
    [],
  ),
  main,
);

interface Line {
  c: Comparison;
  ours: Summary;
  backward?: Summary;
  theirs: Map<string, Summary>;
}

async function main(options: Options): Promise<number> {
  const effort = options.quick ? quick : thorough;
  const about = machine([]);
  console.log(`${about.cpu}, ${about.cores} cores, Node ${about.node}`);
  const peers = await openPeers();
  const runtime = new Runtime({ device: 'none', route: 'cpu' });
  const figures: Figure[] = [await busyCores()];
  const wanted = (name: string) => options.ops.length === 0 || options.ops.includes(name);
  try {
    const anchor = peers.get('oneDNN');
    if (anchor) figures.push(...(await ceilingFigures(anchor)));
    const walk = comparisons(options.quick ?? false).filter(({ c }) => wanted(c.op.name));
    const bar = progress(walk.length + 1, 'CPU');
    const lines: Line[] = [];
    for (const c of walk) {
      bar.step(c.c.name);
      lines.push(await compare(c, runtime, peers, effort));
    }
    bar.step('chain');
    const chained = wanted('chain') ? await compareChain(runtime, peers, effort) : [];
    bar.stop();
    for (const line of lines) figures.push(...figuresOf(line));
    figures.push(...chained);
    print(lines, chained);
  } finally {
    for (const peer of new Set(peers.values())) peer.close();
    runtime.dispose();
  }
  const open = bind('cpu', figures);
  const good = check(figures, open);
  if (options.json) writeReport(options.json, { machine: about, cases: figures });
  return options.check && !good ? 1 : 0;
}

async function openPeers(): Promise<Map<string, Peer>> {
  const peers = new Map<string, Peer>();
  for (const [name, opened] of [
    ['oneDNN', await openAnchor()],
    ['PyTorch', await openTorch('torch_ops')],
  ] as const) {
    if (opened instanceof Peer) {
      peers.set(name, opened);
      // The loops are cases of the same program.
      if (name === 'oneDNN') peers.set('C++ loop', opened);
      console.log(`peer ${name}${opened.version ? ` ${opened.version}` : ''}`);
    } else console.log(`peer ${name}: not here (${opened})`);
  }
  return peers;
}

async function ceilingFigures(anchor: Peer): Promise<Figure[]> {
  const { bandwidth, flops } = await cpuCeilings(anchor, [512, 1024, 2048]);
  const out: Figure[] = [];
  for (const [n, b] of bandwidth)
    out.push({ name: `ceiling ${n}x${n}`, metric: 'bandwidth', value: b / 1e9, unit: 'GB/s' });
  for (const [dtype, f] of flops)
    out.push({ name: `ceiling ${dtype}`, metric: 'multiply-adds', value: f / 1e9, unit: 'GFLOP/s' });
  console.log(
    `ceilings in this run: ${out.map((f) => `${f.name.slice(8)} ${f.value.toFixed(0)} ${f.unit}`).join(', ')}`,
  );
  return out;
}

async function compare(
  c: Comparison,
  runtime: Runtime,
  peers: ReadonlyMap<string, Peer>,
  effort: Effort,
): Promise<Line> {
  const work = new Work(runtime, c.c);
  try {
    const mistake = wrong(c.c, await work.result('cpu'));
    if (mistake) throw new Error(`${c.c.name}: ${mistake}`);
    const contenders: Record<string, Contender> = { ours: await work.batches('cpu') };
    for (const { peer, work: name } of c.peers) {
      const open = peers.get(peer);
      if (open?.cases[name]?.includes(c.c.dtype)) contenders[peer] = open.contender(name, c.c.dtype, c.size);
    }
    if (c.backward) contenders.backward = work.backward('cpu');
    const { ours, backward, ...theirs } = await interleave(contenders, effort);
    return { c, ours: ours!, backward, theirs: new Map(Object.entries(theirs)) };
  } finally {
    work.dispose();
    await runtime.sync();
  }
}

/** PyTorch's chain is one request of 10,000 additions. */
async function compareChain(
  runtime: Runtime,
  peers: ReadonlyMap<string, Peer>,
  effort: Effort,
): Promise<Figure[]> {
  const ours = chain(runtime);
  const contenders: Record<string, Contender> = { ours };
  const torch = peers.get('PyTorch');
  if (torch) contenders.PyTorch = torch.contender('chain', 'float32', '16x16', CHAIN);
  try {
    const times = await interleave(contenders, { ...effort, runs: Math.min(effort.runs, 30) });
    const base = { name: `chain of ${CHAIN} adds of 16x16`, unit: 'µs' };
    const out: Figure[] = [{ ...base, metric: 'an op', value: times.ours!.median * 1e6 }];
    if (times.PyTorch)
      out.push({
        ...base,
        metric: 'an op beside a peer',
        value: times.ours!.median * 1e6,
        peer: 'PyTorch',
        ratio: times.ours!.median / times.PyTorch.median,
      });
    return out;
  } finally {
    ours.dispose();
  }
}

function figuresOf(line: Line): Figure[] {
  const { c, ours, backward } = line;
  if (!backward) return forwardFigures(line);
  const value = backward.median / ours.median;
  return [...forwardFigures(line), { name: c.c.name, metric: 'backward over forward', value, unit: 'x' }];
}

function forwardFigures({ c, ours, theirs }: Line): Figure[] {
  const fastest = [...theirs].sort(([, a], [, b]) => a.median - b.median)[0];
  const figure = (peer?: string, their?: Summary): Figure => ({
    name: c.c.name,
    metric: c.metric,
    value: c.metric === 'rate' ? rate(c.c, ours.median) : ours.median * 1e6,
    unit: c.metric === 'rate' ? rateUnit(c.c) : 'µs',
    ...(peer && their
      ? { peer, ratio: c.metric === 'rate' ? their.median / ours.median : ours.median / their.median }
      : {}),
  });
  if (!fastest) return [figure()];
  if (c.against === 'fastest') return [figure('the fastest peer', fastest[1])];
  return [...theirs].map(([peer, their]) => figure(peer, their));
}

function print(lines: readonly Line[], chained: readonly Figure[]): void {
  const peerNames = [...new Set(lines.flatMap((l) => [...l.theirs.keys()]))];
  const rows = lines.map(({ c, ours, backward, theirs }) => ({
    case: c.c.name,
    ours: duration(ours.median),
    '±': duration(ours.mad),
    rate: `${rate(c.c, ours.median).toPrecision(3)} ${rateUnit(c.c)}`,
    ...Object.fromEntries(
      peerNames.map((name) => {
        const their = theirs.get(name);
        return [
          name,
          their ? `${duration(their.median)} (${(ours.median / their.median).toFixed(3)})` : null,
        ];
      }),
    ),
    ...(lines.some((l) => l.backward) ? { backward: backward ? duration(backward.median) : null } : {}),
    n: ours.n,
  }));
  if (rows.length > 0) console.log(`\n${textTable(rows)}`);
  console.log(`\nIn brackets: our time over the peer's. ${availableParallelism()} threads on all sides.`);
  for (const f of chained)
    console.log(
      `${f.name}: ${f.value.toFixed(2)} µs an op${f.ratio ? `, ${f.ratio.toFixed(2)} of ${f.peer}'s` : ''}`,
    );
}

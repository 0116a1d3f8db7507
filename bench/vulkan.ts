/**
 * `npm run bench:vulkan`: every element-wise op, matmul and a few others on the CPU and on every Vulkan device, with
 * resident data and with transfers both ways, and what the router would choose after a fresh calibration.
 * Prints tables; saves CSV, JSON and a chart for each device.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { calibrate } from '../src/index.js';
import { writeCsv } from '../src/io/csv.js';
import { writeChart } from '../src/report/chart.js';
import { type Figure, type Machine, machine, writeReport } from '../src/report/json.js';
import { duration, times } from '../src/report/table.js';
import type { Caps } from '../src/runtime/binding.js';
import { packageRoot } from '../src/runtime/load.js';
import { Runtime } from '../src/runtime/runtime.js';
import { bind, check } from './lib/bounds.js';
import { busyCores } from './lib/busy.js';
import { type Case, cases } from './lib/cases.js';
import { type Ceilings, cpuCeilings } from './lib/ceilings.js';
import { findDevices, slug } from './lib/devices.js';
import { documentedAs } from './lib/document.js';
import { measure, noKernel } from './lib/measure.js';
import { type Common, command, list, run, sizes } from './lib/options.js';
import { openAnchor } from './lib/peers.js';
import { progress } from './lib/progress.js';
import { figures, flat, type Result, rate } from './lib/result.js';
import { summaryFigures } from './lib/summary.js';
import { type Effort, quick, thorough } from './lib/timing.js';
import { speedUpChart } from './lib/vulkan-chart.js';
import { residentTable, transfersTable } from './lib/vulkan-table.js';
import { perOp, rowSum } from './lib/yardsticks.js';

interface Options extends Common {
  sizes: number[];
  ops: string[];
  device?: string;
  out: string;
}

await run<Options>(
  command('bench:vulkan', 'element-wise ops and matmul on the CPU against every Vulkan device')
    .option('--sizes <n,...>', 'sides of the square operands', sizes, [512, 1024, 2048])
    .option(
      '--ops <names>',
      'ops, separated by commas (default: all element-wise ones, matmul and others)',
      list,
      [],
    )
    .option('--device <device>', "number or part of the name of a Vulkan device, or 'none'")
    .option('--out <folder>', 'folder for CSV, JSON and chart', join(packageRoot(), 'bench/results')),
  main,
);

async function main(options: Options): Promise<number> {
  const effort = options.quick ? quick : thorough;
  const walk = cases(options.sizes, options.ops);
  const { devices, reason } = findDevices(options.device ?? process.env.ATTN_VK_DEVICE);
  const about = machine(devices.map((d) => d.name));
  console.log(`${about.cpu}, ${about.cores} cores, Node ${about.node}`);
  if (devices.length === 0) console.log(`\nNo Vulkan device: ${reason}.\nThe CPU alone:`);

  const busy = await busyCores();
  const ceilings = await measureCeilings(options.sizes);
  const all: Figure[] = [];
  let good = true;
  for (const device of devices.length > 0 ? devices : [null]) {
    const found = await onDevice(device, walk, ceilings, effort);
    found.figures.unshift(busy);
    print(found, walk, device);
    const open = bind('vulkan', found.figures, device?.name);
    await save(found, device, about, options.out);
    if (device && !check(found.figures, open) && options.check) good = false;
    const on = devices.length > 1 ? ` on ${device!.name}` : '';
    all.push(...found.figures.map((f) => ({ ...f, name: f.name + on })));
    if (found.results.some((r) => r.failure && r.failure !== noKernel)) good = false;
  }
  if (options.json) writeReport(options.json, { machine: about, cases: all });
  return good ? 0 : 1;
}

interface Found {
  results: Result[];
  figures: Figure[];
}

/** The CPU's ceilings, while nothing of ours runs. */
async function measureCeilings(sizes: readonly number[]): Promise<Ceilings> {
  const anchor = await openAnchor();
  if (typeof anchor === 'string') {
    console.log(`CPU ceilings: not measured (${anchor})`);
    return { bandwidth: new Map(), flops: new Map() };
  }
  try {
    const found = await cpuCeilings(anchor, sizes);
    const streams = [...found.bandwidth].map(([n, b]) => `${(b / 1e9).toFixed(0)} GB/s at ${n}²`);
    const peaks = [...found.flops].map(([dtype, f]) => `${(f / 1e9).toFixed(0)} GFLOP/s ${dtype}`);
    console.log(`CPU ceilings in this run: ${[...streams, ...peaks].join(', ')}`);
    return found;
  } finally {
    anchor.close();
  }
}

/** All cases on the CPU and one device, under a calibration of its own that nothing before has touched. */
async function onDevice(
  device: Caps | null,
  walk: readonly Case[],
  ceilings: Ceilings,
  effort: Effort,
): Promise<Found> {
  const cacheFolder = mkdtempSync(join(tmpdir(), 'attn-vk-bench-'));
  const runtime = new Runtime({
    device: device ? device.index : 'none',
    route: device ? 'auto' : 'cpu',
    cacheFolder,
  });
  const bar = progress(walk.length, device?.name ?? 'CPU');
  try {
    let calibration = 0;
    if (device) {
      const start = performance.now();
      await calibrate(runtime);
      calibration = (performance.now() - start) / 1e3;
    }
    const results: Result[] = [];
    for (const c of walk) {
      bar.step(c.name);
      results.push(await measure(c, runtime, effort));
    }
    fractions(results, ceilings);
    const all = results.flatMap(figures);
    if (device)
      all.push(
        { name: 'router', metric: 'calibration', value: calibration, unit: 's' },
        await perOp(runtime, effort),
        await rowSum(runtime, effort),
        ...summaryFigures(results, runtime.caps!),
      );
    return { results, figures: all };
  } finally {
    bar.stop();
    runtime.dispose();
    rmSync(cacheFolder, { recursive: true, force: true });
  }
}

/**
 * Rates as fractions of ceilings. The CPU's come from probes; a device's are the best streaming rate at the size and
 * the best matmul rate of this run, so that there a kernel of 100 % is the best one that we have, no more.
 */
function fractions(results: Result[], ceilings: Ceilings): void {
  const best = new Map<string, number>();
  const kindOf = ({ c }: Result) => (c.kind === 'matmul' ? `matmul ${c.dtype}` : `${c.n}`);
  for (const r of results)
    if (r.gpu) best.set(kindOf(r), Math.max(best.get(kindOf(r)) ?? 0, rate(r.c, r.gpu.resident.median)));
  for (const r of results) {
    const top = r.c.kind === 'matmul' ? ceilings.flops.get(r.c.dtype) : ceilings.bandwidth.get(r.c.n);
    if (top && r.cpu) r.cpuCeiling = (rate(r.c, r.cpu.resident.median) * 1e9) / top;
    if (r.gpu) r.gpuCeiling = rate(r.c, r.gpu.resident.median) / best.get(kindOf(r))!;
  }
}

function print({ results, figures }: Found, walk: readonly Case[], device: Caps | null): void {
  const color = process.stdout.hasColors?.() ?? false;
  if (device) console.log(`\n${device.name} (${device.type}, ${device.driverName} ${device.driverInfo})`);
  for (const n of new Set(walk.map((c) => c.n))) {
    const here = results.filter((r) => r.c.n === n);
    console.log(`\n${n}² - operands where the op runs, result left there\n`);
    console.log(residentTable(here, color));
    console.log(`\n${n}² - operands in host memory, result read by the host\n`);
    console.log(transfersTable(here, color));
  }
  for (const r of results) if (r.failure) console.log(`\n${r.c.name} was not timed on Vulkan: ${r.failure}`);
  if (!device) return;
  const get = (name: string, metric: string) =>
    figures.find((f) => f.name === name && f.metric === metric)?.value;
  console.log(
    `\n${documentedAs}. "single": one op and a wait for it. "router": its choice under a calibration that took`,
  );
  console.log(
    `${duration(get('router', 'calibration')!)}; "regret": time of that choice over the better side's: geometric mean ` +
      `${times(get('router', 'regret, geometric mean') ?? Number.NaN)}, worst ` +
      `${times(get('router', 'regret, worst') ?? Number.NaN)}. A dispatch costs ${duration(get('dispatch', 'time')! / 1e6)}.`,
  );
}

async function save(found: Found, device: Caps | null, about: Machine, out: string): Promise<void> {
  const base = join(out, device ? `vulkan-${slug(device.name)}` : 'cpu-only');
  const saved = [`${base}.csv`, `${base}.json`];
  await writeCsv(saved[0]!, found.results.map(flat));
  writeReport(saved[1]!, { machine: about, cases: found.figures });
  if (device && found.results.some((r) => r.gpu)) {
    saved.push(`${base}.png`);
    await writeChart(
      speedUpChart(found.results, device.name, `${about.cpu}, ${about.cores} cores`),
      saved[2]!,
    );
  }
  console.log(`\nSaved: ${saved.join(', ')}`);
}

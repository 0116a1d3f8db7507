/**
 * `npm run bench:memory`: 10,000 training-like blocks of 50 ops, and 500 steps of a small GPT. Memory once everything
 * has its size must be the memory at the end, and the event loop must go on turning all the while.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { InvalidArgumentError } from 'commander';
import { type Figure, machine, writeReport } from '../src/report/json.js';
import { duration } from '../src/report/table.js';
import type { Caps } from '../src/runtime/binding.js';
import { Runtime } from '../src/runtime/runtime.js';
import { bind, check } from './lib/bounds.js';
import { busyCores } from './lib/busy.js';
import { findDevices } from './lib/devices.js';
import { type Common, command, run } from './lib/options.js';
import { watchStalls } from './lib/stalls.js';
import { blocksOf, gptOf, OPS, type Workload } from './lib/training.js';

interface Options extends Common {
  blocks?: number;
  device?: string;
}

/** Blocks after which everything has its size: prepared ops, pipelines, compiled JavaScript. */
const SETTLED = 100;
/** Steps of the GPT after which its pools have theirs. */
const GPT_SETTLED = 10;

await run<Options>(
  command('bench:memory', 'memory and event loop over many training-like blocks')
    .option('--blocks <n>', 'blocks (default: 10000, 1000 with --quick)', (text) => {
      if (!(Number(text) > SETTLED)) throw new InvalidArgumentError(`give a number above ${SETTLED}`);
      return Number(text);
    })
    .option('--device <device>', "number or part of the name of a Vulkan device, or 'none'"),
  main,
);

async function main(options: Options): Promise<number> {
  const blocks = options.blocks ?? (options.quick ? 1000 : 10_000);
  const { devices, reason } = findDevices(options.device ?? process.env.ATTN_VK_DEVICE);
  const about = machine(devices.map((d) => d.name));
  console.log(`${about.cpu}, ${about.cores} cores, Node ${about.node}: ${blocks} blocks of ${OPS} ops`);
  if (devices.length === 0) console.log(`No Vulkan device: ${reason}`);
  const figures: Figure[] = [await busyCores()];
  for (const device of [null, ...devices.slice(0, 1)]) {
    const name = device ? 'vulkan' : 'cpu';
    figures.push(...(await repeat(device, name, blocksOf, SETTLED, blocks)));
    figures.push(...(await repeat(device, `GPT ${name}`, gptOf, GPT_SETTLED, options.quick ? 60 : 500)));
  }
  const open = bind('memory', figures).filter((o) => devices.length > 0 || !o.startsWith('vulkan'));
  const good = check(figures, open);
  if (options.json) writeReport(options.json, { machine: about, cases: figures });
  return options.check && !good ? 1 : 0;
}

/** Takes `steps` of a workload; growth of pools counts from `settled` on, that of the rest from half-way. */
async function repeat(
  device: Caps | null,
  name: string,
  make: (runtime: Runtime) => Workload,
  settled: number,
  steps: number,
): Promise<Figure[]> {
  const cacheFolder = mkdtempSync(join(tmpdir(), 'attn-vk-memory-'));
  const runtime = new Runtime({
    device: device ? device.index : 'none',
    route: device ? 'gpu' : 'cpu',
    cacheFolder,
  });
  try {
    const work = make(runtime);
    for (let i = 0; i < settled; i++) await work.step();
    const first = await measureMemory(runtime);
    const warm = Math.max(settled, Math.min(SETTLED, steps >> 1));
    for (let i = settled; i < warm; i++) await work.step();
    const before = await measureMemory(runtime);
    const stalls = await watchStalls();
    const start = performance.now();
    let loss = Number.NaN;
    for (let i = warm; i < steps; i++) loss = await work.step();
    const seconds = (performance.now() - start) / 1e3 / (steps - warm);
    const stall = await stalls.stop();
    const after = await measureMemory(runtime);
    if (!Number.isFinite(loss)) throw new Error(`${name} gave a loss of ${loss}`);
    work.dispose();
    console.log(
      `${name}: ${duration(seconds)} a step, ${before.rss.toFixed(0)} MiB resident after ${warm} steps, ` +
        `${after.rss.toFixed(0)} at the end; event loop: longest stall ${duration(stall.longest)}, ` +
        `99.9 % below ${duration(stall.high)}; a process beside us that does nothing: ${duration(stall.idle)}`,
    );
    return [
      { name, metric: 'growth of pooled and live bytes', value: after.pools - first.pools, unit: 'bytes' },
      { name, metric: 'growth of tensors', value: after.tensors - first.tensors, unit: '' },
      { name, metric: 'growth of resident memory', value: after.rss - before.rss, unit: 'MiB' },
      { name, metric: 'growth of the JavaScript heap', value: after.heap - before.heap, unit: 'MiB' },
      { name, metric: 'longest stall of the event loop', value: stall.longest * 1e3, unit: 'ms' },
      { name, metric: 'longest stall of an idle process beside us', value: stall.idle * 1e3, unit: 'ms' },
      { name, metric: 'step', value: seconds * 1e6, unit: 'µs' },
    ];
  } finally {
    runtime.dispose();
    rmSync(cacheFolder, { recursive: true, force: true });
  }
}

/** After a full collection: garbage that V8 has not yet bothered about is no growth. */
async function measureMemory(runtime: Runtime) {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  await new Promise((resolve) => setTimeout(resolve, 20));
  collect();
  await runtime.sync();
  const { tensors, host, device } = runtime.memory();
  return {
    tensors,
    pools: host.live + host.pooled + (device ? device.live + device.pooled : 0),
    rss: process.memoryUsage.rss() / 2 ** 20,
    heap: process.memoryUsage().heapUsed / 2 ** 20,
  };
}

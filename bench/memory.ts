/**
 * `npm run bench:memory`: 10,000 training-like blocks of 50 ops. Memory after the first hundred must be the memory
 * at the end, and the event loop must go on turning all the while.
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
import { makeModel, OPS, step } from './lib/training.js';

interface Options extends Common {
  blocks?: number;
  device?: string;
}

/** Blocks after which everything has its size: pools, prepared ops, pipelines, compiled JavaScript. */
const SETTLED = 100;

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
  for (const device of [null, ...devices.slice(0, 1)]) figures.push(...(await train(device, blocks)));
  const open = bind('memory', figures).filter((o) => devices.length > 0 || !o.startsWith('vulkan'));
  const good = check(figures, open);
  if (options.json) writeReport(options.json, { machine: about, cases: figures });
  return options.check && !good ? 1 : 0;
}

async function train(device: Caps | null, blocks: number): Promise<Figure[]> {
  const cacheFolder = mkdtempSync(join(tmpdir(), 'attn-vk-memory-'));
  const runtime = new Runtime({
    device: device ? device.index : 'none',
    route: device ? 'gpu' : 'cpu',
    cacheFolder,
  });
  try {
    const model = makeModel(runtime);
    let loss = await step(model);
    for (let i = 1; i < SETTLED; i++) await step(model);
    const before = await measureMemory(runtime);
    const stalls = await watchStalls();
    const start = performance.now();
    for (let i = SETTLED; i < blocks; i++) loss = await step(model);
    const seconds = (performance.now() - start) / 1e3;
    const stall = await stalls.stop();
    const after = await measureMemory(runtime);
    if (!Number.isFinite(loss)) throw new Error(`the blocks gave a loss of ${loss}`);
    model.dispose();
    const name = device ? 'vulkan' : 'cpu';
    console.log(
      `${device?.name ?? 'CPU'}: ${duration(seconds / (blocks - SETTLED))} a block, ` +
        `${before.rss.toFixed(0)} MiB resident after ${SETTLED} blocks, ${after.rss.toFixed(0)} at the end; ` +
        `event loop: longest stall ${duration(stall.longest)}, 99.9 % below ${duration(stall.high)}; ` +
        `a process beside us that does nothing: ${duration(stall.idle)}`,
    );
    return [
      { name, metric: 'growth of pooled and live bytes', value: after.pools - before.pools, unit: 'bytes' },
      { name, metric: 'growth of tensors', value: after.tensors - before.tensors, unit: '' },
      { name, metric: 'growth of resident memory', value: after.rss - before.rss, unit: 'MiB' },
      { name, metric: 'longest stall of the event loop', value: stall.longest * 1e3, unit: 'ms' },
      { name, metric: 'longest stall of an idle process beside us', value: stall.idle * 1e3, unit: 'ms' },
      { name, metric: 'block', value: (seconds / (blocks - SETTLED)) * 1e6, unit: 'µs' },
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
  };
}

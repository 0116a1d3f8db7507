/** What a workload cost in things that can be counted: exact, so that one more of anything is seen. */
import type { EngineStats } from '../../src/runtime/native.js';
import { Runtime } from '../../src/runtime/runtime.js';
import type { Workload } from './workloads.js';

export type Counts = Record<string, number>;

/**
 * A runtime of its own for each workload, nothing calibrated. The first run makes pipelines and does the self-tests;
 * the second one is counted, so that it shows what the work itself takes.
 */
export async function count(
  workload: Workload,
  device: number | 'none',
  cacheFolder: string,
): Promise<Counts> {
  const runtime = new Runtime({ device, route: device === 'none' ? 'cpu' : 'gpu', cacheFolder });
  try {
    await workload(runtime);
    await runtime.sync();
    runtime.trim();
    const before = runtime.stats();
    await workload(runtime);
    await runtime.sync();
    return counts(before, runtime.stats(), runtime.tensors);
  } finally {
    runtime.dispose();
  }
}

/** Submits are left out: the stream cuts them by estimated time, and estimates follow what was measured. */
function counts(before: EngineStats, after: EngineStats, tensors: number): Counts {
  const { device } = after;
  const was = before.device;
  return {
    blocks: after.blocks - before.blocks,
    'ops on the cpu': after.opsCpu - before.opsCpu,
    'ops on the gpu': after.opsGpu - before.opsGpu,
    uploads: after.uploads - before.uploads,
    downloads: after.downloads - before.downloads,
    'tensors left': tensors,
    'buffers left': after.buffers ?? 0,
    'host allocations': after.host.allocations - before.host.allocations,
    'host bytes at the peak': after.host.peak,
    'host bytes left': after.host.live,
    ...(device &&
      was && {
        pipelines: device.pipelines,
        'pipelines made again': device.pipelines - was.pipelines,
        dispatches: device.dispatches - was.dispatches,
        barriers: device.barriers - was.barriers,
        'device bytes at the peak': device.peak,
        'device bytes left': device.live,
        'device bytes uploaded': device.uploaded - was.uploaded,
        'device bytes downloaded': device.downloaded - was.downloaded,
      }),
  };
}

/** What a workload cost in things that can be counted: exact, so that one more of anything is seen. */
import type { EngineStats } from '../../src/runtime/native.js';
import { Runtime } from '../../src/runtime/runtime.js';
import type { Workload } from './workloads.js';

export type Counts = Record<string, number>;

/** A runtime of its own for each workload: empty pools, no pipelines, self-tests still to do, nothing calibrated. */
export async function count(
  workload: Workload,
  device: number | 'none',
  cacheFolder: string,
): Promise<Counts> {
  const runtime = new Runtime({ device, route: device === 'none' ? 'cpu' : 'gpu', cacheFolder });
  try {
    await workload(runtime);
    await runtime.sync();
    return pick(runtime.stats(), runtime.tensors);
  } finally {
    runtime.dispose();
  }
}

/** Submits are left out: the stream cuts them by estimated time, and estimates follow what was measured. */
function pick({ host, device, ...engine }: EngineStats, tensors: number): Counts {
  return {
    blocks: engine.blocks,
    'ops on the cpu': engine.opsCpu,
    'ops on the gpu': engine.opsGpu,
    uploads: engine.uploads,
    downloads: engine.downloads,
    'tensors left': tensors,
    'buffers left': engine.buffers ?? 0,
    'host allocations': host.allocations,
    'host bytes at the peak': host.peak,
    'host bytes left': host.live,
    ...(device && {
      dispatches: device.dispatches,
      barriers: device.barriers,
      pipelines: device.pipelines,
      'device bytes at the peak': device.peak,
      'device bytes left': device.live,
      'device bytes uploaded': device.uploaded,
      'device bytes downloaded': device.downloaded,
    }),
  };
}

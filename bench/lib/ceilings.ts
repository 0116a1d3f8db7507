/**
 * What the CPU could reach, as the best of several tries in this run: bandwidth at the working set of each size (a 512² operand lies in
 * a cache, a 2048² one does not) and the peak rate of multiply-adds.
 */
import type { DType } from '../../src/tensor/dtype.js';
import type { Peer } from './peers.js';

export interface Ceilings {
  /** Bytes a second by size. */
  bandwidth: Map<number, number>;
  /** Flops a second by dtype; absent where the probe has none. */
  flops: Map<DType, number>;
}

/** Ways to stream: in a cache ordinary stores win, past it those that skip it. */
const streams = ['stream_copy', 'stream_triad', 'loop_add', 'loop_add_streaming'];

/** Rounds over all probes: what keeps the machine busy for a moment spoils one round, not the ceiling. */
const ROUNDS = 4;

export async function cpuCeilings(anchor: Peer, sizes: readonly number[]): Promise<Ceilings> {
  const bandwidth = new Map<number, number>();
  const flops = new Map<DType, number>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const n of sizes)
      for (const name of streams) {
        const { samples, bytes } = await anchor.run(name, 'float32', `${n}`, 8);
        bandwidth.set(n, Math.max(bandwidth.get(n) ?? 0, bytes / Math.min(...samples)));
      }
    for (const dtype of ['float32', 'bfloat16'] as const) {
      // Half a million rounds: a millisecond or two on each core, short enough to be left alone once.
      const fma = await anchor.run('fma', dtype, '500', 8).catch(() => null);
      if (fma) flops.set(dtype, Math.max(flops.get(dtype) ?? 0, fma.flops / Math.min(...fma.samples)));
    }
  }
  return { bandwidth, flops };
}

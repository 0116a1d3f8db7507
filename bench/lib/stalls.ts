/** How long the event loop stood still: what a timer of 1 ms finds, beyond the millisecond that it asked for. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

export interface Stalls {
  /** Seconds. */
  longest: number;
  /** 99.9 % of the delays are below. */
  high: number;
}

export function watchStalls(): { stop(): Stalls } {
  const monitor = monitorEventLoopDelay({ resolution: 1 });
  monitor.enable();
  return {
    stop() {
      monitor.disable();
      const beyond = (ns: number) => Math.max(0, ns / 1e9 - 1e-3);
      return { longest: beyond(monitor.max), high: beyond(monitor.percentile(99.9)) };
    },
  };
}

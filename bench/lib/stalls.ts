/**
 * How long the event loop stood still: what a timer of 1 ms finds, beyond the millisecond that it asked for. A
 * process that does nothing is watched beside us: what stalls it too is the machine, not this library.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';

export interface Stalls {
  /** Seconds. */
  longest: number;
  /** 99.9 % of the delays are below. */
  high: number;
  /** Longest stall of the process that does nothing. */
  idle: number;
}

const RESOLUTION_MS = 1;
const beyond = (ns: number) => Math.max(0, ns / 1e9 - RESOLUTION_MS / 1e3);

/** Watches itself until its standard input ends, then prints the longest delay in nanoseconds. */
const idleProgram = `
  const monitor = require('node:perf_hooks').monitorEventLoopDelay({ resolution: ${RESOLUTION_MS} });
  process.stdin.resume().once('data', () => monitor.enable()).on('end', () => console.log(monitor.max));
  console.log('ready');
`;

export async function watchStalls(): Promise<{ stop(): Promise<Stalls> }> {
  const idle = spawn(process.execPath, ['-e', idleProgram], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(idle.stdout, 'data');
  idle.stdin.write('go\n');
  const monitor = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  monitor.enable();
  return {
    async stop() {
      monitor.disable();
      idle.stdin.end();
      const [answer] = (await once(idle.stdout, 'data')) as [Buffer];
      return {
        longest: beyond(monitor.max),
        high: beyond(monitor.percentile(99.9)),
        idle: beyond(Number(String(answer))),
      };
    },
  };
}

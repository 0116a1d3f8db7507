/** The JSON form of every benchmark: the machine it ran on and its figures. */
import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { writeAtomic } from '../runtime/files.js';
import { packageRoot } from '../runtime/load.js';

export interface Machine {
  /** Product line without the exact model: figures are for a kind of machine. */
  cpu: string;
  cores: number;
  memoryGiB: number;
  node: string;
  platform: string;
  /** Vulkan devices, in words. */
  devices: string[];
  /** Commit of the checkout, `+` after it where files differ from it; null outside a checkout. */
  commit: string | null;
}

export interface Figure {
  /** What was measured: the op, its shape and dtype. */
  name: string;
  /** Which quantity of it: 'cpu ms', 'vulkan GB/s', 'speed-up'. */
  metric: string;
  value: number;
  unit: string;
  /** What it is compared with, and value / peer's value. */
  peer?: string;
  ratio?: number;
  /** What is asked of the ratio, or of the value where there is no peer; a value of at most `orValue` will do as well. */
  bound?: ({ atLeast: number } | { atMost: number }) & { orValue?: number };
}

export interface Report {
  machine: Machine;
  cases: Figure[];
}

export function machine(devices: readonly string[]): Machine {
  return {
    cpu: productLine(cpus()[0]?.model ?? 'unknown'),
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    devices: [...devices],
    commit: commit(),
  };
}

export function writeReport(path: string, report: Report): void {
  writeAtomic(path, `${JSON.stringify(report, null, 2)}\n`);
}

/** 'Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz' → 'Intel Xeon Platinum'. */
export function productLine(model: string): string {
  const words = model
    .replace(/\((R|TM|C)\)/gi, '')
    .replace(/@.*$/, '')
    .replace(/\b(CPU|Processor|\d+-Core|\d+th Gen|\d+(st|nd|rd) Gen)\b/gi, '')
    .split(/\s+/)
    .filter(Boolean);
  // The model number and all behind it go: 8375C, 9R14, 5800X; a family such as i7-1370P keeps its first part.
  const end = words.findIndex((w, i) => i > 0 && /^\d/.test(w) && /\d{2}/.test(w));
  return (
    (end < 0 ? words : words.slice(0, end)).map((w) => w.replace(/^(i\d)-.*/, '$1')).join(' ') || 'unknown'
  );
}

function commit(): string | null {
  const git = (...args: string[]) =>
    execFileSync('git', args, {
      cwd: packageRoot(),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    return git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain') ? '+' : '');
  } catch {
    return null;
  }
}

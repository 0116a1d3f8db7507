/**
 * `npm run gate`: counts of fixed workloads - ops on each side, blocks, dispatches, barriers, pipelines, bytes - must
 * equal the committed ones. Clocks lie on a shared machine, counts do not: one barrier more or a buffer that lives
 * longer is seen on the first run. `--update` commits what is there now.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { textTable } from '../src/report/table.js';
import { writeAtomic } from '../src/runtime/files.js';
import { packageRoot } from '../src/runtime/load.js';
import { type Counts, count } from './lib/counts.js';
import { findDevices, slug } from './lib/devices.js';
import { run } from './lib/options.js';
import { varying, workloads } from './lib/workloads.js';

/** Counts by device type, then by workload. */
type Committed = Record<string, Record<string, Counts>>;

const file = join(packageRoot(), 'bench/gate/counts.json');
await run<{ update?: boolean }>(
  new Command('gate')
    .description('deterministic counts of fixed workloads against bench/gate/counts.json')
    .option('--update', 'write what is counted now')
    .exitOverride(),
  main,
);

async function main({ update }: { update?: boolean }): Promise<number> {
  const committed: Committed = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  const { devices, reason } = findDevices(undefined);
  if (devices.length === 0) console.log(`gate: no Vulkan device (${reason}): the CPU alone`);
  let compared = 0;
  const differences: { device: string; workload: string; count: string; asked: string; got: string }[] = [];
  for (const device of [null, ...devices]) {
    const type = device ? typeOf(device.name) : 'cpu-only';
    const counts = await countAll(device ? device.index : 'none');
    if (update) committed[type] = counts;
    const expected = committed[type];
    if (!expected) {
      console.log(`gate: ${type} skipped: bench/gate/counts.json has no counts of it`);
      continue;
    }
    for (const workload of new Set([...Object.keys(expected), ...Object.keys(counts)]))
      for (const name of new Set([expected, counts].flatMap((c) => Object.keys(c[workload] ?? {})))) {
        compared++;
        const [asked, got] = [expected[workload]?.[name], counts[workload]?.[name]];
        if (asked !== got)
          differences.push({ device: type, workload, count: name, asked: `${asked}`, got: `${got}` });
      }
  }
  if (update) {
    writeAtomic(file, `${JSON.stringify(committed, null, 2)}\n`);
    console.log(`gate: wrote ${file}`);
  }
  if (differences.length > 0) {
    console.log(`${textTable(differences)}\n`);
    console.log('Where the change is meant: npm run gate -- --update, and say why in the commit.');
  }
  console.log(`gate: ${compared - differences.length} of ${compared} counts as committed`);
  return compared > 0 && differences.length === 0 ? 0 : 1;
}

async function countAll(device: number | 'none'): Promise<Record<string, Counts>> {
  const all: Record<string, Counts> = {};
  for (const [name, workload] of Object.entries(workloads)) {
    const folder = mkdtempSync(join(tmpdir(), 'attn-vk-gate-'));
    try {
      const counts = await count(workload, device, folder);
      for (const key of varying[name] ?? []) delete counts[key];
      all[name] = counts;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return all;
}

/** 'llvmpipe (LLVM 15.0.6, 256 bits)' → 'llvmpipe': versions of a driver count alike. */
function typeOf(name: string): string {
  return slug(name.replace(/\(.*\)/, ''));
}

/**
 * `npm run test:vulkan`: conformance of every op on the Vulkan devices alone, on whatever drivers VK_DRIVER_FILES or
 * VK_ICD_FILENAMES name, under the validation layer where it is installed. Needs no test runner, so it runs on a bare
 * machine with a GPU. Status: 0 all passed, 1 something failed, 3 no device and --require-gpu.
 */
import { parseArgs } from 'node:util';
import { ops } from '../src/ops/registry.js';
import type { Caps } from '../src/runtime/binding.js';
import { Runtime, survey } from '../src/runtime/runtime.js';
import { conform, type Outcome } from './support/conformance.js';

const { values: options } = parseArgs({
  options: { 'require-gpu': { type: 'boolean', default: false }, quick: { type: 'boolean', default: false } },
});

/** Failures of one op that are printed in full. */
const SHOWN = 10;

const found = survey();
const devices = found.devices.filter((d) => !d.unusable);
const validate = found.layers.some((layer) => layer.includes('VK_LAYER_KHRONOS_validation'));

for (const d of found.devices.filter((d) => d.unusable))
  console.log(`skipped device ${d.name}: ${d.unusable}`);
if (devices.length === 0) {
  const reason = found.loaderError || found.attempts.join('; ') || 'no driver reports a device';
  console.log(`no Vulkan device: ${reason}`);
  console.log('0 passed, 0 failed, all skipped: no Vulkan device');
  process.exitCode = options['require-gpu'] ? 3 : 0;
}
if (!validate) console.log('without validation: VK_LAYER_KHRONOS_validation is not installed');
for (const device of devices) if ((await testDevice(device)) > 0) process.exitCode = 1;

/** Walks all ops on one device and prints as it goes; returns the number of failures. */
async function testDevice(device: Caps): Promise<number> {
  console.log(`device ${device.index}: ${device.name}, ${device.driverName} ${device.driverInfo}`);
  using runtime = new Runtime({ device: device.index, route: 'gpu', validate, cacheFolder: '' });
  const all: Outcome[] = [];
  for (const op of ops) {
    const start = performance.now();
    const outcomes = await conform(op, runtime, { heavy: !options.quick, allVariants: true });
    for (const text of runtime.takeMessages())
      outcomes.push({ op: op.name, what: 'validation layer', variant: '', status: 'failed', message: text });
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    console.log(`  ${op.name.padEnd(14)} ${counts(outcomes)}  (${seconds} s)`);
    const failed = outcomes.filter((o) => o.status === 'failed');
    for (const o of failed.slice(0, SHOWN))
      console.log(`    FAILED ${o.variant} ${o.what}: ${o.message.slice(0, 500)}`);
    if (failed.length > SHOWN) console.log(`    and ${failed.length - SHOWN} more failures of ${op.name}`);
    all.push(...outcomes);
    runtime.trim();
  }
  for (const [reason, number] of reasons(all)) console.log(`  skipped ${number}: ${reason}`);
  console.log(`${device.name}: ${counts(all)}`);
  return all.filter((o) => o.status === 'failed').length;
}

function counts(outcomes: readonly Outcome[]): string {
  const number = (status: Outcome['status']) => outcomes.filter((o) => o.status === status).length;
  return `${number('passed')} passed, ${number('failed')} failed, ${number('skipped')} skipped`;
}

/** Each reason of a skip, and how often it was given. */
function reasons(outcomes: readonly Outcome[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const o of outcomes.filter((o) => o.status === 'skipped')) {
    const reason = `${o.op}: ${o.message}`;
    found.set(reason, (found.get(reason) ?? 0) + 1);
  }
  return found;
}

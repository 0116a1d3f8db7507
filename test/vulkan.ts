/**
 * `npm run test:vulkan [-- --require-gpu] [--quick] [--ops add,matmul] [--device N]`: the conformance walk alone, on
 * whatever drivers VK_DRIVER_FILES / VK_ICD_FILENAMES name. Prints for each device what passed, failed and was
 * skipped, and why. Exit status: 0 all passed, 1 something failed, 2 wrong usage, 3 no device although one is required.
 */
import { parseArgs } from 'node:util';
import '../src/index.js';
import { opNamed, ops } from '../src/ops/registry.js';
import { Runtime, survey } from '../src/runtime/runtime.js';
import { conform, type Outcome } from './support/conformance.js';

const { args, chosen } = usage();
const print = (line: string) => process.stdout.write(`${line}\n`);

const found = survey();
const devices = found.devices.filter((d) => !args.device || String(d.index) === args.device);
const validated = found.layers.some((layer) => layer.includes('VK_LAYER_KHRONOS_validation'));

for (const attempt of found.attempts) print(attempt);
let failures = 0;
let used = 0;
for (const device of devices) {
  print(
    `\ndevice ${device.index}: ${device.name} (${device.type}), ${device.driverName} ${device.driverInfo}`,
  );
  if (device.unusable) {
    print(`  skipped: ${device.unusable}`);
    continue;
  }
  print(`  validation layer: ${validated ? 'on' : 'not installed, messages are not checked'}`);
  used++;
  failures += await walk(device.index);
}
if (used === 0) {
  const reason = args.device ? `none has the number ${args.device}` : 'no driver reports one';
  print(`no usable Vulkan device: ${found.loaderError || reason}`);
  process.exitCode = args['require-gpu'] ? 3 : 0;
}
if (failures > 0) process.exitCode = 1;

function usage() {
  try {
    const { values } = parseArgs({
      options: {
        'require-gpu': { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        ops: { type: 'string' },
        device: { type: 'string' },
      },
    });
    return { args: values, chosen: values.ops?.split(',').map(opNamed) ?? ops };
  } catch (error) {
    process.stderr.write(`test:vulkan: ${(error as Error).message}\n`);
    process.exit(2);
  }
}

/** Conformance of one device; returns how many cases failed. */
async function walk(device: number): Promise<number> {
  const runtime = new Runtime({ device, route: 'gpu', validate: validated, cacheFolder: '' });
  const outcomes: Outcome[] = [];
  for (const op of chosen) {
    const start = performance.now();
    const mine = await conform(op, runtime, { heavy: !args.quick, allVariants: true, halves: 'all' });
    const messages = runtime.takeMessages();
    if (messages.length > 0)
      mine.push({
        op: op.name,
        what: 'validation',
        variant: '',
        status: 'failed',
        message: messages.join('\n'),
      });
    const { buffers } = runtime.stats();
    if (buffers || runtime.tensors)
      mine.push({ op: op.name, what: 'leaks', variant: '', status: 'failed', message: `${buffers} buffers` });
    runtime.trim();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    print(`  ${op.name.padEnd(14)} ${summary(mine)}, ${seconds} s`);
    for (const o of mine.filter((o) => o.status === 'failed').slice(0, 5))
      print(`    FAILED ${o.variant} ${o.what}: ${o.message}`);
    outcomes.push(...mine);
  }
  runtime.dispose();

  const reasons = new Map<string, number>();
  for (const o of outcomes)
    if (o.status === 'skipped')
      reasons.set(`${o.op}: ${o.message}`, (reasons.get(`${o.op}: ${o.message}`) ?? 0) + 1);
  for (const [reason, count] of reasons) print(`  skipped ${count}: ${reason}`);
  print(`  ${summary(outcomes)}`);
  return outcomes.filter((o) => o.status === 'failed').length;
}

function summary(outcomes: readonly Outcome[]): string {
  const count = (status: Outcome['status']) => outcomes.filter((o) => o.status === status).length;
  return `${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`;
}

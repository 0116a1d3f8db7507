/** Plans of every op on devices of small limits: what a variant admits keeps within what it was told. No device runs. */
import { expect, it } from 'vitest';
import type { GpuVariant, Op, Problem } from '../src/ops/contract.js';
import { FAULT } from '../src/ops/launch.js';
import { problemOf, sampleInputs } from '../src/ops/record.js';
import type { Caps, GpuPlan } from '../src/runtime/binding.js';
import { calls } from './support/calls.js';

const usual: Caps = {
  index: 0,
  name: 'imagined',
  type: 'discrete',
  vendorId: 0,
  deviceId: 0,
  driverName: '',
  driverInfo: '',
  driverVersion: 0,
  apiVersion: '1.2',
  uuid: '',
  subgroupSize: 32,
  subgroupMin: 32,
  subgroupMax: 32,
  subgroupOps: ['basic', 'vote', 'arithmetic', 'ballot', 'shuffle'],
  maxInvocations: 1024,
  maxGroupSize: [1024, 1024, 64],
  maxGroupCount: [65535, 65535, 65535],
  sharedBytes: 49152,
  maxBindingBytes: 2 ** 32 - 1,
  maxBindings: 8,
  maxPushBytes: 128,
  offsetAlignment: 64,
  maxAllocationBytes: 2 ** 32,
  heapBytes: 2 ** 33,
  unified: false,
  float16: false,
  storage16: false,
  timelineSemaphore: true,
  cooperativeMatrix: false,
  timestampPeriodNs: 1,
  unusable: '',
};

/** The least that Vulkan grants, and kinds of devices beside discrete ones. */
const devices: readonly Caps[] = [
  usual,
  { ...usual, type: 'integrated', maxInvocations: 128, maxGroupSize: [128, 128, 64], sharedBytes: 16384 },
  { ...usual, type: 'integrated', maxInvocations: 256, subgroupMin: 8, subgroupSize: 16, sharedBytes: 32768 },
  { ...usual, type: 'cpu', subgroupSize: 8, subgroupMin: 4, subgroupMax: 64, sharedBytes: 32768 },
];

function* problemsOf(op: Op): Generator<Problem<object>> {
  for (const sample of op.samples)
    for (const dtype of sample.dtypes ?? op.dtypes) {
      const inputs = sampleInputs(op, sample, dtype).map((i) => i.spec);
      const own = inputs.length === 0 && 'dtype' in op.attrs ? { dtype } : {};
      yield problemOf(op, inputs, { ...op.attrs, ...sample.attrs, ...own }) as Problem<object>;
    }
}

/** What of a plan a device refuses. */
function refusals({ inputs, outputs }: Problem<object>, { dispatches, scratch = [] }: GpuPlan, caps: Caps) {
  const bytes = [...[...inputs, ...outputs].map((s) => s.bytes), ...scratch];
  return dispatches.flatMap(({ shader, spec, push, groups, binds }) => [
    ...(spec[0]! > Math.min(caps.maxInvocations, caps.maxGroupSize[0])
      ? [`${shader}: ${spec[0]} invocations`]
      : []),
    ...(push.length > 30 ? [`${shader}: ${push.length} words pushed`] : []),
    ...(binds.length > caps.maxBindings ? [`${shader}: ${binds.length} bindings`] : []),
    ...(groups > 0 && groups < 2 ** 32 && Number.isInteger(groups) ? [] : [`${shader}: ${groups} groups`]),
    ...binds
      .filter(({ operand }) => operand !== FAULT)
      .flatMap(({ operand, offset = 0, bytes: some }) => {
        const bound = some ?? bytes[operand]! - offset;
        return bound <= caps.maxBindingBytes ? [] : [`${shader}: operand ${operand} of ${bound} bytes`];
      }),
  ]);
}

/** What devices refuse of the plans of an op; `bindingOf` tells how much one binding holds. */
function refused(op: Op, bindingOf: (problem: Problem<object>) => number): string[] {
  const wrong = new Set<string>();
  for (const problem of problemsOf(op))
    for (const device of devices)
      for (const variant of op.gpu as readonly GpuVariant<object>[]) {
        const caps = { ...device, maxBindingBytes: bindingOf(problem) };
        if (variant.admits(problem, caps) !== null) continue;
        for (const what of refusals(problem, variant.plan(problem, caps), caps))
          wrong.add(`${variant.name} on ${device.type}, ${caps.maxBindingBytes} a binding: ${what}`);
      }
  return [...wrong];
}

it.each(calls)('$name launches no more than a device takes', ({ op }) => {
  expect(refused(op, () => usual.maxBindingBytes)).toEqual([]);
});

it.each(calls.filter(({ name }) => name.includes('attention')))(
  '$name binds no scratch that is larger than a binding',
  ({ op }) => {
    const largest = ({ inputs, outputs }: Problem<object>) =>
      Math.max(64, ...[...inputs, ...outputs].map((s) => s.bytes));
    expect(refused(op, largest)).toEqual([]);
  },
);

/** matmul in pieces: the same kernels on a device that pretends to bind a few kilobytes at a time. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Op, Problem, Sample } from '../src/ops/contract.js';
import { matmul } from '../src/ops/matmul.js';
import { problemOf } from '../src/ops/record.js';
import type { Caps } from '../src/runtime/binding.js';
import { Runtime, survey } from '../src/runtime/runtime.js';
import type { DType } from '../src/tensor/dtype.js';
import { spec } from '../src/tensor/shape.js';
import { conform } from './support/conformance.js';

const device = survey().devices.find((d) => !d.unusable);
const small = (caps: Caps): Caps => ({ ...caps, maxBindingBytes: 4096, offsetAlignment: 64 });

/** The op as it would plan for such a device; every sample is one that does not fit a binding. */
const cutting = (samples: readonly Sample<object>[]): Op => {
  const op = matmul.op as unknown as Op;
  const gpu = op.gpu.map((variant) => ({
    ...variant,
    admits: (problem: Problem<object>, caps: Caps) => variant.admits(problem, small(caps)),
    plan: (problem: Problem<object>, caps: Caps) => variant.plan(problem, small(caps)),
  }));
  return { ...op, name: 'matmul-cut', gpu, samples };
};

const samples: Sample<object>[] = [
  {
    shapes: [
      [301, 20],
      [20, 14],
    ],
  },
  {
    shapes: [
      [301, 5],
      [5, 14],
    ],
    attrs: { activation: 'relu' },
  },
  {
    shapes: [
      [40, 7, 9],
      [40, 9, 6],
    ],
  },
  {
    shapes: [
      [41, 9, 7],
      [9, 6],
    ],
    attrs: { transposeA: true },
  },
  {
    shapes: [
      [7, 9],
      [43, 6, 9],
    ],
    attrs: { transposeB: true },
  },
  {
    shapes: [
      [30, 2, 6, 8],
      [1, 2, 8, 6],
    ],
  },
].map((s) => ({ ...s, dtypes: ['float32', 'bfloat16'] }));

describe.skipIf(!device)('matmul beyond a binding', () => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime({ device: device!.index, route: 'gpu', cacheFolder: '' });
  });
  afterAll(() => runtime.dispose());

  it('agrees with the reference in every variant', async () => {
    const outcomes = await conform(cutting(samples), runtime, {
      heavy: true,
      allVariants: true,
      halves: 'all',
    });
    const wrong = outcomes.filter((o) => o.status !== 'passed');
    expect(wrong.map((o) => `${o.variant} ${o.what}: ${o.status} ${o.message}`).join('\n')).toBe('');
    expect(new Set(outcomes.map((o) => o.variant)).size).toBe(matmul.op.gpu.length);
  });

  it('is launched in pieces, none of which binds more than the device may', () => {
    const caps = small(runtime.caps!);
    for (const { shapes, attrs } of samples) {
      const problem = problemOf(
        matmul.op as unknown as Op,
        shapes.map((shape) => spec(shape, 'float32' as DType)),
        { ...matmul.op.attrs, ...attrs },
      );
      for (const variant of (matmul.op as unknown as Op).gpu) {
        const { dispatches } = variant.plan(problem as Problem<object>, caps);
        expect(dispatches.length).toBeGreaterThan(1);
        for (const bind of dispatches.flatMap((d) => d.binds)) {
          const whole = [...problem.inputs, ...problem.outputs][bind.operand]!.bytes;
          expect(
            bind.bytes ?? whole,
            `${variant.name} ${JSON.stringify([shapes, bind])}`,
          ).toBeLessThanOrEqual(caps.maxBindingBytes);
          expect((bind.offset ?? 0) % caps.offsetAlignment).toBe(0);
        }
      }
    }
  });

  it('says why what cannot be cut does not run', () => {
    const wide = problemOf(
      matmul.op as unknown as Op,
      [spec([4, 600], 'float32'), spec([600, 4], 'float32')],
      {
        ...matmul.op.attrs,
      },
    );
    for (const variant of (matmul.op as unknown as Op).gpu)
      expect(variant.admits(wide as Problem<object>, small(runtime.caps!))).toMatch(
        /larger than the 4096 bytes/,
      );
  });
});

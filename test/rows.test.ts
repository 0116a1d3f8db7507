/** Norms and softmaxes where conformance's samples do not go: fused against unfused, lines of -inf, infinities. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Op, OpTable, Problem } from '../src/ops/contract.js';
import * as F from '../src/ops/index.js';
import { problemOf, record } from '../src/ops/record.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type DType, decode } from '../src/tensor/dtype.js';
import { scope } from '../src/tensor/scope.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { sides } from './support/sides.js';

const inf = Number.POSITIVE_INFINITY;
const numbers = (t: Tensor) => Array.from(decode(t.dtype, t.dataSync()));

describe.each(sides)('on $side', ({ options }) => {
  let runtime: Runtime;
  let before: Runtime | undefined;
  beforeAll(() => {
    runtime = new Runtime(options);
    before = useRuntime(runtime);
  });
  afterAll(() => {
    useRuntime(before);
    runtime.dispose();
  });

  const draw = (shape: number[], dtype: DType, seed: number) => F.cast(F.normal({ shape, seed }), { dtype });

  it.each([
    [[33, 65], 'float32', 'float32'],
    [[17, 64], 'bfloat16', 'float32'],
    [[17, 33], 'bfloat16', 'bfloat16'],
    [[300, 256], 'float16', 'float32'],
  ] as [number[], DType, DType][])(
    'a norm of a sum is the norm of the sum: %j of %s and %s',
    (shape, dtype, residualDtype) =>
      scope(() => {
        const x = draw(shape, dtype, 1);
        const residual = draw(shape, residualDtype, 2);
        const weight = draw(shape.slice(-1), 'float32', 3);
        const bias = draw(shape.slice(-1), 'float32', 4);
        const sum = F.cast(F.add(F.cast(x, { dtype: 'float32' }), F.cast(residual, { dtype: 'float32' })), {
          dtype: residualDtype,
        });
        for (const [fused, plain] of [
          [F.addLayerNorm(x, residual, weight, bias), F.layerNorm(sum, weight, bias, { outDtype: dtype })],
          [F.addRmsNorm(x, residual, weight), F.rmsNorm(sum, weight, { outDtype: dtype })],
        ] as const) {
          expect(numbers(fused[1])).toEqual(numbers(sum));
          expect(numbers(fused[0])).toEqual(numbers(plain));
        }
      }),
  );

  it('layer_norm_backward without the work for dx, or for dw and db, gives the same as with it', () =>
    scope(() => {
      const [dy, x, weight] = [
        draw([70, 48], 'float32', 1),
        draw([70, 48], 'float32', 2),
        draw([48], 'float32', 3),
      ];
      const [, mean, rstd] = record(F.layerNorm.op as unknown as Op, [x, weight], undefined) as [
        Tensor,
        Tensor,
        Tensor,
      ];
      const whole = F.layerNormBackward(dy, x, mean, rstd, weight, undefined, { db: 'float32' });
      const columns = F.layerNormBackward(dy, x, mean, rstd, weight, undefined, { dx: false, db: 'float32' });
      const rows = F.layerNormBackward(dy, x, mean, rstd, weight, undefined, { dw: false });
      expect([columns[0].shape, rows[1].shape, rows[2].shape]).toEqual([[0], [0], [0]]);
      expect(numbers(columns[1])).toEqual(numbers(whole[1]));
      expect(numbers(columns[2])).toEqual(numbers(whole[2]));
      expect(numbers(rows[0])).toEqual(numbers(whole[0]));
    }));

  it.each([
    ['layer_norm', F.layerNorm.op as unknown as Op],
    ['rms_norm', F.rmsNorm.op as unknown as Op],
  ] as const)(
    'what is pending of the gradient of x is added by %s itself, with a weight and without',
    (_, op) =>
      scope(() => {
        for (const parameters of [[], [draw([48], 'float32', 3)]]) {
          const inputs = [draw([70, 48], 'float32', 1), ...parameters];
          const outputs = record(op, inputs, undefined);
          const [dy, known] = [draw([70, 48], 'float32', 4), draw([70, 48], 'float32', 5)];
          const gradient = (pending: Tensor | undefined) =>
            op.backward!({
              grads: [dy],
              needs: inputs.map(() => true),
              pending: [pending],
              inputs,
              outputs,
              attrs: op.attrs,
              problem: problemOf(
                op,
                inputs.map((t) => t.spec),
                op.attrs,
              ) as Problem<object>,
              F: F as unknown as OpTable,
            })[0] as Tensor;
          const apart = numbers(F.add(gradient(undefined), known));
          for (const [i, v] of numbers(gradient(known)).entries()) expect(v).toBeCloseTo(apart[i]!, 5);
        }
      }),
  );

  const masked = [-inf, -inf, -inf, 0, -inf, 0, 1, inf, 0];
  it.each([-1, 0])('lines of -inf throughout, in part, and one with an infinity, along axis %i', (axis) =>
    scope(() => {
      const rows = tensor(Float32Array.from(masked), [3, 3]);
      const x = axis === 0 ? F.permute(rows, { axes: [1, 0] }) : rows;
      const back = (y: Tensor) => numbers(axis === 0 ? F.permute(y, { axes: [1, 0] }) : y);
      const half = Math.log(0.5);
      const log = F.logSoftmax(x, { axis });
      expect(back(F.softmax(x, { axis })).slice(0, 6)).toEqual([0, 0, 0, 0.5, 0, 0.5]);
      expect(back(log).slice(0, 3)).toEqual([-inf, -inf, -inf]);
      expect(back(log)[3]).toBeCloseTo(half, 6);
      expect(back(log)[4]).toBe(-inf);
      const sums = numbers(F.logsumexp(x, { axis }));
      expect([sums[0], sums[2]]).toEqual([-inf, inf]);
      expect(sums[1]).toBeCloseTo(-half, 6);
      const dy = F.fill({ shape: [3, 3], value: 2 });
      expect(back(F.logSoftmaxBackward(dy, log, { axis })).slice(0, 6)).toEqual([0, 0, 0, -1, 2, -1]);
      expect(back(F.softmaxBackward(dy, F.softmax(x, { axis }), { axis })).slice(0, 6)).toEqual([
        0, 0, 0, 0, 0, 0,
      ]);
    }),
  );

  it('a NaN stays in its own line', () =>
    scope(() => {
      const x = tensor(Float32Array.from([Number.NaN, 1, 2, 3]), [2, 2]);
      expect(numbers(F.logsumexp(x))[0]).toBeNaN();
      expect(numbers(F.logsumexp(x))[1]).toBeCloseTo(3.3132617, 5);
      expect(numbers(F.layerNorm(x)).map(Number.isNaN)).toEqual([true, true, false, false]);
    }));
});

/** Results that the tape makes again instead of keeping: the same values, and memory saved. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sum } from '../src/index.js';
import { init, LayerNorm, Linear, MLP, Parameter } from '../src/nn/index.js';
import type { OpTable, Problem } from '../src/ops/contract.js';
import * as exported from '../src/ops/index.js';
import { problemOf, record, sampleInputs, toleranceOf } from '../src/ops/record.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { decode, encode } from '../src/tensor/dtype.js';
import { scope } from '../src/tensor/scope.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { calls } from './support/calls.js';
import { compare, values } from './support/conformance.js';
import { expectTyped, failureOf } from './support/errors.js';
import { cpu } from './support/sides.js';

let runtime: Runtime;
beforeEach(() => {
  runtime = new Runtime(cpu.options);
  useRuntime(runtime);
});
afterEach(() => {
  useRuntime(undefined);
  runtime.dispose();
});

const F = exported as unknown as OpTable;

it.each(calls.filter(({ op }) => op.recompute))('$name comes out as it did', ({ op }) => {
  let compared = 0;
  for (const sample of op.samples)
    for (const dtype of sample.dtypes ?? op.dtypes)
      scope(() => {
        const drawn = sampleInputs(op, sample, dtype);
        const attrs = { ...op.attrs, ...sample.attrs };
        const problem = problemOf(
          op,
          drawn.map((d) => d.spec),
          attrs,
        ) as Problem<object>;
        if (sample.heavy || !op.recompute!.can(problem)) return;
        const inputs = drawn.map((d, i) =>
          tensor(encode(d.spec.dtype, values(d.spec, d.domain, i + 1)), d.spec.shape, {
            dtype: d.spec.dtype,
          }),
        );
        const outputs = record(op, inputs, attrs);
        const held = (tensors: readonly Tensor[], which: readonly number[] = []) =>
          tensors.map((t, i) => (which.includes(i) ? t : undefined));
        const made = op.recompute!.run({
          inputs: held(inputs, op.saves?.inputs),
          outputs: held(outputs, op.saves?.outputs),
          attrs,
          problem,
          F,
        }) as Tensor;
        expect(made.spec).toBe(outputs[0]!.spec);
        const want = decode(outputs[0]!.dtype, outputs[0]!.dataSync());
        expect(
          compare(made.dtype, made.dataSync(), want, toleranceOf(op, problem)),
          `${problem.inputs}`,
        ).toBe('');
        compared++;
      });
  expect(compared).toBeGreaterThan(0);
});

describe('the tape', () => {
  const held = (fn: () => Tensor): number => {
    const before = runtime.stats().host.live;
    const y = fn();
    const after = runtime.stats().host.live;
    y.dispose();
    return after - before;
  };

  it('keeps what an activation was applied to, not what came of it', () => {
    const [rows, dim] = [2048, 256]; // 2 MiB

    const x = new Parameter(init.normal(1)([rows, dim]));
    const mlp = new MLP(dim);
    const bytes = held(() => scope(() => mlp.forward(x, { residual: x })));
    const hidden = rows * 4 * dim * 4;
    expect(bytes).toBeGreaterThanOrEqual(hidden + rows * dim * 4);
    expect(bytes).toBeLessThan(1.5 * hidden);
    const norm = new LayerNorm(dim);
    const layer = new Linear(dim, dim);
    const normed = held(() => scope(() => layer.forward(norm.forward(x))));
    expect(normed).toBeLessThan(1.5 * rows * dim * 4); // the result and statistics
  });

  it('finds the gradients of what it makes again', () => {
    const x = new Parameter(init.normal(1)([8192, 64]));
    const [norm, mlp] = [new LayerNorm(64), new MLP(64, { kind: 'swiglu' })];
    const all = [x, ...norm.parameters(), ...mlp.parameters()];
    const run = (keep: boolean) => {
      for (const p of all) p.grad = null;
      scope(() => {
        const h = norm.forward(x);
        // A result that was reshaped is kept.
        const y = mlp.forward(keep ? h.reshape([8192, 64]) : h);
        sum(y.mul(y)).backward();
      });
      return all.map((p) => p.grad!.dataSync());
    };
    expect(run(false)).toEqual(run(true));
  });

  it('says so where the graph below was freed', async () => {
    const x = new Parameter(init.normal(1)([8192, 64]));
    const [norm, layer] = [new LayerNorm(64), new Linear(64, 8)];
    const h = norm.forward(x);
    const loss = sum(layer.forward(h));
    sum(h).backward();
    expectTyped(await failureOf(() => loss.backward()), { code: 'ATTN_GRAD', says: /freed by an earlier/ });
  });
});

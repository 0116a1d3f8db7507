/**
 * Every declared gradient, run with the ops themselves on the CPU, against central differences of the op's Float64
 * reference. A formula gets what a tape would hold and no more: tensors that `saves` does not name are not there.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Op, OpTable, Problem, Sample, Value } from '../src/ops/contract.js';
import * as exported from '../src/ops/index.js';
import { problemOf, record, sampleInputs } from '../src/ops/record.js';
import { AttnError } from '../src/runtime/errors.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type DType, decode, encode, isFloat } from '../src/tensor/dtype.js';
import { scope } from '../src/tensor/scope.js';
import type { Spec } from '../src/tensor/shape.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { calls } from './support/calls.js';
import { values } from './support/conformance.js';
import { cpu } from './support/sides.js';

/** Elements of each input that are moved; the whole of a small one. */
const MOVED = 24;
/** Elements of an operand above which its sample is left to the other tests: each difference runs the reference. */
const MOST = 10_000;

const F = exported as unknown as OpTable;

interface Setting {
  op: Op;
  problem: Problem<object>;
  inputs: Tensor[];
  values: Float64Array[];
  grads: Tensor[];
}

/** A sample at a dtype with its inputs, and a gradient for each output; null where none is asked for. */
function settingOf(op: Op, sample: Sample<object>, dtype: DType): Setting | null {
  const drawn = sampleInputs(op, sample, dtype);
  const specs = drawn.map((d) => d.spec);
  const problem = problemOf(op, specs, { ...op.attrs, ...sample.attrs }) as Problem<object>;
  const results = problem.outputs.slice(0, op.results ?? 1);
  if (results.length === 0 || !results.every((s) => isFloat(s.dtype)) || !specs.some((s) => isFloat(s.dtype)))
    return null;
  if ([...specs, ...problem.outputs].some((s) => s.size > MOST)) return null;
  const make = (s: Spec, domain: readonly [number, number], seed: number) =>
    tensor(encode(s.dtype, values(s, domain, seed)), s.shape, { dtype: s.dtype });
  const inputs = drawn.map((d, i) => make(d.spec, d.domain, i + 1));
  return {
    op,
    problem,
    inputs,
    values: inputs.map((t) => Float64Array.from(decode(t.dtype, t.dataSync()))),
    grads: results.map((s, i) => make(s, [-1, 1], i + 50)),
  };
}

/** Whether the op can have a gradient by an input. */
const flows = (op: Op, { dtype }: Spec, i: number): boolean =>
  isFloat(dtype) && !op.inputSpecs[Math.min(i, op.inputSpecs.length - 1)]!.constant;

/** The gradients, of one input or of all, or the reason for which the op refuses them. */
function gradientsOf(
  { op, problem, inputs, grads }: Setting,
  only?: number,
): readonly (Value | null)[] | AttnError {
  const outputs = record(op, inputs, problem.attrs);
  const held = (tensors: readonly Tensor[], which: readonly number[] = []) =>
    tensors.map((t, i) => (which.includes(i) ? t : undefined));
  try {
    return op.backward!({
      grads,
      needs: problem.inputs.map((s, i) => flows(op, s, i) && (only ?? i) === i),
      pending: [],
      inputs: held(inputs, op.saves?.inputs),
      outputs: held(outputs, op.saves?.outputs),
      attrs: problem.attrs,
      problem,
      F,
    });
  } catch (error) {
    if (error instanceof AttnError) return error;
    throw error;
  }
}

/** Relative steps: a small one where the op bends, a large one where its reference rounds (cast). */
const STEPS = [1e-5, 1e-2];

/** d/dx of sum(grad · op(…, x, …)) by element `at` of input `i`, as a central difference. */
function difference(
  { op, problem, values, grads }: Setting,
  i: number,
  at: number,
  relative: number,
): number {
  const weights = grads.map((g) => decode(g.dtype, g.dataSync()));
  const x = values[i]![at]!;
  const step = relative * Math.max(Math.abs(x), 1e-3);
  const outputsAt = (moved: number) => {
    const inputs = values.map((v, k) => (k === i ? Float64Array.from(v) : v));
    inputs[i]![at] = moved;
    return op.reference(inputs, problem);
  };
  const [above, below] = [outputsAt(x + step), outputsAt(x - step)];
  // Subtracted before they are summed: elements that did not move must not drown those that did.
  const change = above.reduce(
    (sum, y, o) => (weights[o] ? y.reduce((s, v, e) => s + (v - below[o]![e]!) * weights[o]![e]!, sum) : sum),
    0,
  );
  return change / (2 * step);
}

function check(setting: Setting, gradients: readonly (Value | null)[], what: string): number {
  const { op, problem } = setting;
  expect(gradients, what).toHaveLength(problem.inputs.length);
  let compared = 0;
  // Halves keep too little of what the gradient is made of: beside them only its shape and dtype are looked at.
  const rounds = [...problem.inputs, ...problem.outputs].some(
    (s) => isFloat(s.dtype) && s.dtype !== 'float32',
  );
  for (const [i, input] of problem.inputs.entries()) {
    if (!flows(op, input, i)) {
      expect(gradients[i], `${what}: no gradient flows into input ${i}`).toBeNull();
      continue;
    }
    const gradient = gradients[i] as Tensor;
    expect({ shape: gradient.shape, dtype: gradient.dtype }, `${what}, input ${i}`).toEqual({
      shape: input.shape,
      dtype: input.dtype,
    });
    if (input.dtype !== 'float32' || rounds) continue;
    const got = gradient.dataSync();
    const stride = Math.max(1, Math.floor(input.size / MOVED));
    for (let at = 0; at < input.size; at += stride) {
      const wanted = STEPS.map((step) => difference(setting, i, at, step));
      const errors = wanted.map((want) => Math.abs(got[at]! - want) / Math.max(1, Math.abs(want)));
      expect(
        Math.min(...errors),
        `${what}, element ${at} of input ${i}: got ${got[at]}, the differences are ${wanted.join(' and ')}`,
      ).toBeLessThan(1e-3);
      compared++;
    }
  }
  return compared;
}

/** Each gradient on its own is what it is among the others: parts of a network are frozen, and data are data. */
function checkAlone(setting: Setting, together: readonly (Value | null)[], what: string): void {
  const flowing = setting.problem.inputs.flatMap((s, i) => (flows(setting.op, s, i) ? [i] : []));
  if (flowing.length < 2) return;
  for (const i of flowing) {
    const alone = gradientsOf(setting, i) as readonly (Tensor | null)[];
    expect(alone, `${what}, input ${i} alone`).toHaveLength(together.length);
    expect(alone[i]!.dataSync(), `${what}, input ${i} alone`).toEqual((together[i] as Tensor).dataSync());
  }
}

describe('the gradient of', () => {
  let runtime: Runtime;
  let before: Runtime | undefined;
  beforeAll(() => {
    runtime = new Runtime(cpu.options);
    before = useRuntime(runtime);
  });
  afterAll(() => {
    useRuntime(before);
    runtime.dispose();
  });

  it.each(calls.filter(({ op }) => op.backward))('$name', ({ op }) => {
    let compared = 0;
    for (const sample of op.samples) {
      if (sample.heavy) continue;
      for (const dtype of sample.dtypes ?? op.dtypes)
        scope(() => {
          const setting = settingOf(op, sample, dtype);
          const gradients = setting && gradientsOf(setting);
          if (!setting || !gradients) return;
          const what = `${op.name} of ${setting.inputs.join(' ')} ${JSON.stringify(sample.attrs ?? {})}`;
          if (gradients instanceof AttnError) expect(gradients.hint, what).toBeTruthy();
          else {
            if (compared === 0) checkAlone(setting, gradients, what);
            compared += check(setting, gradients, what);
          }
        });
    }
    expect(compared).toBeGreaterThan(0);
  });
});

/**
 * The conformance walk: ops × samples × dtypes × GPU variants on one runtime, each result against the op's Float64
 * reference. conformance-suite.ts asserts on it; `npm run test:vulkan` prints it.
 */

import type { Op, Problem, Sample } from '../../src/ops/contract.js';
import { problemOf, record, sampleInputs, toleranceOf } from '../../src/ops/record.js';
import type { Caps } from '../../src/runtime/binding.js';
import { type Runtime, useRuntime } from '../../src/runtime/runtime.js';
import { type DType, decode, encode, isFloat, type TypedArray } from '../../src/tensor/dtype.js';
import { type Spec, show } from '../../src/tensor/shape.js';
import { type Tensor, tensor } from '../../src/tensor/tensor.js';

export interface Outcome {
  op: string;
  /** Shapes, dtype and attributes. */
  what: string;
  /** 'cpu' or the GPU variant. */
  variant: string;
  status: 'passed' | 'failed' | 'skipped';
  /** What differed, or why it was skipped. */
  message: string;
}

export interface Walk {
  /** Walk samples marked heavy as well. */
  heavy: boolean;
  /** Every GPU variant that admits a sample, not only the one that would be chosen. */
  allVariants: boolean;
  /**
   * In which halves: all, or on a device some, since each costs its driver a pipeline: a sample in float16 and bfloat16 by
   * turns, and a variant that is not chosen once in each. Variants differ in how they tile, halves in how they are loaded.
   */
  halves: 'all' | 'some';
}

const other: Partial<Record<DType, DType>> = { float16: 'bfloat16', bfloat16: 'float16' };

/** All outcomes of one op on a runtime whose route is forced to 'cpu' or 'gpu'. */
export async function conform(op: Op, runtime: Runtime, walk: Walk): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const seen = new Set<string>();
  const some = walk.halves === 'some' && runtime.route === 'gpu';
  for (const [turn, sample] of op.samples.entries()) {
    if (sample.heavy && !walk.heavy) continue;
    const dtypes = sample.dtypes ?? op.dtypes;
    const skipped = turn % 2 === 0 ? 'bfloat16' : 'float16';
    for (const dtype of dtypes) {
      const half = dtype === 'float16' || dtype === 'bfloat16';
      // Unless it is the only half that the sample has.
      if (some && dtype === skipped && dtypes.includes(other[dtype]!)) continue;
      const test = makeCase(op, sample, dtype);
      for (const [i, [variant, variantOp]] of variantsOf(op, test.problem, runtime, walk).entries()) {
        const inHalf = `${variant} ${dtype}`;
        if (some && half && i > 0 && seen.has(inHalf)) continue;
        seen.add(inHalf);
        const base = { op: op.name, what: test.what, variant };
        if (typeof variantOp === 'string') {
          outcomes.push({ ...base, status: 'skipped', message: variantOp });
          continue;
        }
        const message = await runCase(variantOp, test, runtime);
        outcomes.push({ ...base, status: message ? 'failed' : 'passed', message });
      }
    }
  }
  return outcomes;
}

interface Case {
  what: string;
  problem: Problem;
  attrs: object;
  raw: TypedArray[];
  inputs: { spec: Spec }[];
  expected: readonly Float64Array[];
}

/** One sample at one dtype, with its inputs rounded to that dtype and the reference's answer. */
export function makeCase(op: Op, sample: Sample<object>, dtype: DType): Case {
  const inputs = sampleInputs(op, sample, dtype);
  const attrs = { ...sample.attrs, ...(inputs.length === 0 && 'dtype' in op.attrs ? { dtype } : {}) };
  const problem = problemOf(
    op,
    inputs.map((i) => i.spec),
    { ...op.attrs, ...attrs },
  );
  const raw = inputs.map(({ spec, domain }, i) => encode(spec.dtype, values(spec, domain, i + 1)));
  const expected = op.reference(
    raw.map((r, i) => decode(inputs[i]!.spec.dtype, r)),
    problem as Problem<object>,
  );
  const shapes = [...inputs.map((i) => show(i.spec.shape)), problem.outputs.map((s) => show(s.shape)).join()];
  const what = `${shapes.slice(0, -1).join(' ')} -> ${shapes.at(-1)} ${dtype} ${JSON.stringify(sample.attrs ?? {})}`;
  return { what, problem, attrs, raw, inputs, expected };
}

/** 'cpu', or each GPU variant with the op narrowed to it (or the reason why none runs). */
function variantsOf(op: Op, problem: Problem, runtime: Runtime, walk: Walk): [string, Op | string][] {
  if (runtime.route === 'cpu') return [['cpu', op]];
  const found: [string, Op | string][] = [];
  let reason = 'the op has no GPU kernel';
  for (const variant of op.gpu) {
    const refusal = variant.admits(problem as Problem<object>, runtime.caps as Caps);
    if (refusal !== null) reason = `${variant.name}: ${refusal}`;
    else found.push([variant.name, narrowed(op, variant.name)]);
  }
  if (found.length === 0) return [['gpu', reason]];
  return walk.allVariants ? found : found.slice(0, 1);
}

const clones = new Map<string, Op>();

/** The op with one GPU variant alone, under an id of its own so that prepared problems stay apart. */
function narrowed(op: Op, variant: string): Op {
  const key = `${op.name}/${variant}`;
  let clone = clones.get(key);
  if (!clone) {
    clone = { ...op, gpu: op.gpu.filter((v) => v.name === variant), id: 100_000 + clones.size };
    clones.set(key, clone);
  }
  return clone;
}

async function runCase(op: Op, test: Case, runtime: Runtime): Promise<string> {
  const made: Tensor[] = [];
  const before = useRuntime(runtime); // ops without inputs belong to it
  const gpuBefore = runtime.stats().opsGpu;
  try {
    const inputs = test.raw.map((raw, i) => {
      const { shape, dtype } = test.inputs[i]!.spec;
      return tensor(raw, shape, { dtype, runtime });
    });
    made.push(...inputs);
    const attrs = Object.keys(test.attrs).length > 0 ? test.attrs : undefined;
    const outputs = record(op, inputs, attrs);
    made.push(...outputs);
    for (const [i, output] of outputs.entries()) {
      const want = test.problem.outputs[i]!;
      if (output.spec !== want) return `output ${i} is ${output}, inferred ${show(want.shape, want.dtype)}`;
      const message = compare(
        output.dtype,
        await output.data(),
        test.expected[i]!,
        toleranceOf(op, test.problem),
      );
      if (message) return `output ${i}: ${message}`;
    }
    for (const [k, i] of (op.updates ?? []).entries()) {
      const want = test.expected[test.problem.outputs.length + k]!;
      const updated = inputs[i]!;
      const message = compare(updated.dtype, await updated.data(), want, toleranceOf(op, test.problem));
      if (message) return `input ${i} as updated: ${message}`;
    }
    if (runtime.route === 'gpu' && runtime.stats().opsGpu === gpuBefore)
      return `ran on the CPU: ${JSON.stringify(runtime.routing().probes)}`;
    return '';
  } catch (error) {
    return `threw ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`;
  } finally {
    for (const t of made) t.dispose();
    useRuntime(before);
  }
}

/** Where the result leaves the tolerance, in words; empty where it does not. */
export function compare(dtype: DType, got: TypedArray, want: Float64Array, tolerance: number): string {
  if (got.length !== want.length) return `${got.length} elements where the reference has ${want.length}`;
  const values = decode(dtype, got);
  // The reference's infinities in halves begin where the format ends.
  const rounded = isFloat(dtype) && dtype !== 'float32' ? decode(dtype, encode(dtype, want)) : want;
  let worst = 0;
  let where = -1;
  let wrong = 0;
  for (let i = 0; i < values.length; i++) {
    const a = values[i]!;
    const b = rounded[i]!;
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    const error = Math.abs(a - b) / Math.max(1, Math.abs(b));
    if (isFloat(dtype) && error <= tolerance) continue;
    wrong++;
    if (!(error <= worst)) {
      worst = error;
      where = i;
    }
  }
  if (where < 0) return '';
  return `${wrong} of ${want.length} elements differ; element ${where} is ${values[where]}, reference ${rounded[where]} (tolerance ${tolerance})`;
}

/** Deterministic values in the domain: integers for integer dtypes. */
export function values(spec: Spec, domain: readonly [number, number], seed: number): Float64Array {
  const out = new Float64Array(spec.size);
  const low = spec.dtype === 'uint8' ? Math.max(0, domain[0]) : domain[0];
  const high = domain[1];
  let state = (seed * 0x9e3779b9 + spec.size) >>> 0 || 1;
  const whole = spec.dtype === 'int32' || spec.dtype === 'uint8';
  for (let i = 0; i < out.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const unit = (state >>> 0) / 2 ** 32;
    if (spec.dtype === 'bool') out[i] = unit < 0.5 ? 0 : 1;
    else if (whole) out[i] = Math.floor(Math.ceil(low) + unit * (Math.floor(high) - Math.ceil(low) + 1));
    else out[i] = low + unit * (high - low);
  }
  return out;
}

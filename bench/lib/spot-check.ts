/** Correctness before timing: the op's reference, or for large products some of its elements. */
import { toleranceOf } from '../../src/ops/record.js';
import { decode, type TypedArray } from '../../src/tensor/dtype.js';
import type { Case } from './cases.js';
import { rawOperands } from './operands.js';

/** What is wrong with a result, in words; '' for nothing. */
export function wrong(c: Case, result: TypedArray): string {
  const raw = rawOperands(c);
  const inputs = raw.map((r, i) => decode(c.inputs[i]!.spec.dtype, r));
  const got = decode(c.problem.outputs[0]!.dtype, result);
  const expected = c.kind === 'matmul' ? products(inputs[0]!, inputs[1]!, c.n) : whole(c, inputs);
  const tolerance = toleranceOf(c.op, c.problem);
  for (const [at, value] of expected)
    if (!(Math.abs(got[at]! - value) <= tolerance * Math.max(1, Math.abs(value))))
      return `element ${at} is ${got[at]} instead of ${value} (tolerance ${tolerance})`;
  return '';
}

const whole = (c: Case, inputs: Float64Array[]) => c.op.reference(inputs, c.problem as never)[0]!.entries();

/** 101 elements spread over C = A B, by their dot products. */
function* products(a: Float64Array, b: Float64Array, n: number): Generator<[number, number]> {
  for (let s = 0; s <= 100; s++) {
    const at = Math.floor((s / 100) * (n * n - 1));
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = 0;
    for (let k = 0; k < n; k++) sum += a[i * n + k]! * b[k * n + j]!;
    yield [at, sum];
  }
}

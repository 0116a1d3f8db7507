/** Values for a case, the same in every run, and the comparison of what two sides made of them. */
import { toleranceOf } from '../../src/ops/record.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { decode, encode, type TypedArray } from '../../src/tensor/dtype.js';
import { type Tensor, tensor } from '../../src/tensor/tensor.js';
import type { Case } from './cases.js';

/** Arrays of the latest size: ops of one size share them. */
const made = new Map<string, TypedArray>();
let madeFor = -1;

/** Raw values of the operands, uniform in each one's domain. */
export function rawOperands(c: Case): TypedArray[] {
  if (madeFor !== c.n) made.clear();
  madeFor = c.n;
  return c.inputs.map(({ spec, domain }, i) => {
    const key = `${i} ${spec.id} ${domain}`;
    let raw = made.get(key);
    if (!raw) made.set(key, (raw = encode(spec.dtype, uniform(spec.size, domain, i + 1, spec.dtype))));
    return raw;
  });
}

/** Operands in host memory, not yet on a device. */
export const hostOperands = (c: Case, runtime: Runtime): Tensor[] =>
  rawOperands(c).map((raw, i) =>
    tensor(raw, c.inputs[i]!.spec.shape, { dtype: c.inputs[i]!.spec.dtype, runtime }),
  );

/** xorshift32, mapped to the domain; booleans by the upper half. */
function uniform(size: number, [low, high]: readonly [number, number], seed: number, dtype: string) {
  const out = new Float64Array(size);
  let x = (seed * 0x9e3779b9) >>> 0;
  for (let i = 0; i < size; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    const u = (x >>> 0) / 2 ** 32;
    out[i] = dtype === 'bool' ? +(u > 0.5) : low + (high - low) * u;
  }
  return out;
}

/** The first element in which two sides differ by more than the op allows each of them, in words; '' for none. */
export function difference(c: Case, cpu: TypedArray, gpu: TypedArray): string {
  const out = c.problem.outputs[0]!;
  const tolerance = 2 * toleranceOf(c.op, c.problem);
  const half = out.dtype === 'float16' || out.dtype === 'bfloat16';
  const [a, b] = half ? [decode(out.dtype, cpu), decode(out.dtype, gpu)] : [cpu, gpu];
  for (let i = 0; i < a.length; i++) {
    const x = a[i]!;
    const y = b[i]!;
    if (x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
    if (!(Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(x))))
      return `element ${i} is ${y} on the GPU and ${x} on the CPU (tolerance ${tolerance})`;
  }
  return '';
}

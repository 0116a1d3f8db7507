/** Ops as a caller sees them, and a valid call of each: what tests over the whole registry start from. */
import type { Op, Sample } from '../../src/ops/contract.js';
import { isOp } from '../../src/ops/define.js';
import * as exported from '../../src/ops/index.js';
import { sampleInputs } from '../../src/ops/record.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { type DType, encode } from '../../src/tensor/dtype.js';
import { type Tensor, tensor } from '../../src/tensor/tensor.js';
import { values } from './conformance.js';

export interface Call {
  op: Op;
  /**
   * The export, called as users call it: operands (a list for concat), then attributes. Gives the first result, or,
   * of an op that only changes tensors, the first of those.
   */
  run: (operands: readonly unknown[], attrs?: object) => Tensor;
}

export const calls: readonly (Call & { name: string })[] = (Object.values(exported) as unknown[])
  .filter(isOp)
  .map((callable) => ({
    name: callable.op.name,
    op: callable.op,
    run: (operands, attrs) => {
      const args = callable.op.variadic ? [operands] : operands;
      const result = (callable as (...a: unknown[]) => Tensor | Tensor[] | undefined)(
        ...args,
        ...(attrs ? [attrs] : []),
      );
      const first = Array.isArray(result) ? result[0] : result;
      return first ?? (operands[callable.op.updates?.[0] ?? 0] as Tensor);
    },
  }));

/** Tensors and attributes of a sample, at a dtype that it allows. */
export function operandsOf(
  op: Op,
  runtime: Runtime,
  sample: Sample<object> = op.samples.find((s) => !s.heavy)!,
  dtype: DType = sample.dtypes?.[0] ?? op.dtypes[0]!,
): { tensors: Tensor[]; attrs: object } {
  const tensors = sampleInputs(op, sample, dtype).map(({ spec, domain }, i) =>
    tensor(encode(spec.dtype, values(spec, domain, i + 1)), spec.shape, { dtype: spec.dtype, runtime }),
  );
  const attrs = { ...sample.attrs, ...(tensors.length === 0 && 'dtype' in op.attrs ? { dtype } : {}) };
  return { tensors, attrs };
}

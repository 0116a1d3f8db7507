/** Class numbers as rows of zeros with a one. */
import { ArgumentError } from '../runtime/errors.js';
import { checkDType, type DType, dtypeBytes, dtypeCode, dtypes, encode } from '../tensor/dtype.js';
import { spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Sample } from './define.js';
import { FAULT, loneGroup, overBinding, wordsOf } from './launch.js';

export interface OneHotAttrs {
  /** Classes. */
  depth: number;
  dtype: DType;
}

/** The storage of 1. */
function oneOf(dtype: DType): number {
  const raw = encode(dtype, [1]);
  return dtypeBytes[dtype] === 4 ? new Uint32Array(raw.buffer)[0]! : raw[0]!;
}

/**
 * `oneHot(ids, { depth, dtype })`: [..., depth], 1 at each id and 0 elsewhere. An id outside 0 … depth - 1 raises
 * IndexError when the op runs.
 */
export const oneHot = defineOp<[ids: Tensor]>()<OneHotAttrs>({
  name: 'one_hot',
  doc: '1 at each id, 0 elsewhere: [..., depth]',
  inputs: [{ name: 'ids', dtype: 'int32', domain: [0, 0] }],
  attrs: { depth: 1, dtype: 'float32' },
  dtypes: ['int32'],
  infer([ids], { depth, dtype }) {
    if (!Number.isInteger(depth) || depth < 0)
      throw new ArgumentError(`depth is ${String(depth)}`, {
        op: 'one_hot',
        hint: 'it is the number of classes',
      });
    return [spec([...ids!.shape, depth], checkDType(dtype, 'one_hot'))];
  },
  reference([ids], { outputs: [y], attrs: { depth } }) {
    const out = new Float64Array(y!.size);
    ids!.forEach((id, i) => {
      out[i * depth + id] = 1;
    });
    return [out];
  },
  cpu: ({ inputs: [ids], attrs: { depth, dtype } }) => ({
    kernel: 'one_hot',
    attrs: [dtypeBytes[dtype], ids!.size, depth, oneOf(dtype)],
  }),
  gpu: [
    {
      name: 'simple',
      admits: ({ inputs, outputs }, caps) => overBinding([...inputs, ...outputs], caps),
      plan({ outputs: [y], attrs: { depth, dtype } }, caps) {
        const words = wordsOf(y!);
        if (words === 0) return { dispatches: [] };
        const group = loneGroup(caps);
        return {
          dispatches: [
            {
              shader: 'one_hot',
              spec: [group, dtypeCode[dtype]],
              push: [words, y!.size, depth, oneOf(dtype)],
              groups: Math.ceil(words / group),
              binds: [{ operand: 0 }, { operand: 1 }, { operand: FAULT, write: true }],
            },
          ],
        };
      },
    },
  ],
  cost: ({ inputs, outputs }) => ({ flops: 0, bytes: inputs[0]!.bytes + outputs[0]!.bytes, family: 'move' }),
  samples: [
    ...dtypes.map(
      (dtype): Sample<OneHotAttrs> => ({
        shapes: [[7, 3]],
        attrs: { depth: 5, dtype },
        domains: [[0, 4]],
      }),
    ),
    { shapes: [[]], attrs: { depth: 3 } },
    { shapes: [[0]], attrs: { depth: 3 } },
    { shapes: [[1]] },
    { shapes: [[4, 16]], attrs: { depth: 65 }, domains: [[0, 64]] },
    { shapes: [[70001]], attrs: { depth: 3 }, domains: [[0, 2]], heavy: true },
  ],
  invalid: [
    { shapes: [[3]], attrs: { depth: -1 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[3]], attrs: { depth: 1.5 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[3]], attrs: { dtype: 'float64' as DType }, code: 'ATTN_DTYPE' },
    { shapes: [[3]], dtypes: ['float32'], code: 'ATTN_DTYPE' },
  ],
});

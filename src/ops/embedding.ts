/** Rows of a table by their numbers, and the sum of gradients by row that is its gradient. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeBytes, dtypeCode, floatDTypes, perWord } from '../tensor/dtype.js';
import { show, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp } from './define.js';
import { scan, sorted } from './embedding.gpu.js';
import { FAULT, loneGroup, overBinding, wordsOf } from './launch.js';

const ids = { name: 'ids', dtype: 'int32', domain: [0, 0] } as const;

/**
 * out[…, :] = weight[ids[…], :] for weight [V, C] and ids of any shape: [..., C] in the weight's dtype. An id outside
 * 0 … V - 1 raises IndexError when the op runs.
 */
export const embedding = defineOp<[weight: Tensor, ids: Tensor]>()<Record<string, never>>({
  name: 'embedding',
  doc: 'rows of weight [V, C] by ids [...]: [..., C]',
  inputs: ['weight', ids],
  attrs: {},
  dtypes: floatDTypes,
  infer([weight, ids]) {
    if (weight!.rank !== 2)
      throw new ShapeError(`weight ${show(weight!.shape)} is no table, for ids ${show(ids!.shape)}`, {
        op: 'embedding',
        hint: 'weight is [rows, channels]',
      });
    return [spec([...ids!.shape, weight!.shape[1]!], weight!.dtype)];
  },
  reference([weight, ids], { inputs }) {
    const channels = inputs[0]!.shape[1]!;
    const y = new Float64Array(ids!.length * channels);
    ids!.forEach((id, i) => {
      y.set(weight!.subarray(id * channels, (id + 1) * channels), i * channels);
    });
    return [y];
  },
  cpu({ inputs: [weight, ids] }) {
    const [rows, channels] = weight!.shape as [number, number];
    return { kernel: 'embedding', attrs: [channels * dtypeBytes[weight!.dtype], rows, ids!.size] };
  },
  gpu: [
    {
      name: 'simple',
      admits: (problem, caps) => overBinding([...problem.inputs, ...problem.outputs], caps),
      plan({ inputs: [weight], outputs: [y] }, caps) {
        if (y!.size === 0) return { dispatches: [] };
        const [rows, channels] = weight!.shape as [number, number];
        const unit = 4 * perWord(y!.dtype);
        const vectors = channels % unit === 0;
        const units = vectors ? y!.size / unit : wordsOf(y!);
        const group = loneGroup(caps);
        return {
          dispatches: [
            {
              shader: 'embedding',
              spec: [group, dtypeCode[y!.dtype], vectors ? 1 : 0],
              push: [units, y!.size, rows, vectors ? channels / unit : channels],
              groups: Math.ceil(units / group),
              binds: [{ operand: 0 }, { operand: 1 }, { operand: 2 }, { operand: FAULT, write: true }],
            },
          ],
        };
      },
    },
  ],
  cost: ({ inputs, outputs }) => ({
    flops: 0,
    bytes: inputs[1]!.bytes + 2 * outputs[0]!.bytes,
    family: 'move',
  }),
  backward({ grads: [g], inputs: [, ids], problem, F }) {
    return [F.embeddingBackward!(g, ids, { rows: problem.inputs[0]!.shape[0]! }), null];
  },
  saves: { inputs: [1] },
  samples: [
    {
      shapes: [
        [33, 5],
        [7, 3],
      ],
      domains: [
        [-3, 3],
        [0, 32],
      ],
    },
    {
      shapes: [[3, 8], []],
      domains: [
        [-3, 3],
        [0, 2],
      ],
    },
    { shapes: [[1, 1], [1]] },
    { shapes: [[4, 3], [0]] },
    {
      shapes: [[4, 0], [6]],
      domains: [
        [-3, 3],
        [0, 3],
      ],
    },
    {
      shapes: [
        [1, 64],
        [2, 3, 5],
      ],
    },
    {
      shapes: [
        [65, 32],
        [8, 16],
      ],
      domains: [
        [-3, 3],
        [0, 64],
      ],
    },
    {
      shapes: [
        [256, 256],
        [4, 256],
      ],
      domains: [
        [-3, 3],
        [0, 255],
      ],
    },
    {
      shapes: [[10, 3], [70001]],
      domains: [
        [-3, 3],
        [0, 9],
      ],
      heavy: true,
    },
    {
      shapes: [[70001, 8], [513]],
      domains: [
        [-3, 3],
        [0, 70000],
      ],
      heavy: true,
    },
  ],
  invalid: [
    { shapes: [[4], [2]], code: 'ATTN_SHAPE' },
    { shapes: [[2, 3, 4], [2]], code: 'ATTN_SHAPE' },
    { shapes: [[2, 3], [2]], dtypes: ['float32', 'float32'], code: 'ATTN_DTYPE' },
    { shapes: [[2, 3], [2]], dtypes: ['int32', 'int32'], code: 'ATTN_DTYPE' },
  ],
});

/** Rows of the table. */
export interface EmbeddingBackwardAttrs {
  rows: number;
}

/**
 * dweight[v, :] = Σ dy[i, :] over the i with ids[i] = v, for dy [..., C]: [rows, C] in dy's dtype, summed in float32 in
 * the order of the ids. Ids that point outside add to nothing: `embedding` has raised them.
 */
export const embeddingBackward = defineOp<[dy: Tensor, ids: Tensor]>()<EmbeddingBackwardAttrs>({
  name: 'embedding_backward',
  doc: 'Σ of dy [..., C] over equal ids: [rows, C]',
  internal: true,
  inputs: ['dy', ids],
  attrs: { rows: 1 },
  dtypes: floatDTypes,
  infer([dy, ids], { rows }) {
    if (dy!.rank !== ids!.rank + 1 || ids!.shape.some((d, i) => d !== dy!.shape[i]))
      throw new ShapeError(`dy ${show(dy!.shape)} is not one row for each of ids ${show(ids!.shape)}`, {
        op: 'embedding_backward',
        hint: 'dy is [...ids, channels]',
      });
    if (!Number.isInteger(rows) || rows < 0)
      throw new ArgumentError(`rows is ${String(rows)}`, {
        op: 'embedding_backward',
        hint: 'it is the number of rows of the table',
      });
    return [spec([rows, dy!.shape[dy!.rank - 1]!], dy!.dtype)];
  },
  reference([dy, ids], { outputs: [dw] }) {
    const [rows, channels] = dw!.shape as [number, number];
    const out = new Float64Array(dw!.size);
    ids!.forEach((id, i) => {
      if (id < 0 || id >= rows) return;
      for (let c = 0; c < channels; c++) out[id * channels + c]! += dy![i * channels + c]!;
    });
    return [out];
  },
  cpu({ inputs: [dy, ids], outputs: [dw] }) {
    const [rows, channels] = dw!.shape as [number, number];
    return { kernel: 'embedding_backward', attrs: [dtypeCode[dy!.dtype], rows, channels, ids!.size] };
  },
  gpu: [scan, sorted],
  cost: ({ inputs, outputs }) => ({
    flops: inputs[0]!.size,
    bytes: inputs[0]!.bytes + inputs[1]!.bytes + outputs[0]!.bytes,
    family: 'reduce',
  }),
  // Elements cancel while their rounding errors add up like a random walk, as in a sum.
  tolerance: ({ inputs }) => Math.max(1e-5, 2e-6 * Math.sqrt(inputs[1]!.size)),
  samples: [
    {
      shapes: [
        [7, 3, 5],
        [7, 3],
      ],
      attrs: { rows: 33 },
      domains: [
        [-3, 3],
        [-2, 34],
      ],
    },
    {
      shapes: [[8], []],
      attrs: { rows: 3 },
      domains: [
        [-3, 3],
        [0, 2],
      ],
    },
    { shapes: [[1, 1], [1]] },
    { shapes: [[0, 3], [0]], attrs: { rows: 4 } },
    { shapes: [[6, 0], [6]], attrs: { rows: 4 } },
    { shapes: [[3, 4], [3]], attrs: { rows: 0 } },
    {
      shapes: [[130, 33], [130]],
      attrs: { rows: 2 },
      domains: [
        [-3, 3],
        [0, 1],
      ],
    },
    { shapes: [[300, 64], [300]] },
    {
      shapes: [
        [8, 16, 32],
        [8, 16],
      ],
      attrs: { rows: 65 },
      domains: [
        [-3, 3],
        [0, 64],
      ],
    },
    {
      shapes: [
        [4, 256, 256],
        [4, 256],
      ],
      attrs: { rows: 256 },
      domains: [
        [-3, 3],
        [0, 255],
      ],
    },
    {
      shapes: [[70001, 3], [70001]],
      attrs: { rows: 10 },
      domains: [
        [-3, 3],
        [0, 9],
      ],
      heavy: true,
    },
    {
      shapes: [[513, 8], [513]],
      attrs: { rows: 70001 },
      domains: [
        [-3, 3],
        [0, 70000],
      ],
      heavy: true,
    },
  ],
  invalid: [
    { shapes: [[4, 3], [3]], code: 'ATTN_SHAPE' },
    { shapes: [[4], [4]], code: 'ATTN_SHAPE' },
    { shapes: [[4, 3], [4]], attrs: { rows: -1 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[4, 3], [4]], attrs: { rows: 0.5 }, code: 'ATTN_ARGUMENT' },
  ],
});

/** A gradient added to its slot. */
import { ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp } from './define.js';
import { bytesOf } from './elementwise.js';
import { mapGroup, split } from './launch.js';

/**
 * target += x in place, or = x with `replace`. Nothing beyond the target's elements is written: what lies between the
 * slots of an arena stays 0.
 */
export const accumulateStep = defineOp<[target: Tensor, x: Tensor], void>()({
  name: 'accumulate_step',
  doc: 'target += x in place, or = x',
  inputs: [
    { name: 'target', dtype: 'float32' },
    { name: 'x', dtypes: floatDTypes },
  ],
  results: 0,
  updates: [0],
  spoils: true,
  internal: true,
  attrs: { replace: false },
  dtypes: ['float32'],
  infer([target, x]) {
    if (target!.shape.length !== x!.shape.length || target!.shape.some((d, i) => d !== x!.shape[i]))
      throw new ShapeError(`target ${show(target!.shape)} and x ${show(x!.shape)} differ`, {
        op: 'accumulate_step',
        hint: 'a gradient has the shape of what it belongs to',
      });
    return [];
  },
  reference: ([target, x], { attrs: { replace } }) => [x!.map((v, i) => (replace ? v : target![i]! + v))],
  cpu: ({ inputs: [target, x], attrs: { replace } }) => ({
    kernel: 'accumulate_step',
    attrs: [dtypeCode[x!.dtype], target!.size, Number(replace)],
  }),
  gpu: [
    {
      name: 'simple',
      admits: () => null,
      plan({ inputs: [target, x], attrs: { replace } }, caps) {
        const size = mapGroup(caps);
        return {
          dispatches: split(
            [
              { spec: target!, moves: 1 },
              { spec: x!, moves: 1 },
            ],
            target!.size,
            caps,
            ({ count }, binds) => ({
              shader: 'accumulate_step',
              spec: [size, dtypeCode[x!.dtype], Number(replace)],
              push: [count],
              groups: Math.ceil(count / (size * 4)),
              binds: binds.map((bind, i) => ({ ...bind, write: i === 0 })),
            }),
          ),
        };
      },
    },
  ],
  cost: (problem) => ({
    flops: problem.inputs[0]!.size,
    bytes: bytesOf(problem) + (problem.attrs.replace ? 0 : problem.inputs[0]!.bytes),
    family: 'map',
  }),
  samples: [
    ...floatDTypes.flatMap((dtype) =>
      [false, true].map((replace) => ({
        shapes: [
          [33, 5],
          [33, 5],
        ],
        attrs: { replace },
        inputDTypes: [undefined, dtype],
      })),
    ),
    ...[[], [0], [1], [64], [4096, 3]].map((shape) => ({ shapes: [shape, shape] })),
    { shapes: [[70001], [70001]], heavy: true },
  ],
  invalid: [{ shapes: [[3], [1]], code: 'ATTN_SHAPE' }],
});

/** Rows written into a longer tensor in place: how a cache takes what new tokens add. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeBytes, dtypes } from '../tensor/dtype.js';
import { type Spec, show, sizeOf } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp } from './define.js';
import { loneGroup, overBinding } from './launch.js';

/** Bytes of one row: what lies behind [batch, row]. */
const rowBytes = (x: Spec) => sizeOf(x.shape.slice(2)) * dtypeBytes[x.dtype];

/** target [B, capacity, …] with rows at … at + T - 1 of each batch entry replaced by x [B, T, …], in place. */
export const writeRowsStep = defineOp<[target: Tensor, x: Tensor], void>()({
  name: 'write_rows_step',
  doc: 'rows of x [B, T, …] into target [B, capacity, …] from row `at` on, in place',
  inputs: ['target', 'x'],
  results: 0,
  updates: [0],
  internal: true,
  attrs: { at: 0 },
  dtypes,
  infer([target, x], { at }) {
    const op = 'write_rows_step';
    const [to, from] = [target!.shape, x!.shape];
    if (to.length < 2 || to.length !== from.length || to.some((d, i) => i !== 1 && d !== from[i]))
      throw new ShapeError(`rows ${show(from)} do not fit into ${show(to)}`, {
        op,
        hint: 'both are [batch, rows, …], and differ in their rows alone',
      });
    if (!Number.isInteger(at) || at < 0 || at + from[1]! > to[1]!)
      throw new ArgumentError(`rows ${at} to ${at + from[1]!} of ${to[1]}`, {
        op,
        hint: 'at is a whole number, and rows lie within the target',
      });
    return [];
  },
  reference([target, x], { inputs: [to, from], attrs: { at } }) {
    const [batch, capacity] = to!.shape as [number, number];
    const row = sizeOf(to!.shape.slice(2));
    const run = from!.shape[1]! * row;
    const y = target!.slice();
    for (let b = 0; b < batch; b++) y.set(x!.subarray(b * run, (b + 1) * run), (b * capacity + at) * row);
    return [y];
  },
  cpu: ({ inputs: [to, from], attrs: { at } }) => ({
    kernel: 'write_rows_step',
    attrs: [to!.shape[0]!, to!.shape[1]!, from!.shape[1]!, at, rowBytes(to!)],
  }),
  gpu: [
    {
      name: 'simple',
      admits({ inputs }, caps) {
        if (rowBytes(inputs[0]!) % 4 !== 0) return 'a row is not of whole 32-bit words';
        return overBinding(inputs, caps);
      },
      plan({ inputs: [to, from], attrs: { at } }, caps) {
        const row = rowBytes(to!) / 4;
        const words = from!.bytes / 4;
        const group = loneGroup(caps);
        return {
          dispatches:
            words === 0
              ? []
              : [
                  {
                    shader: 'write_rows_step',
                    spec: [group],
                    push: [words, from!.shape[1]! * row, to!.shape[1]! * row, at * row],
                    groups: Math.ceil(words / group),
                    binds: [
                      { operand: 0, write: true },
                      { operand: 1, write: false },
                    ],
                  },
                ],
        };
      },
    },
  ],
  cost: ({ inputs: [, x] }) => ({ flops: 0, bytes: 2 * x!.bytes, family: 'move' }),
  samples: [
    { shapes: [[3, 7, 2, 4], [3, 2, 2, 4]], attrs: { at: 4 } }, // biome-ignore format: one call a line
    { shapes: [[2, 5, 3], [2, 5, 3]] }, // biome-ignore format: one call a line
    { shapes: [[1, 9], [1, 1]], attrs: { at: 8 } }, // biome-ignore format: one call a line
    { shapes: [[1, 1], [1, 1]] }, // biome-ignore format: one call a line
    { shapes: [[2, 4, 6], [2, 0, 6]], attrs: { at: 4 } }, // biome-ignore format: one call a line
    { shapes: [[0, 4, 6], [0, 1, 6]] }, // biome-ignore format: one call a line
    { shapes: [[2, 64, 4, 16], [2, 1, 4, 16]], attrs: { at: 33 } }, // biome-ignore format: one call a line
    { shapes: [[2, 70001, 2], [2, 70000, 2]], attrs: { at: 1 }, heavy: true }, // biome-ignore format: one call a line
  ],
  invalid: [
    { shapes: [[2, 4, 6], [2, 2, 5]], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[2, 4, 6], [2, 2, 6]], attrs: { at: 3 }, code: 'ATTN_ARGUMENT' }, // biome-ignore format: one call a line
    { shapes: [[2, 4, 6], [2, 2, 6]], attrs: { at: -1 }, code: 'ATTN_ARGUMENT' }, // biome-ignore format: one call a line
    { shapes: [[4], [2]], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
  ],
});

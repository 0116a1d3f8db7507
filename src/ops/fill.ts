/** A tensor of one value. */
import { type DType, decode, dtypeBytes, dtypes, encode, perWord } from '../tensor/dtype.js';
import { checkShape, type Shape, spec } from '../tensor/shape.js';
import { defineOp } from './define.js';
import { bytesOf } from './elementwise.js';
import { mapGroup, split } from './launch.js';

/** The value's bits, as often as a 32-bit word holds them. */
function patternOf(value: number, dtype: DType): number {
  const raw = encode(dtype, new Array<number>(perWord(dtype)).fill(value));
  return new Uint32Array(raw.buffer)[0]!;
}

/** `fill({ shape, value, dtype })`. */
export const fill = defineOp<[]>()({
  name: 'fill',
  doc: 'value everywhere',
  inputs: [],
  attrs: { shape: [] as Shape, value: 0, dtype: 'float32' as DType },
  dtypes: [...dtypes],
  infer: (_, { shape, dtype }) => [spec(checkShape(shape, 'fill'), dtype)],
  reference: (_, { outputs: [y], attrs: { value, dtype } }) => [
    new Float64Array(y!.size).fill(decode(dtype, encode(dtype, [value]))[0]!),
  ],
  cpu: ({ outputs: [y], attrs: { value, dtype } }) => ({
    kernel: 'fill',
    attrs: [patternOf(value, dtype), y!.bytes],
  }),
  gpu: [
    {
      name: 'words',
      admits: () => null,
      plan({ outputs: [y], attrs: { value, dtype } }, caps) {
        const size = mapGroup(caps);
        return {
          dispatches: split([{ spec: y!, moves: 1 }], y!.size, caps, ({ count }, binds) => {
            const words = Math.ceil((count * dtypeBytes[dtype]) / 4);
            return {
              shader: 'fill',
              spec: [size],
              push: [words, patternOf(value, dtype)],
              groups: Math.ceil(words / size),
              binds,
            };
          }),
        };
      },
    },
  ],
  cost: (problem) => ({ flops: 0, bytes: bytesOf(problem), family: 'map' }),
  samples: [
    { shapes: [], attrs: { shape: [], value: 1.5 } },
    { shapes: [], attrs: { shape: [0], value: 1 } },
    { shapes: [], attrs: { shape: [37], value: 2 } },
    { shapes: [], attrs: { shape: [5, 7, 3], value: 0 } },
    { shapes: [], attrs: { shape: [70000, 3], value: 1 }, heavy: true },
  ],
  invalid: [
    { shapes: [], attrs: { shape: [2, -1] }, code: 'ATTN_SHAPE' },
    { shapes: [], attrs: { shape: [1.5] }, code: 'ATTN_SHAPE' },
    { shapes: [], attrs: { shape: [2], dtype: 'complex64' as DType }, code: 'ATTN_DTYPE' },
  ],
});

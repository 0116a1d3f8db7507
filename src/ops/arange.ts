/** Evenly spaced values. */
import { ArgumentError } from '../runtime/errors.js';
import { type DType, dtypeBytes, dtypeCode, floatBits } from '../tensor/dtype.js';
import { spec } from '../tensor/shape.js';
import { defineOp } from './define.js';
import { bytesOf } from './elementwise.js';
import { mapGroup, split } from './launch.js';

interface Attrs {
  start: number;
  stop: number;
  step: number;
  dtype: DType;
}

/** Upper 12 bits of the mantissa, the next 12, and what is left: products of two such parts are exact in float32. */
function parts(x: number): number[] {
  const cut = (v: number) => {
    const bits = new Uint32Array([floatBits(v) & 0xfffff000]);
    return new Float32Array(bits.buffer)[0]!;
  };
  const high = cut(x);
  const middle = cut(x - high);
  return [high, middle, x - high - middle];
}

/** `arange({ start, stop, step, dtype })`: start, start + step, … before stop. */
export const arange = defineOp<[]>()({
  name: 'arange',
  doc: 'start + i step, while before stop',
  inputs: [],
  attrs: { start: 0, stop: 0, step: 1, dtype: 'float32' } as Attrs,
  dtypes: ['float32', 'float16', 'bfloat16', 'int32'],
  infer(_, { start, stop, step, dtype }) {
    for (const [name, value] of Object.entries({ start, stop, step }))
      if (!Number.isFinite(value) || (dtype === 'int32' && value !== (value | 0)))
        throw new ArgumentError(`${name} is ${value}`, {
          op: 'arange',
          hint: dtype === 'int32' ? 'int32 needs integers below 2^31' : 'it must be a finite number',
        });
    if (step === 0) throw new ArgumentError('step is 0', { op: 'arange', hint: 'it may be negative, not 0' });
    return [spec([Math.max(0, Math.ceil((stop - start) / step))], dtype)];
  },
  reference: (_, { outputs: [y], attrs: { start, step } }) => [
    Float64Array.from({ length: y!.size }, (_v, i) => start + i * step),
  ],
  cpu: ({ outputs: [y], attrs: { start, step, dtype } }) => ({
    kernel: 'arange',
    attrs: [dtypeCode[dtype], y!.size, start, step],
  }),
  gpu: [
    {
      name: 'words',
      admits: ({ outputs: [y] }) =>
        y!.size < 2 ** 31 ? null : `${y!.size} elements are beyond 32-bit indices`,
      plan({ outputs: [y], attrs: { start, step, dtype } }, caps) {
        const size = mapGroup(caps);
        const integers = dtype === 'int32';
        return {
          dispatches: split([{ spec: y!, moves: 1 }], y!.size, caps, ({ first, count }, binds) => {
            const words = Math.ceil((count * dtypeBytes[dtype]) / 4);
            const at = start + first * step;
            return {
              shader: 'arange',
              spec: [size, dtypeCode[dtype]],
              push: [
                words,
                ...(integers
                  ? [at, step, 0, 0, 0]
                  : [floatBits(at), floatBits(at - Math.fround(at)), ...parts(step).map(floatBits)]),
              ],
              groups: Math.ceil(words / size),
              binds,
            };
          }),
        };
      },
    },
  ],
  cost: (problem) => ({ flops: 2 * problem.outputs[0]!.size, bytes: bytesOf(problem), family: 'map' }),
  samples: [
    { shapes: [], attrs: { stop: 37 } },
    { shapes: [], attrs: { stop: 1 } },
    { shapes: [], attrs: { start: 5, stop: 5 } },
    { shapes: [], attrs: { start: 100, stop: -100, step: -3 } },
    { shapes: [], attrs: { start: -1, stop: 1, step: 0.01 }, dtypes: ['float32', 'float16', 'bfloat16'] },
    { shapes: [], attrs: { start: -1000, stop: 1000, step: 0.01 }, dtypes: ['float32'], heavy: true },
    { shapes: [], attrs: { stop: 70001 }, dtypes: ['float32', 'int32'], heavy: true },
  ],
  invalid: [
    { shapes: [], attrs: { stop: 3, step: 0 }, code: 'ATTN_ARGUMENT' },
    { shapes: [], attrs: { stop: Number.NaN }, code: 'ATTN_ARGUMENT' },
    { shapes: [], attrs: { stop: 1e12 }, code: 'ATTN_SHAPE' },
    { shapes: [], attrs: { stop: 3, step: 0.5, dtype: 'int32' }, code: 'ATTN_ARGUMENT' },
    { shapes: [], attrs: { stop: 3, dtype: 'bool' }, code: 'ATTN_DTYPE' },
  ],
});

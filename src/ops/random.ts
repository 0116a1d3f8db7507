/**
 * Random tensors from the counter-based generator Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
 * as 1, 2, 3", SC11). The seed is the key, `offset` the upper half of the counter: element i is made from lane
 * i mod 4 of counter {i div 4, offset}, so the integers are the same on every device and however work is split.
 */
import { ArgumentError } from '../runtime/errors.js';
import { type DType, dtypeCode, floatBits, floatDTypes } from '../tensor/dtype.js';
import { checkShape, type Shape, spec } from '../tensor/shape.js';
import { defineOp, type Problem } from './define.js';
import { bytesOf } from './elementwise.js';
import { mapGroup, split } from './launch.js';
import { philox } from './philox.js';

interface Common {
  shape: Shape;
  /** Integers up to 2^53. Equal seed and offset: equal values. */
  seed: number;
  offset: number;
  dtype: DType;
}

const low32 = (x: number) => x % 2 ** 32;
const high32 = (x: number) => Math.floor(x / 2 ** 32);

/** n numbers in [0, 1) of 24 bits, padded to whole counters. */
function units(n: number, { seed, offset }: Common): Float64Array {
  const out = new Float64Array(Math.ceil(n / 4) * 4);
  for (let i = 0; i < out.length; i += 4)
    out.set(
      philox([low32(i / 4), high32(i / 4), low32(offset), high32(offset)], [low32(seed), high32(seed)]).map(
        (word) => (word >>> 8) / 2 ** 24,
      ),
      i,
    );
  return out;
}

function check(op: string, attrs: Common & { [name: string]: unknown }): void {
  const { shape: _shape, dtype: _dtype, seed, offset, ...parameters } = attrs;
  for (const [name, value] of Object.entries({ seed, offset }))
    if (!Number.isSafeInteger(value) || value < 0)
      throw new ArgumentError(`${name} is ${String(value)}`, {
        op,
        hint: 'it is an integer from 0 to 2^53 - 1',
      });
  for (const [name, value] of Object.entries(parameters))
    if (!Number.isFinite(value))
      throw new ArgumentError(`${name} is ${String(value)}, not a finite number`, {
        op,
        hint: `leave ${name} out for its default`,
      });
}

/** What the two distributions share: which kernel, and how their two parameters reach it. */
function distribution<A extends Common>(
  code: number,
  name: string,
  doc: string,
  attrs: A,
  parameters: (attrs: A) => [number, number],
  fromUnits: (units: Float64Array, attrs: A) => Float64Array,
) {
  const words = (a: A) => [low32(a.seed), high32(a.seed), low32(a.offset), high32(a.offset)];
  return defineOp<[]>()({
    name,
    doc,
    inputs: [],
    attrs,
    dtypes: [...floatDTypes],
    infer(_, a) {
      check(name, a as A & { [name: string]: unknown });
      return [spec(checkShape(a.shape, name), a.dtype)];
    },
    reference: (_, { outputs: [y], attrs: a }) => [fromUnits(units(y!.size, a), a).slice(0, y!.size)],
    cpu: ({ outputs: [y], attrs: a }) => ({
      kernel: 'random',
      attrs: [code, dtypeCode[a.dtype], y!.size, ...words(a), ...parameters(a)],
    }),
    gpu: [
      {
        name: 'counters',
        admits: () => null,
        plan({ outputs: [y], attrs: a }: Problem<A>, caps) {
          const size = mapGroup(caps);
          return {
            dispatches: split([{ spec: y!, moves: 1 }], y!.size, caps, ({ first, count }, binds) => {
              const counters = Math.ceil(count / 4);
              return {
                shader: 'random',
                spec: [size, code, dtypeCode[a.dtype]],
                push: [
                  counters,
                  low32(first / 4),
                  high32(first / 4),
                  ...words(a),
                  ...parameters(a).map(floatBits),
                ],
                groups: Math.ceil(counters / size),
                binds,
              };
            }),
          };
        },
      },
    ],
    cost: (problem) => ({
      flops: 40 * problem.outputs[0]!.size,
      bytes: bytesOf(problem),
      family: 'random',
    }),
    samples: [[], [0], [1], [37], [5, 7, 3], [70000, 3]].map((shape, i) => ({
      shapes: [],
      attrs: {
        shape,
        seed: i % 2 ? 2 ** 53 - 1 - i : i,
        offset: i > 2 ? 2 ** 40 + i : i,
      } as unknown as Partial<A>,
      heavy: shape[0] === 70000,
    })),
    invalid: [
      { shapes: [], attrs: { shape: [2], seed: -1 } as unknown as Partial<A>, code: 'ATTN_ARGUMENT' },
      { shapes: [], attrs: { shape: [2], seed: 2 ** 53 } as unknown as Partial<A>, code: 'ATTN_ARGUMENT' },
      { shapes: [], attrs: { shape: [-2] } as unknown as Partial<A>, code: 'ATTN_SHAPE' },
      { shapes: [], attrs: { shape: [2], dtype: 'int32' } as unknown as Partial<A>, code: 'ATTN_DTYPE' },
    ],
  });
}

const common: Common = { shape: [], seed: 0, offset: 0, dtype: 'float32' };

/** `uniform({ shape, seed, offset, low, high, dtype })`: uniform in [low, high), up to rounding to the dtype. */
export const uniform = distribution(
  0,
  'uniform',
  'low + (high - low) u, u = a 24-bit fraction',
  { ...common, low: 0, high: 1 },
  ({ low, high }) => [low, high],
  (u, { low, high }) => u.map((v) => low + (high - low) * v),
);

/** `normal({ shape, seed, offset, mean, std, dtype })`: normal by Box and Muller's transform of pairs. */
export const normal = distribution(
  1,
  'normal',
  'mean + std √(-2 ln(1 - u)) {cos, sin}(2π v)',
  { ...common, mean: 0, std: 1 },
  ({ mean, std }) => [mean, std],
  (u, { mean, std }) =>
    u.map((_, i) => {
      const pair = i - (i % 2);
      const angle = 2 * Math.PI * u[pair + 1]!;
      return (
        mean + std * Math.sqrt(-2 * Math.log(1 - u[pair]!)) * (i % 2 ? Math.sin(angle) : Math.cos(angle))
      );
    }),
);

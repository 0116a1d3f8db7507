/** Rotary positions (Su et al., "RoFormer", arXiv:2104.09864): pairs of channels turned by angles of a table. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { type Shape, type Spec, show, sizeOf } from '../tensor/shape.js';
import { type Tensor, tensor } from '../tensor/tensor.js';
import { defineOp, type GpuVariant, type Problem, type Sample } from './define.js';
import { FAULT, loneGroup, overBinding, wordsOf } from './launch.js';

export interface RopeAttrs {
  /** Pairs are channels (2 i, 2 i + 1); else (i, i + R / 2). */
  interleaved: boolean;
  /** Rotate the first so many heads and copy the others (those of the values in a packed q, k, v); 0: all. */
  heads: number;
  /** Turn back: by the negative angles. */
  inverse: boolean;
}

const attrs: RopeAttrs = { interleaved: false, heads: 0, inverse: false };

function geometryOf({ inputs: [x, table, positions], attrs }: Problem<RopeAttrs>) {
  const [batch, length, heads, channels] = x!.shape as [number, number, number, number];
  return {
    length,
    tokens: batch * length,
    heads,
    channels,
    turned: attrs.heads === 0 ? heads : attrs.heads,
    /** Channels of a head that are turned. */
    rotary: 2 * table!.shape[1]!,
    places: table!.shape[0]!,
    /** How a token finds its row of the table: NONE, SHARED or OWN. */
    mode: positions === undefined ? NONE : positions.rank === 1 ? SHARED : OWN,
  };
}
const [NONE, SHARED, OWN] = [0, 1, 2]; // = native/cpu/rope.cc, shaders/rope.comp

function check(x: Spec, table: Spec, positions: Spec | undefined, { heads }: RopeAttrs): void {
  const op = 'rope';
  const shapes = [x, table, positions]
    .flatMap((s, i) => (s ? [`${['x', 'table', 'positions'][i]} ${show(s.shape, s.dtype)}`] : []))
    .join(', ');
  const refuse = (what: string, hint: string) => {
    throw new ShapeError(`${what}: ${shapes}`, { op, hint });
  };
  if (x.rank !== 4) refuse('x has no heads', 'x is [batch, length, heads, channels]');
  const [batch, length, most, channels] = x.shape as [number, number, number, number];
  if (table.rank !== 3 || table.shape[2] !== 2)
    refuse('the table holds no angles', 'it is [places, channels / 2, 2], cosine and sine: see ropeTable');
  if (2 * table.shape[1]! > channels)
    refuse(
      `the table turns ${2 * table.shape[1]!} channels of ${channels}`,
      'it turns at most all of a head',
    );
  if (positions && ![[length], [batch, length]].some((shape) => shape.join() === positions.shape.join()))
    refuse('positions are not one for each token', 'they are [length] or [batch, length]');
  if (!positions && table.shape[0]! < length)
    refuse(`the table has ${table.shape[0]} places for a length of ${length}`, 'make a longer table');
  if (!Number.isInteger(heads) || heads < 0 || heads > most)
    throw new ArgumentError(`heads is ${heads}, of ${most}`, { op, hint: 'it counts heads to turn; 0: all' });
}

const shader: GpuVariant<RopeAttrs> = {
  name: 'simple',
  admits(problem, caps) {
    if (problem.outputs[0]!.size >= 2 ** 32) return 'elements are counted in 32 bits';
    return overBinding([...problem.inputs, ...problem.outputs], caps);
  },
  plan(problem, caps) {
    const y = problem.outputs[0]!;
    if (y.size === 0) return { dispatches: [] };
    const { interleaved, inverse } = problem.attrs;
    const g = geometryOf(problem);
    // Four neighbours at a time where their partners are four neighbours too.
    const fours = g.channels % 4 === 0 && g.rotary % (interleaved ? 4 : 8) === 0;
    const units = fours ? y.size / 4 : wordsOf(y);
    const group = loneGroup(caps);
    const out = problem.inputs.length;
    return {
      dispatches: [
        {
          shader: 'rope',
          spec: [group, dtypeCode[y.dtype], fours ? 1 : 0, interleaved ? 1 : 0, inverse ? 1 : 0, g.mode],
          push: [units, y.size, g.length, g.heads, g.channels, g.turned, g.rotary, g.places],
          groups: Math.ceil(units / group),
          binds: [
            { operand: 0 },
            { operand: 1 },
            { operand: g.mode === NONE ? 1 : 2 },
            { operand: out },
            { operand: FAULT, write: true },
          ],
        },
      ],
    };
  },
};

const rotation = (x: Shape, pairs: number, places: number, positions?: Shape, a?: Partial<RopeAttrs>) =>
  ({
    shapes: [x, [places, pairs, 2], ...(positions ? [positions] : [])],
    domains: [
      [-3, 3],
      [-1, 1],
      [0, places - 1],
    ],
    ...(a && { attrs: a }),
  }) satisfies Sample<RopeAttrs>;

/**
 * x [B, T, H, D] with pairs of the first R channels of each head turned: (a, b) → (a cos - b sin, b cos + a sin), the
 * cosines and sines from row t of `table` (float32 [P, R / 2, 2], see ropeTable) for token t, or from row positions[t]
 * (int32 [T] or [B, T]); the other channels are copied. Arithmetic is float32. A position outside the table raises
 * IndexError when the op runs. The table is a constant: no gradient flows into it.
 */
export const rope = defineOp<[x: Tensor, table: Tensor, positions?: Tensor]>()<RopeAttrs>({
  name: 'rope',
  doc: 'pairs of channels of x [B, T, H, D] turned by the angles of their positions',
  inputs: [
    'x',
    { name: 'table', dtype: 'float32', domain: [-1, 1], constant: true },
    { name: 'positions', dtype: 'int32', domain: [0, 0] },
  ],
  optional: 1,
  attrs,
  dtypes: floatDTypes,
  infer([x, table, positions], a) {
    check(x!, table!, positions, a);
    return [x!];
  },
  reference([x, table, positions], problem) {
    const { interleaved, inverse } = problem.attrs;
    const { length, tokens, heads, channels, turned, rotary, mode } = geometryOf(problem);
    const half = rotary / 2;
    const y = x!.slice();
    for (let token = 0; token < tokens; token++) {
      const place = mode === NONE ? token % length : positions![mode === SHARED ? token % length : token]!;
      for (let h = 0; h < turned; h++)
        for (let i = 0; i < half; i++) {
          const head = (token * heads + h) * channels;
          const a = head + (interleaved ? 2 * i : i);
          const b = head + (interleaved ? 2 * i + 1 : i + half);
          const cos = table![(place * half + i) * 2]!;
          const sin = table![(place * half + i) * 2 + 1]! * (inverse ? -1 : 1);
          y[a] = x![a]! * cos - x![b]! * sin;
          y[b] = x![b]! * cos + x![a]! * sin;
        }
    }
    return [y];
  },
  cpu(problem) {
    const { interleaved, inverse } = problem.attrs;
    const g = geometryOf(problem);
    return {
      kernel: 'rope',
      attrs: [
        dtypeCode[problem.inputs[0]!.dtype],
        ...[g.tokens, g.length, g.heads, g.channels, g.turned, g.rotary, g.places, g.mode],
        interleaved ? 1 : 0,
        inverse ? 1 : 0,
      ],
    };
  },
  gpu: [shader],
  cost: ({ inputs, outputs }) => ({
    flops: 3 * outputs[0]!.size,
    bytes: 2 * outputs[0]!.bytes + inputs[1]!.bytes,
    family: 'map',
  }),
  backward({ grads: [g], needs, inputs: [, table, positions], problem, attrs: a, F }) {
    if (needs[1])
      throw new ArgumentError('no gradient flows into the table of angles', {
        op: 'rope',
        hint: 'detach the table',
      });
    const given = problem.inputs.length > 2;
    const dx = F.rope!(g, table, ...(given ? [positions] : []), { ...a, inverse: !a.inverse });
    return given ? [dx, null, null] : [dx, null];
  },
  saves: { inputs: [1, 2] },
  samples: [
    rotation([2, 5, 3, 10], 3, 7),
    rotation([2, 5, 3, 10], 5, 9, [5], { interleaved: true }),
    rotation([2, 5, 3, 9], 3, 9, [2, 5], { heads: 2 }),
    rotation([1, 1, 1, 2], 1, 1),
    rotation([1, 1, 1, 1], 0, 1),
    rotation([0, 3, 2, 4], 2, 3),
    rotation([3, 4, 2, 16], 8, 4, undefined, { inverse: true }),
    rotation([3, 4, 3, 32], 16, 4, [3, 4], { inverse: true, interleaved: true, heads: 1 }),
    rotation([2, 16, 6, 64], 32, 16, undefined, { heads: 4 }),
    rotation([2, 7, 2, 24], 8, 7, undefined, { interleaved: true }),
    rotation([2, 3, 2, 48], 20, 3),
    { ...rotation([2, 35001, 1, 6], 2, 35001), heavy: true },
  ],
  invalid: [
    {
      shapes: [
        [2, 3, 4],
        [3, 2, 2],
      ],
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [1, 2, 3, 4],
        [2, 2],
      ],
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [1, 2, 3, 4],
        [2, 2, 3],
      ],
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [1, 2, 3, 4],
        [2, 3, 2],
      ],
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [1, 2, 3, 4],
        [1, 2, 2],
      ],
      code: 'ATTN_SHAPE',
    },
    { shapes: [[1, 2, 3, 4], [2, 2, 2], [3]], code: 'ATTN_SHAPE' },
    {
      shapes: [
        [2, 2, 3, 4],
        [2, 2, 2],
        [1, 2],
      ],
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [1, 2, 3, 4],
        [2, 2, 2],
      ],
      attrs: { heads: 4 },
      code: 'ATTN_ARGUMENT',
    },
    {
      shapes: [
        [1, 2, 3, 4],
        [2, 2, 2],
      ],
      attrs: { heads: 0.5 },
      code: 'ATTN_ARGUMENT',
    },
    {
      shapes: [
        [1, 2, 3, 4],
        [2, 2, 2],
      ],
      dtypes: ['float32', 'bfloat16'],
      code: 'ATTN_DTYPE',
    },
  ],
});

export interface RopeTableOptions {
  /** Positions 0 … length - 1. */
  length: number;
  /** Channels that are turned, R: even. */
  dim: number;
  /** Base of the frequencies theta^(-2 i / dim). */
  theta?: number;
  /** Factor of the positions: trained length / wanted length interpolates (Chen et al., arXiv:2306.15595). */
  scale?: number;
  /** Angle of each pair from one place to the next, dim / 2 of them, in place of theta^(-2 i / dim). */
  frequencies?: ArrayLike<number>;
  /** Of cosines and sines: what is turned is stretched by it. */
  factor?: number;
}

/** cos and sin of scale t theta^(-2 i / dim): float32 [length, dim / 2, 2], computed in float64. */
export function ropeTable(options: RopeTableOptions): Tensor {
  const { length, dim, theta = 10000, scale = 1, frequencies, factor = 1 } = options;
  const whole = (n: unknown) => Number.isInteger(n) && (n as number) >= 0;
  if (!whole(length) || !whole(dim) || dim % 2 !== 0)
    throw new ArgumentError(`length ${String(length)} and dim ${String(dim)} make no table`, {
      op: 'ropeTable',
      hint: 'they are integers, and dim is even',
    });
  if (!(theta > 0) || ![theta, scale, factor].every(Number.isFinite))
    throw new ArgumentError(`theta ${String(theta)}, scale ${scale} and factor ${factor} give no table`, {
      op: 'ropeTable',
      hint: 'they are finite numbers, and theta is positive',
    });
  if (frequencies && (frequencies.length !== dim / 2 || !Array.from(frequencies).every(Number.isFinite)))
    throw new ArgumentError(`${frequencies.length} frequencies for ${dim / 2} pairs`, {
      op: 'ropeTable',
      hint: 'give a finite angle for each pair of channels',
    });
  const shape = [length, dim / 2, 2];
  const table = new Float32Array(sizeOf(shape));
  for (let i = 0; i < dim / 2; i++) {
    const frequency = scale * (frequencies?.[i] ?? theta ** ((-2 * i) / dim));
    for (let t = 0; t < length; t++) {
      table[t * dim + 2 * i] = factor * Math.cos(t * frequency);
      table[t * dim + 2 * i + 1] = factor * Math.sin(t * frequency);
    }
  }
  return tensor(table, shape);
}

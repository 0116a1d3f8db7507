/**
 * Heads out of contextual factors (Zhang et al., "Tensor product attention is all you need", NeurIPS 2025,
 * arXiv:2501.06425): y_h = Σ_r a_hr b_r / R for each token, and the gradient of that.
 */
import type { Caps, GpuPlan } from '../runtime/binding.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { type Spec, show, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type GpuVariant, type Problem, type Sample, type Value } from './define.js';
import { bytesOf } from './elementwise.js';
import { loneGroup, overBinding, overTurns, wordsOf } from './launch.js';

export interface TensorProductAttrs {
  /** Heads of each group: the queries are one, the keys another. */
  heads: number;
  /** Factors of each group, 1 to 4 of them; 0: its heads lie in b as they are. */
  ranks: readonly number[];
}

const MOST_GROUPS = 4; // = shaders/tensor_product.comp

const attrs: TensorProductAttrs = { heads: 1, ranks: [1] };

const sum = (list: readonly number[]): number => list.reduce((s, n) => s + n, 0);

/** Of one token: elements of a, rows of b, rows of y. */
const extents = ({ heads, ranks }: TensorProductAttrs) => ({
  width: heads * sum(ranks),
  rows: sum(ranks.map((r) => r || heads)),
  all: heads * ranks.length,
});

function check(op: string, a: Spec, b: Spec, { heads, ranks }: TensorProductAttrs): void {
  const whole = (n: unknown, least: number) => Number.isInteger(n) && (n as number) >= least;
  if (!whole(heads, 1)) throw new ArgumentError(`heads is ${String(heads)}`, { op, hint: 'at least 1' });
  if (
    !Array.isArray(ranks) ||
    !ranks.length ||
    ranks.length > MOST_GROUPS ||
    !ranks.every((r) => whole(r, 0))
  )
    throw new ArgumentError(`ranks are [${String(ranks)}]`, {
      op,
      hint: `1 to ${MOST_GROUPS} whole numbers, one for each group of heads; 0 takes its heads from b as they are`,
    });
  const { width, rows } = extents({ heads, ranks });
  const lead = show(a.shape.slice(0, 2));
  if (
    a.rank !== 3 ||
    b.rank !== 4 ||
    show(b.shape.slice(0, 2)) !== lead ||
    a.shape[2] !== width ||
    b.shape[2] !== rows
  )
    throw new ShapeError(
      `a ${show(a.shape)} and b ${show(b.shape)} do not hold ranks [${ranks}] of ${heads} heads`,
      {
        op,
        hint: `a is [batch, length, ${width}], b [batch, length, ${rows}, D]`,
      },
    );
}

/** Groups with where their parts begin in a token's a, rows of b, and rows of y. */
function* groupsOf({ heads, ranks }: TensorProductAttrs) {
  let [a, b, y] = [0, 0, 0];
  for (const rank of ranks) {
    yield { rank, a, b, y };
    a += heads * rank;
    b += rank || heads;
    y += heads;
  }
}

/** Calls fn(place in y, R, terms) for each element of y; a term is a place in a, or -1 for a factor of 1, and one in b. */
function eachElement(
  problem: Problem<TensorProductAttrs>,
  b: Spec,
  fn: (y: number, rank: number, terms: readonly (readonly [a: number, b: number])[]) => void,
): void {
  const { heads } = problem.attrs;
  const { width, rows, all } = extents(problem.attrs);
  const D = b.shape[3]!;
  for (let t = 0; t < b.shape[0]! * b.shape[1]!; t++)
    for (const g of groupsOf(problem.attrs))
      for (let h = 0; h < heads; h++)
        for (let d = 0; d < D; d++) {
          const inB = (row: number) => (t * rows + g.b + row) * D + d;
          const terms =
            g.rank === 0
              ? [[-1, inB(h)] as const]
              : Array.from({ length: g.rank }, (_, r) => [t * width + g.a + h * g.rank + r, inB(r)] as const);
          fn((t * all + g.y + h) * D + d, g.rank || 1, terms);
        }
}

function cpu(kernel: string, problem: Problem<TensorProductAttrs>, b: Spec) {
  const { heads, ranks } = problem.attrs;
  const [batch, length, , D] = b.shape as [number, number, number, number];
  return { kernel, attrs: [dtypeCode[b.dtype], batch * length, heads, D, ranks.length, ...ranks] };
}

const [Y, DA, DB] = [0, 1, 2]; // = shaders/tensor_product.comp

/** Makes one output; dy stands for itself where there is none. */
function dispatch(
  makes: number,
  out: Spec,
  [dy, a, b]: readonly number[],
  to: number,
  { problem, bSpec, caps }: { problem: Problem<TensorProductAttrs>; bSpec: Spec; caps: Caps },
): GpuPlan['dispatches'] {
  const { heads, ranks } = problem.attrs;
  const { width, rows } = extents(problem.attrs);
  const D = bSpec.shape[3]!;
  const fours = D % 4 === 0;
  const units = makes !== DA && fours ? out.size / 4 : wordsOf(out);
  if (units === 0) return [];
  const group = loneGroup(caps);
  const most = Array.from({ length: MOST_GROUPS }, (_, i) => ranks[i] ?? 0);
  return [
    {
      shader: 'tensor_product',
      spec: [group, dtypeCode[out.dtype], makes, fours ? 1 : 0],
      push: [units, out.size, heads, D, width, rows, ranks.length, ...most],
      groups: Math.ceil(units / group),
      binds: [{ operand: dy! }, { operand: a! }, { operand: b! }, { operand: to, write: true }],
    },
  ];
}

const simple = (back: boolean): GpuVariant<TensorProductAttrs> => ({
  name: 'simple',
  admits(problem, caps) {
    const operands = [...problem.inputs, ...problem.outputs];
    if (operands.some((s) => s.size >= 2 ** 32)) return 'elements are counted in 32 bits';
    const turns = Math.max(problem.attrs.heads, ...problem.attrs.ranks, problem.inputs.at(-1)!.shape[3]!);
    return overBinding(operands, caps) ?? overTurns(4 * (turns + MOST_GROUPS), caps);
  },
  plan(problem, caps) {
    const bSpec = problem.inputs.at(-1)!;
    const about = { problem, bSpec, caps };
    const [first, second] = problem.outputs;
    if (!back) return { dispatches: dispatch(Y, first!, [0, 0, 1], 2, about) };
    return {
      dispatches: [
        ...dispatch(DA, first!, [0, 1, 2], 3, about),
        ...dispatch(DB, second!, [0, 1, 2], 4, about),
      ],
    };
  },
});

interface Case extends Partial<TensorProductAttrs> {
  B?: number;
  T: number;
  D: number;
  heavy?: boolean;
}
const cases: readonly Case[] = [
  { B: 2, T: 5, D: 7, heads: 3, ranks: [2, 1, 3] },
  { T: 1, D: 1, heads: 1, ranks: [1] },
  { T: 1, D: 64, heads: 8, ranks: [6, 2, 2] },
  { T: 9, D: 16, heads: 4, ranks: [0, 2, 1] },
  { T: 3, D: 20, heads: 2, ranks: [0, 3] },
  { T: 4, D: 5, heads: 3, ranks: [0] },
  { B: 2, T: 4, D: 12, heads: 5, ranks: [1, 2, 3, 4] },
  { B: 0, T: 4, D: 8, heads: 2, ranks: [2, 2] },
  { T: 0, D: 8, heads: 2, ranks: [2, 2] },
  { T: 4, D: 0, heads: 2, ranks: [2, 2] },
  { T: 11, D: 37, heads: 2, ranks: [9, 1] },
  { B: 2, T: 75, D: 64, heads: 8, ranks: [6, 2, 2], heavy: true },
];
const sampleOf = (
  { B = 1, T, D, heads = 1, ranks = [1], heavy }: Case,
  back: boolean,
): Sample<TensorProductAttrs> => {
  const { width, rows, all } = extents({ heads, ranks });
  const factors = [
    [B, T, width],
    [B, T, rows, D],
  ];
  return {
    shapes: back ? [[B, T, all, D], ...factors] : factors,
    attrs: { heads, ranks },
    ...(heavy && { heavy }),
  };
};

/**
 * `tensorProduct(a, b, { heads, ranks })`: y [B, T, groups · heads, D] of factors a [B, T, heads · Σ ranks] and
 * b [B, T, Σ ranks, D]. Of each group in order, a holds [heads, R] and b [R, D] a token, and head h is
 * Σ_r a_hr b_r / R. A group of rank 0 has no part in a and its heads in b. What reads y for its gradient gets it made
 * again: the factors alone are kept.
 */
export const tensorProduct = defineOp<[a: Tensor, b: Tensor]>()<TensorProductAttrs>({
  name: 'tensor_product',
  doc: 'heads of factors: y_h = Σ_r a_hr b_r / R a token, group by group',
  inputs: ['a', 'b'],
  autocast: 'widest',
  attrs,
  dtypes: floatDTypes,
  infer([a, b], at) {
    check('tensor_product', a!, b!, at);
    return [spec([...b!.shape.slice(0, 2), extents(at).all, b!.shape[3]!], b!.dtype)];
  },
  reference([a, b], problem) {
    const out = new Float64Array(problem.outputs[0]!.size);
    eachElement(problem, problem.inputs[1]!, (y, rank, terms) => {
      out[y] = sum(terms.map(([i, j]) => (i < 0 ? 1 : a![i]!) * b![j]!)) / rank;
    });
    return [out];
  },
  cpu: (problem) => cpu('tensor_product', problem, problem.inputs[1]!),
  gpu: [simple(false)],
  cost: (problem) => ({
    flops: (2 * problem.outputs[0]!.size * sum(problem.attrs.ranks)) / problem.attrs.ranks.length,
    bytes: bytesOf(problem),
    family: 'map',
  }),
  backward({ grads: [dy], inputs: [a, b], attrs: at, F }) {
    return F.tensorProductBackward!(dy, a, b, at) as unknown as [Value, Value];
  },
  saves: { inputs: [0, 1] },
  recompute: { can: () => true, run: ({ inputs: [a, b], attrs: at, F }) => F.tensorProduct!(a, b, at) },
  samples: cases.map((c) => sampleOf(c, false)),
  invalid: [
    {
      ...sampleOf({ T: 2, D: 4, heads: 2, ranks: [2] }, false),
      attrs: { heads: 2, ranks: [3] },
      code: 'ATTN_SHAPE',
    },
    { shapes: [[1, 2, 4], [2, 2, 4]], attrs: { heads: 2, ranks: [2] }, code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 2, 4], [1, 3, 2, 4]], attrs: { heads: 2, ranks: [2] }, code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    {
      ...sampleOf({ T: 2, D: 4, heads: 2, ranks: [2] }, false),
      attrs: { heads: 0, ranks: [2] },
      code: 'ATTN_ARGUMENT',
    },
    {
      ...sampleOf({ T: 2, D: 4, heads: 2, ranks: [2] }, false),
      attrs: { heads: 2, ranks: [] },
      code: 'ATTN_ARGUMENT',
    },
    {
      ...sampleOf({ T: 2, D: 4, heads: 2, ranks: [2] }, false),
      attrs: { heads: 2, ranks: [-1] },
      code: 'ATTN_ARGUMENT',
    },
    { shapes: [[1, 1, 5], [1, 1, 5, 2]], attrs: { heads: 1, ranks: [1, 1, 1, 1, 1] }, code: 'ATTN_ARGUMENT' }, // biome-ignore format: one call a line
    { shapes: [[1, 2, 4], [1, 2, 2, 4]], attrs: { heads: 2, ranks: [2] }, dtypes: ['int32'], code: 'ATTN_DTYPE' }, // biome-ignore format: one call a line
  ],
});

/** da_hr = ⟨dy_h, b_r⟩ / R and db_r = Σ_h a_hr dy_h / R; of a group of rank 0, db is dy. */
export const tensorProductBackward = defineOp<
  [dy: Tensor, a: Tensor, b: Tensor],
  [da: Tensor, db: Tensor]
>()<TensorProductAttrs>({
  name: 'tensor_product_backward',
  doc: 'gradients of the factors of tensor_product',
  internal: true,
  inputs: ['dy', 'a', 'b'],
  results: 2,
  attrs,
  dtypes: floatDTypes,
  infer([dy, a, b], at) {
    const op = 'tensor_product_backward';
    check(op, a!, b!, at);
    const wanted = [...b!.shape.slice(0, 2), extents(at).all, b!.shape[3]!];
    if (show(dy!.shape) !== show(wanted))
      throw new ShapeError(
        `dy ${show(dy!.shape)} is not ${show(wanted)}, of a ${show(a!.shape)} and b ${show(b!.shape)}`,
        {
          op,
          hint: 'dy has the shape of what tensorProduct gave',
        },
      );
    return [a!, b!];
  },
  reference([dy, a, b], problem) {
    const [da, db] = problem.outputs.map((s) => new Float64Array(s.size)) as [Float64Array, Float64Array];
    eachElement(problem, problem.inputs[2]!, (y, rank, terms) => {
      for (const [i, j] of terms) {
        db[j]! += ((i < 0 ? 1 : a![i]!) * dy![y]!) / rank;
        if (i >= 0) da[i]! += (dy![y]! * b![j]!) / rank;
      }
    });
    return [da, db];
  },
  cpu: (problem) => cpu('tensor_product_backward', problem, problem.inputs[2]!),
  gpu: [simple(true)],
  cost: (problem) => ({
    flops: (4 * problem.inputs[0]!.size * sum(problem.attrs.ranks)) / problem.attrs.ranks.length,
    bytes: bytesOf(problem),
    family: 'map',
  }),
  samples: cases.map((c) => sampleOf(c, true)),
  invalid: [
    { shapes: [[1, 2, 3, 4], [1, 2, 4], [1, 2, 2, 4]], attrs: { heads: 2, ranks: [2] }, code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 2, 2, 4], [1, 2, 5], [1, 2, 2, 4]], attrs: { heads: 2, ranks: [2] }, code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
  ],
});

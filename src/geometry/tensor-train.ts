/**
 * Tensor trains: a tensor as a chain of cores, x[i₁ … i_p] = G₁[i₁] G₂[i₂] … G_p[i_p] with G_k[i] a matrix of
 * r_{k-1} x r_k (Oseledets, "Tensor-train decomposition", SIAM J. Sci. Comput. 33, 2011), and weight matrices whose
 * rows and columns are split into modes alike (Novikov et al., "Tensorizing neural networks", NeurIPS 2015).
 */
import { noGrad } from '../autograd/modes.js';
import { matmul, mul, permute, slice, svd } from '../ops/index.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';

/** Singular values below this part of the largest are rounding errors of float32. */
const NOISE = 2 ** -22;

export interface TtSvdOptions {
  /** No bond is wider. Default: as wide as the tensor needs. */
  rank?: number;
  /** Singular values below this part of a bond's largest are dropped; 0 keeps all of `rank`. Default 2⁻²². */
  tolerance?: number;
}

/**
 * TT-SVD: the cores [r_{k-1}, n_k, r_k] of a float32 tensor [n₁, …, n_p], by p - 1 singular value decompositions from
 * the left. All cores but the last have orthonormal columns, so |x - ttFull(cores)|² = Σ_k ε_k² with ε_k² the sum of
 * the squared singular values that bond k dropped, at most p - 1 times the least that such ranks allow. Without a
 * gradient; the ranks are read from the values, which waits for them.
 */
export function ttSvd(x: Tensor, options: TtSvdOptions = {}): Tensor[] {
  const op = 'ttSvd';
  const { rank: most = Number.POSITIVE_INFINITY, tolerance = NOISE } = options;
  if (x.rank === 0 || x.size === 0)
    throw new ShapeError(`x is ${show(x.shape)}`, {
      op,
      hint: 'give a tensor [n₁, …, n_p] that has elements',
    });
  if (!(most >= 1) || (most !== Number.POSITIVE_INFINITY && !Number.isInteger(most)))
    throw new ArgumentError(`rank is ${most}`, { op, hint: 'it is a whole number, at least 1' });
  if (!(tolerance >= 0 && tolerance < 1))
    throw new ArgumentError(`tolerance is ${tolerance}`, { op, hint: 'it is from 0 to below 1' });
  return noGrad(() =>
    scope(() => {
      const cores: Tensor[] = [];
      let rest = x;
      let left = 1; // r_{k-1}: the rows of what is left are (r_{k-1}, n_k)
      for (const n of x.shape.slice(0, -1)) {
        const [u, s, vt] = svd(rest.reshape([left * n, -1]));
        const rank = Math.min(most, rankOf(s, tolerance));
        cores.push(first(u, 1, rank).reshape([left, n, rank]));
        rest = mul(first(s, 0, rank).reshape([rank, 1]), first(vt, 0, rank));
        left = rank;
      }
      return [...cores, rest.reshape([left, x.shape.at(-1)!, 1])];
    }),
  );
}

/** How many singular values, in descending order, are no noise: one at least. */
function rankOf(s: Tensor, tolerance: number): number {
  const values = s.dataSync();
  let rank = 1;
  const least = Math.max(tolerance * values[0]!, tolerance > 0 ? Number.MIN_VALUE : 0);
  while (rank < values.length && values[rank]! >= least) rank++;
  return rank;
}

const first = (x: Tensor, axis: 0 | 1, n: number): Tensor =>
  n === x.shape[axis] ? x : slice(x, { ends: axis === 0 ? [n] : [x.shape[0]!, n] });

/** The tensor [n₁, …, n_p] of cores [r_{k-1}, n_k, r_k]; gradients flow to the cores. */
export function ttFull(cores: readonly Tensor[]): Tensor {
  checkChain('ttFull', cores, 3);
  return scope(() => {
    let x = cores[0]!.reshape([cores[0]!.shape[1]!, cores[0]!.shape[2]!]);
    for (const core of cores.slice(1)) {
      const [r, n, next] = core.shape as [number, number, number];
      x = matmul(x, core.reshape([r, n * next])).reshape([-1, next]);
    }
    return x.reshape(cores.map((c) => c.shape[1]!));
  });
}

function checkChain(op: string, cores: readonly Tensor[], rank: number): void {
  const fits = cores.every((c, k) => c.rank === rank && c.shape[0] === (cores[k - 1]?.shape.at(-1) ?? 1));
  if (cores.length === 0 || !fits || cores.at(-1)!.shape.at(-1) !== 1)
    throw new ShapeError(`cores ${cores.map((c) => show(c.shape)).join(', ') || '(none)'} make no chain`, {
      op,
      hint: `they are [r₀, …, r₁], [r₁, …, r₂], …, of rank ${rank}, and the outermost sizes are 1`,
    });
}

// ---------------------------------------------------------------- matrices

/** A matrix [Π out, Π into] as a train of cores [r_{k-1}, out_k, into_k, r_k]. */
export interface TrainShape {
  out: readonly number[];
  into: readonly number[];
  /** r₀ … r_p: 1 at both ends. */
  ranks: readonly number[];
}

/** Most modes of a matrix: its tensor has an axis for each and each side, and tensors have 8. */
export const MOST_MODES = 4;
/** Modes are split further while they are larger. */
const LARGE_MODE = 16;

const product = (list: readonly number[]): number => list.reduce((a, b) => a * b, 1);

/** n as a product of `count` whole numbers, in ascending order, as alike as n allows: their sum is the least. */
export function balancedModes(n: number, count: number): number[] {
  let best: number[] = [];
  let least = Number.POSITIVE_INFINITY;
  const search = (left: number, from: number, chosen: readonly number[]) => {
    if (chosen.length === count - 1) {
      const all = [...chosen, left];
      const sum = all.reduce((a, b) => a + b, 0);
      if (left >= from && sum < least) [best, least] = [all, sum];
      return;
    }
    for (let d = from; d ** (count - chosen.length) <= left; d++)
      if (left % d === 0) search(left / d, d, [...chosen, d]);
  };
  search(n, 1, []);
  return best;
}

/** The modes of a dimension: two or more of at most 16 where it has such, 512 = 8 · 8 · 8 say; else two. */
export function defaultModes(n: number): number[] {
  for (let count = 2; count <= MOST_MODES; count++) {
    const modes = balancedModes(n, count);
    if (modes.at(-1)! <= LARGE_MODE) return modes;
  }
  return balancedModes(n, 2);
}

/** What the bond after each core but the last can hold: the smaller of the sizes on either side of it. */
export function bondLimits(out: readonly number[], into: readonly number[]): number[] {
  const sizes = out.map((n, k) => n * into[k]!);
  return sizes.slice(1).map((_, k) => Math.min(product(sizes.slice(0, k + 1)), product(sizes.slice(k + 1))));
}

/** Modes of both sides with bonds of `rank`, narrower where fewer already hold every matrix. */
export const trainShape = (out: readonly number[], into: readonly number[], rank: number): TrainShape => ({
  out,
  into,
  ranks: [1, ...bondLimits(out, into).map((most) => Math.min(rank, most)), 1],
});

/** Shape of core k: [r_{k-1}, out_k, into_k, r_k]. */
export const coreShape = ({ out, into, ranks }: TrainShape, k: number): [number, number, number, number] => [
  ranks[k]!,
  out[k]!,
  into[k]!,
  ranks[k + 1]!,
];

/** Σ_k r_{k-1} out_k into_k r_k. */
export const trainSize = (shape: TrainShape): number =>
  shape.out.reduce((sum, _, k) => sum + product(coreShape(shape, k)), 0);

/** The matrix [Π out, Π into] of cores [r_{k-1}, out_k, into_k, r_k]; gradients flow to the cores. */
export function ttMatrix(cores: readonly Tensor[]): Tensor {
  checkChain('ttMatrix', cores, 4);
  return scope(() => {
    let [, rows, columns, rank] = cores[0]!.shape as [number, number, number, number];
    let w = cores[0]!.reshape([rows * columns, rank]);
    for (const core of cores.slice(1)) {
      const [r, n, m, next] = core.shape as [number, number, number, number];
      const wide = matmul(w, core.reshape([r, n * m * next])).reshape([rows, columns, n, m, next]);
      [rows, columns, rank] = [rows * n, columns * m, next];
      w = permute(wide, { axes: [0, 2, 1, 3, 4] }).reshape([rows * columns, rank]);
    }
    return w.reshape([rows, columns]);
  });
}

/** Each core times a number, so that all have entries of one mean square and their product stays. */
function balanced(cores: readonly Tensor[]): Tensor[] {
  const sizes = cores.map((c) => Math.sqrt(Array.from(c.dataSync()).reduce((s, v) => s + v * v, 0) / c.size));
  if (!sizes.every((s) => s > 0)) return [...cores];
  const mean = Math.exp(sizes.reduce((s, v) => s + Math.log(v), 0) / sizes.length);
  return cores.map((c, k) => mul(c, mean / sizes[k]!));
}

/**
 * The cores of the matrix [Π out, Π into], or of one near it, by TT-SVD: of exactly the shape's ranks. The cores' entries
 * are of one mean square, so that an optimiser moves all of them alike. Without a gradient.
 */
export function ttMatrixSvd(w: Tensor, shape: TrainShape): Tensor[] {
  const { out, into, ranks } = shape;
  const p = out.length;
  if (w.rank !== 2 || w.shape[0] !== product(out) || w.shape[1] !== product(into))
    throw new ShapeError(`w is ${show(w.shape)}, the modes are [${out}] by [${into}]`, {
      op: 'ttMatrixSvd',
      hint: 'the modes of each side multiply to its size',
    });
  return noGrad(() =>
    scope(() => {
      const axes = out.flatMap((_, k) => [k, p + k]);
      const paired = permute(w.reshape([...out, ...into]), { axes });
      const modes = out.map((n, k) => n * into[k]!);
      const cores = ttSvd(paired.reshape(modes), { rank: Math.max(...ranks), tolerance: 0 });
      return balanced(cores.map((core, k) => core.reshape(coreShape(shape, k))));
    }),
  );
}

/** Deviation of the entries of random cores whose matrix has entries of `variance`: s^2p Π r_k = variance. */
export const coreDeviation = ({ ranks, out }: TrainShape, variance: number): number =>
  (variance / product(ranks)) ** (1 / (2 * out.length));

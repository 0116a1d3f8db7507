/**
 * How much an attention map entangles what it relates: entropies of its Schmidt spectra, in nats. Decompositions run in
 * float64 on the CPU (ops/linalg.ts) and cost O(T³) a map: for diagnostics, on few maps, and without gradients, which are
 * singular where singular values meet. The Shannon entropy of rows is another quantity; it is here to stand beside.
 */
import { noGrad } from '../autograd/modes.js';
import { svd } from '../ops/index.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { decode } from '../tensor/dtype.js';
import { scope } from '../tensor/scope.js';
import { describe, type Shape, show, sizeOf } from '../tensor/shape.js';
import { Tensor, tensor } from '../tensor/tensor.js';

/** Below this a share of the spectrum counts as nothing: p ln p is left out, and no ε is added to ρ. */
const LEAST = 1e-12;

/** -Σ p ln p of p = w / Σ w, for weights w >= 0: in [0, ln n]; 0 where all of them are 0. */
export function shannon(weights: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i]!;
  let entropy = 0;
  for (let i = 0; i < weights.length; i++) {
    const p = weights[i]! / total;
    if (p >= LEAST) entropy -= p * Math.log(p);
  }
  return entropy + 0; // -0 of a pure state is 0
}

/** Entropy of a Schmidt spectrum: pᵢ = σᵢ² / Σ σ². */
export const schmidtEntropy = (sigma: ArrayLike<number>): number =>
  shannon(Float64Array.from(sigma, (s) => s * s));

interface Matrix {
  rows: number;
  columns: number;
  values: Float64Array;
}

/** Matrices [..., M, N] on the host, checked. */
async function readMaps(op: string, A: Tensor, square: boolean) {
  if (!(A instanceof Tensor))
    throw new ArgumentError(`'A' must be a tensor but is ${describe(A)}`, {
      op,
      hint: 'give maps [..., T, T]',
    });
  const [rows, columns] = A.shape.slice(-2) as [number, number];
  if (A.rank < 2 || rows === 0 || columns === 0 || (square && rows !== columns))
    throw new ShapeError(`A is ${show(A.shape, A.dtype)}`, {
      op,
      hint: square ? 'give square maps [..., T, T]' : 'give matrices [..., M, N]',
    });
  const all = decode(A.dtype, await A.data());
  const bad = all.findIndex((v) => !Number.isFinite(v));
  if (bad >= 0)
    throw new ArgumentError(`element ${bad} of A ${show(A.shape, A.dtype)} is ${all[bad]}`, {
      op,
      hint: 'a map of weights is finite: find the op that made it',
    });
  const lead = A.shape.slice(0, -2);
  const size = rows * columns;
  const maps = Array.from(
    { length: sizeOf(lead) },
    (_, m): Matrix => ({
      rows,
      columns,
      values: all.subarray(m * size, (m + 1) * size),
    }),
  );
  return { lead, rows, columns, maps };
}

/** The entropy of each matrix, in order; those of one shape are decomposed in one call. */
async function entropiesOf(matrices: readonly Matrix[]): Promise<Float64Array> {
  const groups = new Map<string, number[]>();
  for (const [i, { rows, columns }] of matrices.entries()) {
    const key = `${rows}x${columns}`;
    groups.get(key)?.push(i) ?? groups.set(key, [i]);
  }
  const entropies = new Float64Array(matrices.length);
  await noGrad(() =>
    scope(() =>
      Promise.all(
        [...groups.values()].map(async (members) => {
          const { rows, columns } = matrices[members[0]!]!;
          const size = rows * columns;
          const values = new Float32Array(members.length * size);
          for (const [at, i] of members.entries()) values.set(matrices[i]!.values, at * size);
          const [, s] = svd(tensor(values, [members.length, rows, columns]));
          const sigma = await s.data();
          const k = Math.min(rows, columns);
          for (const [at, i] of members.entries())
            entropies[i] = schmidtEntropy(sigma.subarray(at * k, (at + 1) * k));
        }),
      ),
    ),
  );
  return entropies;
}

/**
 * Operator entropy of each matrix of A [..., M, N]: that of pᵢ = σᵢ²/Σσ², from 0 (rank 1) to ln min(M, N) (orthogonal).
 * Of a causal map subtract `causalBaseline(T).operator`.
 */
export async function operatorEntropy(A: Tensor): Promise<Float64Array> {
  const { maps } = await readMaps('operatorEntropy', A, false);
  return entropiesOf(maps);
}

/** e^S: how many singular values of equal size would have entropy S. */
export const effectiveRank = (entropy: number): number => Math.exp(entropy);

/** Shannon entropy of each row of weights of A [..., M, N], rows normalised: [..., M]. 0 for a row of zeros. */
export async function rowEntropies(A: Tensor): Promise<Float64Array> {
  const { maps, rows, columns } = await readMaps('rowEntropies', A, false);
  const entropies = new Float64Array(maps.length * rows);
  for (const [m, { values }] of maps.entries())
    for (let i = 0; i < rows; i++) {
      const row = values.subarray(i * columns, (i + 1) * columns);
      const negative = row.find((w) => w < 0);
      if (negative !== undefined)
        throw new ArgumentError(`row ${i} of map ${m} holds ${negative}`, {
          op: 'rowEntropies',
          hint: 'weights are not negative',
        });
      entropies[m * rows + i] = shannon(row);
    }
  return entropies;
}

/** What uniform causal attention over T tokens has: the baseline to subtract in a language model. */
export async function causalBaseline(T: number): Promise<{ operator: number; row: number }> {
  if (!Number.isInteger(T) || T < 1)
    throw new ArgumentError(`T is ${String(T)}`, {
      op: 'causalBaseline',
      hint: 'it is a length, at least 1',
    });
  const values = new Float64Array(T * T);
  let row = 0;
  for (let i = 0; i < T; i++) {
    values.fill(1 / (i + 1), i * T, i * T + i + 1);
    row += Math.log(i + 1) / T;
  }
  const [operator] = await entropiesOf([{ rows: T, columns: T, values }]);
  return { operator: operator!, row };
}

export interface Entanglement {
  /** Dimensions of A before the last two: the figures below follow them. */
  lead: Shape;
  /** Rows [from, to) of each region: consecutive, of equal length but for one row. */
  regions: readonly (readonly [from: number, to: number])[];
  /** Operator entropy of each map: [lead]. */
  operator: Float64Array;
  /** S(ρ_R) of each region, at most ln |R|: [lead, n]. */
  entropy: Float64Array;
  /** S(R) + S(R') - S(R ∪ R'): [lead, n, n], symmetric; S(R) on the diagonal. */
  mutual: Float64Array;
}

/** Rows [from, to) of n consecutive regions that share T rows evenly. */
export function regionsOf(T: number, n: number, op = 'regionsOf'): [from: number, to: number][] {
  if (!Number.isInteger(n) || n < 1 || n > T)
    throw new ArgumentError(`nRegions is ${String(n)} for ${T} rows`, { op, hint: `it is from 1 to ${T}` });
  const at = (i: number) => Math.floor((i * T) / n);
  return Array.from({ length: n }, (_, i) => [at(i), at(i + 1)]);
}

/**
 * Entanglement between regions of attention maps A [..., T, T]: rows A_R of a region give ρ_R = A_R A_Rᵀ / tr, whose von
 * Neumann entropy is that of the squared singular values of A_R. A map of zeros (all masked) has entropy 0.
 */
export async function computeEntanglementEntropy(A: Tensor, nRegions: number): Promise<Entanglement> {
  const op = 'computeEntanglementEntropy';
  const { lead, rows: T, maps } = await readMaps(op, A, true);
  const regions = regionsOf(T, nRegions, op);
  const n = regions.length;
  const rowsOf = ({ values }: Matrix, parts: readonly (readonly [number, number])[]): Matrix => {
    const cuts = parts.map(([from, to]) => values.subarray(from * T, to * T));
    const joined = new Float64Array(cuts.reduce((sum, c) => sum + c.length, 0));
    let at = 0;
    for (const cut of cuts) {
      joined.set(cut, at);
      at += cut.length;
    }
    return { rows: joined.length / T, columns: T, values: joined };
  };
  const pairs = regions.flatMap((_, i) => regions.slice(i + 1).map((_, k) => [i, i + 1 + k] as const));
  const perMap = 1 + n + pairs.length;
  const all = await entropiesOf(
    maps.flatMap((map) => [
      map,
      ...regions.map((r) => rowsOf(map, [r])),
      ...pairs.map(([i, j]) => rowsOf(map, [regions[i]!, regions[j]!])),
    ]),
  );
  const result: Entanglement = {
    lead,
    regions,
    operator: new Float64Array(maps.length),
    entropy: new Float64Array(maps.length * n),
    mutual: new Float64Array(maps.length * n * n),
  };
  for (let m = 0; m < maps.length; m++) {
    const own = all.subarray(m * perMap, (m + 1) * perMap);
    const single = own.subarray(1, 1 + n);
    result.operator[m] = own[0]!;
    result.entropy.set(single, m * n);
    const put = (i: number, j: number, value: number) => (result.mutual[(m * n + i) * n + j] = value);
    for (let i = 0; i < n; i++) put(i, i, single[i]!);
    for (const [p, [i, j]] of pairs.entries())
      put(j, i, put(i, j, single[i]! + single[j]! - own[1 + n + p]!));
  }
  return result;
}

export interface MpsProfile {
  lead: Shape;
  /** Sizes of the modes: those of the row index, then of the column index. */
  modes: readonly number[];
  /** Most entropy that bond b can have: the logarithm of the smaller side. */
  bound: readonly number[];
  /** S at each of the modes.length - 1 bonds: [lead, bonds]. The bond between rows and columns is the operator entropy. */
  entropy: Float64Array;
}

/** Prime factors, ascending: 12 is 2 · 2 · 3. */
export function primeModes(n: number): number[] {
  const modes: number[] = [];
  for (let p = 2; p * p <= n; p++) for (; n % p === 0; n /= p) modes.push(p);
  return n > 1 ? [...modes, n] : modes;
}

/**
 * Entropy profile of A [..., M, N] / |A| as a matrix product state: the index pair (i, j) is cut into modes, the primes
 * of M and N or, with `modes: 'binary'`, bits (M and N powers of 2), and the Schmidt spectrum of every bond taken.
 */
export async function mpsProfile(
  A: Tensor,
  { modes = 'prime' }: { modes?: 'prime' | 'binary' } = {},
): Promise<MpsProfile> {
  const op = 'mpsProfile';
  if (modes !== 'prime' && modes !== 'binary')
    throw new ArgumentError(`modes is ${describe(modes)}`, { op, hint: "use 'prime' or 'binary'" });
  const { lead, rows, columns, maps } = await readMaps(op, A, false);
  if (modes === 'binary' && [rows, columns].some((n) => (n & (n - 1)) !== 0))
    throw new ShapeError(`${show(A.shape)} has no bits: ${rows} x ${columns}`, {
      op,
      hint: "sizes are powers of 2, or use modes: 'prime'",
    });
  const sizes = [...primeModes(rows), ...primeModes(columns)];
  const lefts = sizes.slice(0, -1).map((_, b) => sizes.slice(0, b + 1).reduce((a, c) => a * c, 1));
  const unfolded = maps.flatMap(({ values }) =>
    lefts.map((left) => ({ rows: left, columns: values.length / left, values })),
  );
  return {
    lead,
    modes: sizes,
    bound: lefts.map((left) => Math.log(Math.min(left, (rows * columns) / left))),
    entropy: await entropiesOf(unfolded),
  };
}

/**
 * Quantum states in complex Float64 on the host, for few dimensions: what the Born score stands on and diagnostics ask.
 * Entropies are in nats. Hermitian matrices H = A + iB are decomposed as the real symmetric [[A, -B], [B, A]], which has
 * each eigenvalue of H twice.
 */
import { eigh, type Matrix, make, svd } from '../ops/linalg.reference.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { describe } from '../tensor/shape.js';
import { shannon } from './entanglement.js';

/** Amplitudes of a pure state. */
export interface State {
  readonly re: Float64Array;
  readonly im: Float64Array;
}

/** A matrix of dim x dim, rows one after the other: a density matrix where a function asks for ρ. */
export interface Operator {
  readonly dim: number;
  readonly re: Float64Array;
  readonly im: Float64Array;
}

/** Of a trace, a norm, a hermitian pair: what rounding may do to a state that someone computed. */
const TOLERANCE = 1e-9;
/** Eigenvalues of a density matrix below this are zeros: a root would make 1e-8 of their rounding. */
const LEAST = 1e-14;

// ---------------------------------------------------------------- pure states

/** ψ / |ψ| of amplitudes re + i im; im defaults to 0. */
export function prepare(re: ArrayLike<number>, im?: ArrayLike<number>): State {
  const op = 'quantum.prepare';
  const length = re?.length;
  if (!Number.isInteger(length) || length < 1 || (im !== undefined && im.length !== length))
    throw new ShapeError(`amplitudes are ${describe(re)} and ${describe(im)}`, {
      op,
      hint: 'give real and imaginary parts, equally many, at least one',
    });
  const state = { re: Float64Array.from(re), im: im ? Float64Array.from(im) : new Float64Array(length) };
  const all = [...state.re, ...state.im];
  // Scaled first, so that squares neither overflow nor vanish.
  const largest = all.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  if (!(largest > 0) || !Number.isFinite(largest) || all.some(Number.isNaN))
    throw new ArgumentError(`amplitudes of size ${largest} are no state`, {
      op,
      hint: 'they are finite, and not all 0',
    });
  const norm = Math.sqrt(all.reduce((sum, v) => sum + (v / largest) ** 2, 0));
  const scale = (v: number) => v / largest / norm;
  return { re: state.re.map(scale), im: state.im.map(scale) };
}

/** ⟨a|b⟩ as [re, im]. */
export function overlap(a: State, b: State): [re: number, im: number] {
  sameSize('quantum.overlap', a.re.length, b.re.length);
  let re = 0;
  let im = 0;
  for (let k = 0; k < a.re.length; k++) {
    re += a.re[k]! * b.re[k]! + a.im[k]! * b.im[k]!;
    im += a.re[k]! * b.im[k]! - a.im[k]! * b.re[k]!;
  }
  return [re, im];
}

/** Born's rule: |⟨k|ψ⟩|² for each basis state, those of the coordinates if none are given. */
export function born(psi: State, basis?: readonly State[]): Float64Array {
  if (!basis) return psi.re.map((re, k) => re ** 2 + psi.im[k]! ** 2);
  return Float64Array.from(basis, (k) => fidelity(k, psi));
}

/** |⟨a|b⟩|². */
export function fidelity(a: State, b: State): number {
  const [re, im] = overlap(a, b);
  return re * re + im * im;
}

/** The angle between rays, arccos|⟨a|b⟩| in [0, π/2], by atan2(|b - ⟨a|b⟩ a|, |⟨a|b⟩|): arccos loses all below √ε. */
export function fubiniStudy(a: State, b: State): number {
  const [re, im] = overlap(a, b);
  let apart = 0;
  for (let k = 0; k < a.re.length; k++)
    apart +=
      (b.re[k]! - (re * a.re[k]! - im * a.im[k]!)) ** 2 + (b.im[k]! - (re * a.im[k]! + im * a.re[k]!)) ** 2;
  return Math.atan2(Math.sqrt(apart), Math.hypot(re, im));
}

/** a ⊗ b. */
export function product(a: State, b: State): State {
  const n = b.re.length;
  const at = (f: (i: number, j: number) => number) =>
    Float64Array.from({ length: a.re.length * n }, (_, e) => f(Math.floor(e / n), e % n));
  return {
    re: at((i, j) => a.re[i]! * b.re[j]! - a.im[i]! * b.im[j]!),
    im: at((i, j) => a.re[i]! * b.im[j]! + a.im[i]! * b.re[j]!),
  };
}

// ---------------------------------------------------------------- density matrices

/** |ψ⟩⟨ψ|. */
export const density = (psi: State): Operator => mixture([psi], [1]);

/** Σ p |ψ⟩⟨ψ| of weights p >= 0, normalised. */
export function mixture(states: readonly State[], weights: ArrayLike<number>): Operator {
  const op = 'quantum.mixture';
  const total = Array.from(weights).reduce((a, b) => a + b, 0);
  if (states.length === 0 || states.length !== weights.length || !(total > 0) || !Number.isFinite(total))
    throw new ArgumentError(`${states.length} states with weights of sum ${total}`, {
      op,
      hint: 'give a weight for each state, not negative, not all 0',
    });
  const dim = states[0]!.re.length;
  const re = new Float64Array(dim * dim);
  const im = new Float64Array(dim * dim);
  for (const [s, psi] of states.entries()) {
    sameSize(op, dim, psi.re.length);
    const p = weights[s]! / total;
    if (!(p >= 0)) throw new ArgumentError(`weight ${s} is ${weights[s]}`, { op, hint: 'none is negative' });
    for (let i = 0; i < dim; i++)
      for (let j = 0; j < dim; j++) {
        re[i * dim + j]! += p * (psi.re[i]! * psi.re[j]! + psi.im[i]! * psi.im[j]!);
        im[i * dim + j]! += p * (psi.im[i]! * psi.re[j]! - psi.re[i]! * psi.im[j]!);
      }
  }
  return { dim, re, im };
}

/** S = -tr ρ ln ρ, from 0 (pure) to ln dim. */
export function vonNeumann(rho: Operator): number {
  checkDensity('quantum.vonNeumann', rho);
  return shannon(eigenvalues(rho).map((p) => Math.max(p, 0)));
}

/** Uhlmann's fidelity (tr √(√ρ σ √ρ))² = (Σ singular values of √ρ √σ)²; of pure states |⟨a|b⟩|². */
export function mixedFidelity(rho: Operator, sigma: Operator): number {
  const op = 'quantum.mixedFidelity';
  checkDensity(op, rho);
  checkDensity(op, sigma);
  sameSize(op, rho.dim, sigma.dim);
  const total = singularValues(times(squareRoot(rho), squareRoot(sigma))).reduce((a, b) => a + b, 0);
  return total * total;
}

/** ρ of the subsystems in `keep` (in their own order), of a system of subsystems with dimensions `dims`. */
export function partialTrace(rho: Operator, dims: readonly number[], keep: readonly number[]): Operator {
  const op = 'quantum.partialTrace';
  checkParts(op, rho, dims);
  const kept = [...keep].sort((a, b) => a - b);
  if (kept.some((k, i) => !Number.isInteger(k) || k < 0 || k >= dims.length || k === kept[i - 1]))
    throw new ArgumentError(`keep is [${keep}] of ${dims.length} subsystems`, {
      op,
      hint: 'name each subsystem once, counted from 0',
    });
  const traced = dims.map((_, k) => k).filter((k) => !kept.includes(k));
  const dim = kept.reduce((n, k) => n * dims[k]!, 1);
  const re = new Float64Array(dim * dim);
  const im = new Float64Array(dim * dim);
  const split = Array.from({ length: rho.dim }, (_, index) => {
    const at = digits(index, dims);
    return { mine: join(at, dims, kept), rest: join(at, dims, traced) };
  });
  for (const [i, a] of split.entries())
    for (const [j, b] of split.entries()) {
      if (a.rest !== b.rest) continue;
      re[a.mine * dim + b.mine]! += rho.re[i * rho.dim + j]!;
      im[a.mine * dim + b.mine]! += rho.im[i * rho.dim + j]!;
    }
  return { dim, re, im };
}

/** ρ with the indices of subsystem k transposed. */
export function partialTranspose(rho: Operator, dims: readonly number[], k = 0): Operator {
  const op = 'quantum.partialTranspose';
  checkParts(op, rho, dims);
  if (!Number.isInteger(k) || k < 0 || k >= dims.length)
    throw new ArgumentError(`subsystem ${String(k)} of ${dims.length}`, { op, hint: 'they count from 0' });
  const all = dims.map((_, i) => i);
  const swapped = (i: number, j: number) => {
    const [a, b] = [digits(i, dims), digits(j, dims)];
    [a[k], b[k]] = [b[k]!, a[k]!];
    return join(a, dims, all) * rho.dim + join(b, dims, all);
  };
  const from = (values: Float64Array) =>
    values.map((_, e) => values[swapped(Math.floor(e / rho.dim), e % rho.dim)]!);
  return { dim: rho.dim, re: from(rho.re), im: from(rho.im) };
}

/** (‖ρ^{T_A}‖₁ - 1) / 2, A the first subsystem: 0.5 for a Bell state, 0 where no entanglement shows. */
export function negativity(rho: Operator, dims: readonly number[]): number {
  checkDensity('quantum.negativity', rho);
  const size = eigenvalues(partialTranspose(rho, dims)).reduce((sum, p) => sum + Math.abs(p), 0);
  return Math.max(0, (size - 1) / 2);
}

/**
 * Wootters' concurrence of two qubits, max(0, λ₁ - λ₂ - λ₃ - λ₄): λ are the singular values of √ρ (σy ⊗ σy) √ρ*,
 * descending, which are the roots of the eigenvalues of ρ (σy ⊗ σy) ρ* (σy ⊗ σy).
 */
export function concurrence(rho: Operator): number {
  checkDensity('quantum.concurrence', rho);
  if (rho.dim !== 4)
    throw new ShapeError(`ρ has ${rho.dim} dimensions`, {
      op: 'quantum.concurrence',
      hint: 'it is that of two qubits: 4',
    });
  const half = squareRoot(rho);
  const flip: Operator = { dim: 4, re: new Float64Array(16), im: new Float64Array(16) };
  [-1, 1, 1, -1].forEach((sign, i) => {
    flip.re[i * 4 + 3 - i] = sign;
  });
  const conjugate = { dim: 4, re: half.re, im: half.im.map((v) => -v) };
  const [first, ...others] = singularValues(times(times(half, flip), conjugate));
  return Math.max(
    0,
    others.reduce((rest, l) => rest - l, first!),
  );
}

// ---------------------------------------------------------------- linear algebra

function times(a: Operator, b: Operator): Operator {
  const { dim } = a;
  const re = new Float64Array(dim * dim);
  const im = new Float64Array(dim * dim);
  for (let i = 0; i < dim; i++)
    for (let k = 0; k < dim; k++)
      for (let j = 0; j < dim; j++) {
        const [x, y] = [i * dim + k, k * dim + j];
        re[i * dim + j]! += a.re[x]! * b.re[y]! - a.im[x]! * b.im[y]!;
        im[i * dim + j]! += a.re[x]! * b.im[y]! + a.im[x]! * b.re[y]!;
      }
  return { dim, re, im };
}

/** [[A, -B], [B, A]] */
const embed = ({ dim, re, im }: Operator): Matrix =>
  make(2 * dim, 2 * dim, (i, j) => {
    const e = (i % dim) * dim + (j % dim);
    if (i < dim === j < dim) return re[e]!;
    return i < dim ? -im[e]! : im[e]!;
  });

/** Of pairs of equal values, sorted, one each. */
const halve = (values: readonly number[]): number[] => values.filter((_, i) => i % 2 === 0);

const eigenvalues = (h: Operator): number[] => halve(eigh(embed(h)).values);

/** Descending. */
const singularValues = (a: Operator): number[] => halve(svd(embed(a), 2 * a.dim, 2 * a.dim).s);

/** √ρ of what has no negative eigenvalues but by rounding. */
function squareRoot(rho: Operator): Operator {
  const { dim } = rho;
  const { values, vectors } = eigh(embed(rho));
  const roots = values.map((p) => (p > LEAST ? Math.sqrt(p) : 0));
  const at = (i: number, j: number) =>
    roots.reduce((sum, root, k) => sum + root * vectors[i]![k]! * vectors[j]![k]!, 0);
  const from = (offset: number) =>
    Float64Array.from({ length: dim * dim }, (_, e) => at(offset + Math.floor(e / dim), e % dim));
  return { dim, re: from(0), im: from(dim) };
}

/** Digits of an index in the mixed radix of the subsystems, the first one slowest. */
function digits(index: number, dims: readonly number[]): number[] {
  const at = new Array<number>(dims.length);
  for (let k = dims.length - 1; k >= 0; k--) {
    at[k] = index % dims[k]!;
    index = Math.floor(index / dims[k]!);
  }
  return at;
}
const join = (at: readonly number[], dims: readonly number[], which: readonly number[]): number =>
  which.reduce((index, k) => index * dims[k]! + at[k]!, 0);

// ---------------------------------------------------------------- checks

function sameSize(op: string, a: number, b: number): void {
  if (a !== b) throw new ShapeError(`${a} and ${b} dimensions`, { op, hint: 'both live in the same space' });
}

function checkDensity(op: string, { dim, re, im }: Operator): void {
  let trace = 0;
  let skew = 0;
  for (let i = 0; i < dim; i++) {
    trace += re[i * dim + i]!;
    for (let j = 0; j < dim; j++) {
      const [e, f] = [i * dim + j, j * dim + i];
      skew = Math.max(skew, Math.abs(re[e]! - re[f]!), Math.abs(im[e]! + im[f]!));
    }
  }
  const finite = re.every(Number.isFinite) && im.every(Number.isFinite);
  if (re.length !== dim * dim || im.length !== dim * dim || !finite)
    throw new ShapeError(`an operator of ${re.length} values for ${dim} dimensions`, {
      op,
      hint: 'it holds dim · dim finite values',
    });
  if (!(Math.abs(trace - 1) <= TOLERANCE) || !(skew <= TOLERANCE))
    throw new ArgumentError(`trace ${trace}, ${skew} away from hermitian`, {
      op,
      hint: 'a density matrix is hermitian and has trace 1: density(ψ) and mixture(…) make them',
    });
}

function checkParts(op: string, rho: Operator, dims: readonly number[]): void {
  if (dims.some((d) => !Number.isInteger(d) || d < 1) || dims.reduce((a, b) => a * b, 1) !== rho.dim)
    throw new ShapeError(`subsystems of [${dims}] dimensions in one of ${rho.dim}`, {
      op,
      hint: 'their product is the dimension of the whole',
    });
}

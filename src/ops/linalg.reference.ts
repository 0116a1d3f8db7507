/**
 * The oracle of svd, eigh, qr and expm: Float64, by other methods than the kernels' (Jacobi rotations, Gram-Schmidt,
 * Taylor's series), and the gradients of the first three. Matrices are lists of rows.
 */
export type Matrix = number[][];

export const make = (rows: number, columns: number, at: (i: number, j: number) => number): Matrix =>
  Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (_, j) => at(i, j)));
const columnsOf = (a: Matrix): number => a[0]?.length ?? 0;
/** `columns` where there are no rows to tell. */
const transpose = (a: Matrix, columns = columnsOf(a)): Matrix => make(columns, a.length, (i, j) => a[j]![i]!);
const times = (a: Matrix, b: Matrix, columns = columnsOf(b)): Matrix =>
  make(a.length, columns, (i, j) => a[i]!.reduce((sum, x, k) => sum + x * b[k]![j]!, 0));
const plus = (a: Matrix, b: Matrix, scale = 1): Matrix =>
  a.map((row, i) => row.map((x, j) => x + scale * b[i]![j]!));
const dot = (x: readonly number[], y: readonly number[]): number =>
  x.reduce((sum, v, i) => sum + v * y[i]!, 0);
const identity = (n: number): Matrix => make(n, n, (i, j) => Number(i === j));

/** The sign that makes the largest component positive; of components within 1e-6 of it, the first. */
function signOf(v: readonly number[]): number {
  const largest = Math.max(0, ...v.map(Math.abs));
  return v.find((x) => Math.abs(x) >= (1 - 1e-6) * largest)! < 0 ? -1 : 1;
}

/** The rotation that annihilates the off-diagonal `g` of [[a, g], [g, b]]: its cosine and sine. */
function rotation(a: number, b: number, g: number): [number, number] {
  const tau = (b - a) / (2 * g);
  const t = (tau < 0 ? -1 : 1) / (Math.abs(tau) + Math.hypot(1, tau));
  const c = 1 / Math.hypot(1, t);
  return [c, c * t];
}

/** Turns rows i and j of a list of vectors. */
function turn(vectors: Matrix, i: number, j: number, c: number, s: number): void {
  const [x, y] = [vectors[i]!, vectors[j]!];
  vectors[i] = x.map((v, k) => c * v - s * y[k]!);
  vectors[j] = x.map((v, k) => s * v + c * y[k]!);
}

const SWEEPS = 60;
const EPSILON = 2 ** -52;

/** Eigenvalues, ascending, and vectors as columns, of the symmetric part: cyclic Jacobi. */
export function eigh(x: Matrix): { values: number[]; vectors: Matrix } {
  const n = x.length;
  let a = make(n, n, (i, j) => (x[i]![j]! + x[j]![i]!) / 2);
  const v = identity(n); // rows are the vectors
  const size = Math.sqrt(a.reduce((sum, row) => sum + dot(row, row), 0));
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    let turned = false;
    for (let i = 0; i < n; i++)
      for (let j = i + 1; j < n; j++) {
        if (Math.abs(a[i]![j]!) <= (EPSILON / 8) * size) continue;
        const [c, s] = rotation(a[i]![i]!, a[j]![j]!, a[i]![j]!);
        turn(a, i, j, c, s);
        a = transpose(a);
        turn(a, i, j, c, s);
        a[i]![j] = a[j]![i] = 0;
        turn(v, i, j, c, s);
        turned = true;
      }
    if (!turned) break;
  }
  const order = v.map((_, i) => i).sort((p, q) => a[p]![p]! - a[q]![q]!);
  const signed = order.map((i) => v[i]!.map((e) => e * signOf(v[i]!)));
  return { values: order.map((i) => a[i]![i]!), vectors: transpose(signed) };
}

/** Economy size, singular values descending: one-sided Jacobi on the shorter side's vectors. */
export function svd(a: Matrix, m: number, n: number): { u: Matrix; s: number[]; v: Matrix } {
  const k = Math.min(m, n);
  // Rows are orthogonalised: w = J a (or J aᵀ), J a rotation.
  const w = m < n ? a.map((row) => [...row]) : transpose(a, n);
  const turns = identity(k);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    let turned = false;
    for (let i = 0; i < k; i++)
      for (let j = i + 1; j < k; j++) {
        const [p, q, g] = [dot(w[i]!, w[i]!), dot(w[j]!, w[j]!), dot(w[i]!, w[j]!)];
        if (Math.abs(g) <= EPSILON * Math.sqrt(p * q)) continue;
        const [c, s] = rotation(p, q, g);
        turn(w, i, j, c, s);
        turn(turns, i, j, c, s);
        turned = true;
      }
    if (!turned) break;
  }
  const sizes = w.map((row) => Math.sqrt(dot(row, row)));
  const order = sizes.map((_, i) => i).sort((i, j) => sizes[j]! - sizes[i]!);
  const s = order.map((i) => sizes[i]!);
  const long = order.map((i, at) => w[i]!.map((x) => x / s[at]!));
  const short = order.map((i) => turns[i]!);
  const [u, v] = m < n ? [short, long] : [long, short];
  const signs = u.map(signOf);
  const columns = (rows: Matrix, length: number) => make(length, k, (i, j) => signs[j]! * rows[j]![i]!);
  return { u: columns(u, m), s, v: columns(v, n) };
}

/** Economy size, R's diagonal not negative: Gram-Schmidt, each column orthogonalised twice. */
export function qr(a: Matrix, m: number, n: number): { q: Matrix; r: Matrix } {
  const k = Math.min(m, n);
  const q: Matrix = []; // rows are the columns of Q
  const r = make(k, n, () => 0);
  transpose(a, n).forEach((column, j) => {
    let rest = column;
    for (let pass = 0; pass < 2; pass++)
      q.slice(0, j).forEach((direction, i) => {
        const along = dot(direction, rest);
        r[i]![j]! += along;
        rest = rest.map((x, e) => x - along * direction[e]!);
      });
    if (j >= k) return;
    r[j]![j] = Math.sqrt(dot(rest, rest));
    q.push(rest.map((x) => x / r[j]![j]!));
  });
  return { q: transpose(q, m), r };
}

/** Scaled until its norm is at most 1/2, Taylor's series of 20 terms, squared back. */
export function expm(a: Matrix): Matrix {
  const norm = Math.max(0, ...a.map((row) => row.reduce((sum, x) => sum + Math.abs(x), 0)));
  const squarings = Math.max(0, Math.ceil(Math.log2(norm)) + 1);
  const scaled = a.map((row) => row.map((x) => x * 2 ** -squarings));
  let power = identity(a.length);
  let sum = power;
  for (let term = 1; term <= 20; term++) {
    power = times(power, scaled).map((row) => row.map((x) => x / term));
    sum = plus(sum, power);
  }
  for (let i = 0; i < squarings; i++) sum = times(sum, sum);
  return sum;
}

// ---------------------------------------------------------------- gradients

/** dA = V (diag(dw) + (VᵀdV - dVᵀV) / (2 (w_j - w_i))) Vᵀ */
export function eighBackward(x: Matrix, gValues: readonly number[], gVectors: Matrix): Matrix {
  const { values, vectors } = eigh(x);
  const t = times(transpose(vectors), gVectors);
  const inner = make(x.length, x.length, (i, j) =>
    i === j ? gValues[i]! : (t[i]![j]! - t[j]![i]!) / (2 * (values[j]! - values[i]!)),
  );
  return times(times(vectors, inner), transpose(vectors));
}

/** As in native/cpu/linalg.cc, element by element. */
export function svdBackward(
  a: Matrix,
  m: number,
  n: number,
  gu: Matrix,
  gs: readonly number[],
  gvt: Matrix,
): Matrix {
  const { u, s, v } = svd(a, m, n);
  const k = s.length;
  const gv = transpose(gvt, n);
  const p = times(transpose(u, k), gu, k);
  const q = times(transpose(v, k), gv, k);
  const inner = make(k, k, (i, j) =>
    i === j
      ? gs[i]!
      : ((p[i]![j]! - p[j]![i]!) * s[j]! + s[i]! * (q[i]![j]! - q[j]![i]!)) / (s[j]! ** 2 - s[i]! ** 2),
  );
  let out = times(times(u, inner, k), transpose(v, k), n);
  const over = (x: Matrix) => x.map((row) => row.map((value, j) => value / s[j]!));
  if (m > n) out = plus(out, times(over(plus(gu, times(u, p, k), -1)), transpose(v, k), n));
  if (m < n) out = plus(out, times(u, transpose(over(plus(gv, times(v, q, k), -1)), k), n));
  return out;
}

/** dA = (dQ + Q (tril(M) + tril(M, -1)ᵀ)) R⁻ᵀ with M = R dRᵀ - dQᵀ Q, for m >= n. */
export function qrBackward(a: Matrix, m: number, n: number, gq: Matrix, gr: Matrix): Matrix {
  const { q, r } = qr(a, m, n);
  const upper = make(n, n, (i, j) => (i <= j ? gr[i]![j]! : 0));
  const inner = plus(times(r, transpose(upper)), times(transpose(gq, n), q), -1);
  const both = make(n, n, (i, j) => (i >= j ? inner[i]![j]! : inner[j]![i]!));
  const out = plus(gq, times(q, both, n));
  // X Rᵀ = out: the last column first.
  for (const row of out)
    for (let j = n - 1; j >= 0; j--) {
      for (let k = j + 1; k < n; k++) row[j]! -= row[k]! * r[j]![k]!;
      row[j]! /= r[j]![j]!;
    }
  return out;
}

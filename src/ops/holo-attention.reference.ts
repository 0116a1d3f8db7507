/** Holographic attention and its gradient in Float64, token by token. */
import { CHUNK, type HoloWalk, LEAST_MODULUS } from './holo-attention.walk.js';

type Complex = readonly [re: number, im: number];

const times = ([a, b]: Complex, [c, d]: Complex): Complex => [a * c - b * d, a * d + b * c];
const conj = ([a, b]: Complex): Complex => [a, -b];
const plus = ([a, b]: Complex, [c, d]: Complex): Complex => [a + c, b + d];
const scaled = ([a, b]: Complex, s: number): Complex => [a * s, b * s];
/** Re(conj(a) b): the product of a and b as vectors. */
const inner = ([a, b]: Complex, [c, d]: Complex): number => a * c + b * d;

/** z / max(|z|, LEAST_MODULUS), and the gradient by z of what depends on it by g. */
function unitary(z: Complex) {
  const modulus = Math.hypot(...z);
  const size = Math.max(modulus, LEAST_MODULUS);
  const u = scaled(z, 1 / size);
  const back = (g: Complex): Complex => {
    const along = modulus > LEAST_MODULUS ? inner(u, g) : 0;
    return scaled(plus(g, scaled(u, -along)), 1 / size);
  };
  return { u, back };
}

/** Places of numbers in the operands, for frequency f of head h (copy r) of token t of batch b. */
const placesOf = ({ T, H, R, D, F, S, chunks }: HoloWalk) => ({
  q: (b: number, t: number, h: number, r: number, f: number) =>
    ((b * T + t) * (2 * R + 1) * H + h * R + r) * D + f,
  k: (b: number, t: number, h: number, r: number, f: number) =>
    ((b * T + t) * (2 * R + 1) * H + R * H + h * R + r) * D + f,
  v: (b: number, t: number, h: number, f: number) => ((b * T + t) * (2 * R + 1) * H + 2 * R * H + h) * D + f,
  o: (b: number, t: number, h: number, f: number) => ((b * T + t) * H + h) * D + f,
  decay: (b: number, t: number, h: number, f: number) => ((b * T + t) * H + h) * F + f,
  state: (b: number, h: number) => (b * H + h) * S,
  start: (b: number, t: number, h: number) => ((b * chunks + t / CHUNK) * H + h) * S,
});

/** Calls fn for each frequency of each head of each batch. */
function each({ B, H, F }: HoloWalk, fn: (b: number, h: number, f: number) => void): void {
  for (let b = 0; b < B; b++) for (let h = 0; h < H; h++) for (let f = 0; f < F; f++) fn(b, h, f);
}

type Arrays = readonly (Float64Array | undefined)[];

/** [o, state, starts] of qkv, decay, keep, state. */
export function forwardReference(w: HoloWalk, [qkv, decay, keep, state]: Arrays): Float64Array[] {
  const { B, T, H, R, D, F, S, chunks } = w;
  const at = placesOf(w);
  const pair = (x: Float64Array, i: number): Complex => [x[i]!, x[i + F]!];
  const o = new Float64Array(B * T * H * D);
  const last = w.state ? state!.slice() : new Float64Array(B * H * S);
  const starts = new Float64Array(B * chunks * H * S);
  each(w, (b, h, f) => {
    const own = at.state(b, h) + f;
    const bound = Array.from({ length: R }, (_, r) => pair(last, own + 2 * r * F));
    let n = last[own + 2 * R * F]!;
    const put = (to: Float64Array, i: number) => {
      bound.forEach(([re, im], r) => {
        to[i + 2 * r * F] = re;
        to[i + (2 * r + 1) * F] = im;
      });
      to[i + 2 * R * F] = n;
    };
    for (let t = 0; t < T; t++) {
      if (t % CHUNK === 0) put(starts, at.start(b, t, h) + f);
      const kept = !w.keep || keep![b * T + t] !== 0;
      const alpha = w.decay ? Math.exp(decay![at.decay(b, t, h, f)]!) : 1;
      if (kept) n = alpha * alpha * n + 1;
      let sum: Complex = [0, 0];
      for (let r = 0; r < R; r++) {
        if (kept) {
          const key = unitary(pair(qkv!, at.k(b, t, h, r, f))).u;
          bound[r] = plus(scaled(bound[r]!, alpha), times(key, pair(qkv!, at.v(b, t, h, f))));
        }
        sum = plus(sum, times(conj(unitary(pair(qkv!, at.q(b, t, h, r, f))).u), bound[r]!));
      }
      const [re, im] = scaled(sum, n > 0 ? 1 / (R * Math.sqrt(n)) : 0);
      o[at.o(b, t, h, f)] = re;
      o[at.o(b, t, h, f) + F] = im;
    }
    put(last, own);
  });
  return [o, last, starts];
}

/** [dqkv, ddecay, dstate0] of dy, qkv, starts, dstate, decay, keep. */
export function backwardReference(
  w: HoloWalk,
  [dy, qkv, starts, dstate, decay, keep]: Arrays,
): Float64Array[] {
  const { B, T, H, R, F, S } = w;
  const at = placesOf(w);
  const pair = (x: Float64Array, i: number): Complex => [x[i]!, x[i + F]!];
  const put = (x: Float64Array, i: number, [re, im]: Complex) => {
    x[i] = re;
    x[i + F] = im;
  };
  const dqkv = new Float64Array(qkv!.length);
  const ddecay = new Float64Array(w.decay ? B * T * H * F : 0);
  const first = new Float64Array(B * H * S);
  each(w, (b, h, f) => {
    // What the state was before each token, begun anew at each start as the kernels do.
    const before: { bound: Complex[]; n: number }[] = [];
    const after = (t: number): { bound: Complex[]; n: number } => {
      const { bound, n } = before[t]!;
      if (w.keep && keep![b * T + t] === 0) return { bound, n };
      const alpha = w.decay ? Math.exp(decay![at.decay(b, t, h, f)]!) : 1;
      const v = pair(qkv!, at.v(b, t, h, f));
      return {
        bound: bound.map((s, r) =>
          plus(scaled(s, alpha), times(unitary(pair(qkv!, at.k(b, t, h, r, f))).u, v)),
        ),
        n: alpha * alpha * n + 1,
      };
    };
    for (let t = 0; t < T; t++)
      if (t % CHUNK === 0) {
        const own = at.start(b, t, h) + f;
        before.push({
          bound: Array.from({ length: R }, (_, r) => pair(starts!, own + 2 * r * F)),
          n: starts![own + 2 * R * F]!,
        });
      } else before.push(after(t - 1));
    const own = at.state(b, h) + f;
    const grads = Array.from(
      { length: R },
      (_, r): Complex => (w.state ? pair(dstate!, own + 2 * r * F) : [0, 0]),
    );
    let dn = w.state ? dstate![own + 2 * R * F]! : 0;
    for (let t = T - 1; t >= 0; t--) {
      const { bound, n } = after(t);
      const kept = !w.keep || keep![b * T + t] !== 0;
      const alpha = kept && w.decay ? Math.exp(decay![at.decay(b, t, h, f)]!) : 1;
      const g = scaled(pair(dy!, at.o(b, t, h, f)), 1 / R);
      const rsqrt = n > 0 ? 1 / Math.sqrt(n) : 0;
      const v = pair(qkv!, at.v(b, t, h, f));
      let dv: Complex = [0, 0];
      let along = 0;
      for (let r = 0; r < R; r++) {
        const query = unitary(pair(qkv!, at.q(b, t, h, r, f)));
        const dquery = scaled(times(conj(g), bound[r]!), rsqrt);
        put(dqkv, at.q(b, t, h, r, f), query.back(dquery));
        dn -= 0.5 * inner(query.u, dquery) * rsqrt * rsqrt;
        const total = plus(grads[r]!, scaled(times(g, query.u), rsqrt));
        if (kept) {
          const key = unitary(pair(qkv!, at.k(b, t, h, r, f)));
          put(dqkv, at.k(b, t, h, r, f), key.back(times(total, conj(v))));
          dv = plus(dv, times(total, conj(key.u)));
          along += inner(total, before[t]!.bound[r]!) * alpha;
        }
        grads[r] = scaled(total, alpha);
      }
      put(dqkv, at.v(b, t, h, f), dv);
      if (w.decay && kept) ddecay[at.decay(b, t, h, f)] = along + 2 * dn * alpha * alpha * before[t]!.n;
      dn *= alpha * alpha;
    }
    grads.forEach((grad, r) => {
      put(first, own + 2 * r * F, grad);
    });
    first[own + 2 * R * F] = dn;
  });
  return [dqkv, ddecay, first];
}

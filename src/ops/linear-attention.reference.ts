/** Linear attention and its gradient in Float64, token by token: the oracle of every kernel. */
import type { LinearSizes } from './linear-attention.common.js';

type Array64 = Float64Array;

/** Calls `visit` for each head of the batch with the places of its state and of its tokens' rows, in elements. */
function eachHead(
  { B, T, H, Dk, Dv }: LinearSizes,
  visit: (state: number, key: (t: number) => number, value: (t: number) => number) => void,
): void {
  for (let b = 0; b < B; b++)
    for (let h = 0; h < H; h++)
      visit(
        (b * H + h) * Dk * Dv,
        (t) => ((b * T + t) * H + h) * Dk,
        (t) => ((b * T + t) * H + h) * Dv,
      );
}

/** S = diag(e^decay) S + k vᵀ of one token. */
function advance(S: Array64, k: Array64, v: Array64, decay: Array64 | undefined): void {
  const Dv = v.length;
  for (let i = 0; i < k.length; i++)
    for (let j = 0; j < Dv; j++)
      S[i * Dv + j] = (decay ? Math.exp(decay[i]!) : 1) * S[i * Dv + j]! + k[i]! * v[j]!;
}

/** [o, final state] */
export function linearAttentionReference(
  sizes: LinearSizes,
  [q, k, v, state, decay]: readonly (Array64 | undefined)[],
): [Array64, Array64] {
  const { B, T, H, Dk, Dv } = sizes;
  const o = new Float64Array(v!.length);
  const final = state?.slice() ?? new Float64Array(B * H * Dk * Dv);
  eachHead(sizes, (at, key, value) => {
    const S = final.subarray(at, at + Dk * Dv);
    for (let t = 0; t < T; t++) {
      const row = (x: Array64) => x.subarray(key(t), key(t) + Dk);
      advance(S, row(k!), v!.subarray(value(t), value(t) + Dv), decay && row(decay));
      for (let i = 0; i < Dk; i++)
        for (let j = 0; j < Dv; j++) o[value(t) + j]! += q![key(t) + i]! * S[i * Dv + j]!;
    }
  });
  return [o, final];
}

/** [dq, dk, dv, dstate, ddecay] with all states at hand: D is the gradient of S_t, token by token from the end. */
export function linearAttentionBackwardReference(
  sizes: LinearSizes,
  [dy, dfinal, q, k, v, state, decay]: readonly (Array64 | undefined)[],
): [Array64, Array64, Array64, Array64, Array64] {
  const { T, Dk, Dv } = sizes;
  const [dq, dk, dv] = [q!, k!, v!].map((x) => new Float64Array(x.length)) as [Array64, Array64, Array64];
  const dstate = dfinal!.slice();
  const ddecay = new Float64Array(decay?.length ?? 0);
  eachHead(sizes, (at, key, value) => {
    const before: Array64[] = []; // each token
    const S = state ? state.slice(at, at + Dk * Dv) : new Float64Array(Dk * Dv);
    const row = (x: Array64, t: number) => x.subarray(key(t), key(t) + Dk);
    const step = (t: number) =>
      advance(S, row(k!, t), v!.subarray(value(t), value(t) + Dv), decay && row(decay, t));
    for (let t = 0; t < T; t++) {
      before.push(S.slice());
      step(t);
    }
    const D = dstate.subarray(at, at + Dk * Dv);
    for (let t = T - 1; t >= 0; t--) {
      S.set(before[t]!);
      step(t);
      for (let i = 0; i < Dk; i++) {
        const a = decay ? Math.exp(decay[key(t) + i]!) : 1;
        for (let j = 0; j < Dv; j++) {
          const n = i * Dv + j;
          dq[key(t) + i]! += S[n]! * dy![value(t) + j]!;
          D[n]! += q![key(t) + i]! * dy![value(t) + j]!;
          dk[key(t) + i]! += D[n]! * v![value(t) + j]!;
          dv[value(t) + j]! += D[n]! * k![key(t) + i]!;
          if (decay) ddecay[key(t) + i]! += D[n]! * a * before[t]![n]!;
          D[n]! *= a;
        }
      }
    }
  });
  return [dq, dk, dv, state ? dstate : new Float64Array(0), ddecay];
}

/** Calls of attention that its ops, their gradients and their packed forms are tested on. */
import type { AttentionAttrs, ScoredAttentionAttrs } from './attention.walk.js';
import type { Sample } from './contract.js';

/** Sizes of a sample; the operands' shapes follow. */
export interface Case<A = AttentionAttrs> {
  B?: number;
  T: number;
  Tk?: number;
  /** Rows of k and v that are stored, Tk of them there. */
  kept?: number;
  Hq?: number;
  Hkv?: number;
  D: number;
  attrs?: Partial<A>;
  /** Which dimensions of the mask are full: of b, h, i, j. */
  mask?: string;
  maskDType?: 'bool' | 'float32';
  dtypes?: Sample<object>['dtypes'];
  heavy?: boolean;
}

/** Drivers compile kernels for each dtype: what does not depend on it is tried with one. */
const fp32 = ['float32'] as const;
const common = ['float32', 'bfloat16'] as const;

/** Every head size that kernels have a path for, every mask, and sizes that no tile divides. */
export const cases: readonly Case[] = [
  { T: 7, D: 8, attrs: { causal: true, entropy: true } }, // small, odd, all outputs there: the self-tests' choice
  { T: 5, D: 8 },
  { T: 1, D: 16, attrs: { causal: true } },
  { T: 37, D: 16, Hq: 2, attrs: { causal: true, entropy: true } },
  { T: 64, D: 16, B: 2, Hq: 2, attrs: { causal: true } },
  { T: 9, D: 1, attrs: { causal: true } },
  { T: 21, D: 5, Hq: 2 },
  { T: 70, D: 32, attrs: { causal: true } },
  { T: 33, D: 40, Hq: 2, attrs: { causal: true } },
  { T: 67, D: 64, attrs: { entropy: true } },
  { T: 130, D: 64, attrs: { causal: true } },
  { T: 19, D: 80, attrs: { causal: true } },
  { T: 18, D: 128, attrs: { causal: true } },
  { T: 17, D: 256, attrs: { causal: true } },
  { T: 35, D: 24, attrs: { causal: true, window: 7 } },
  { T: 34, D: 16, attrs: { window: 5, entropy: true } },
  { T: 150, D: 16, attrs: { causal: true, window: 1 } },
  { T: 20, D: 16, Hq: 6, Hkv: 2, attrs: { causal: true } },
  { T: 12, D: 16, Hq: 4, Hkv: 1, attrs: { scale: 0.5 } },
  { T: 12, D: 16, attrs: { scale: -0.4, causal: true } },
  { B: 2, T: 23, D: 16, Hq: 2, mask: 'bhij' },
  { B: 2, T: 23, D: 16, Hq: 2, mask: 'bhij', maskDType: 'float32' },
  { B: 3, T: 18, D: 16, Hq: 2, mask: 'bj', attrs: { causal: true } },
  { B: 3, T: 40, D: 8, mask: 'bi', attrs: { entropy: true } }, // whole rows are masked
  { B: 2, T: 18, D: 16, mask: 'ij', maskDType: 'float32', attrs: { causal: true } },
  { B: 2, T: 18, D: 16, Hq: 4, Hkv: 2, mask: 'h', maskDType: 'float32' },
  { T: 21, D: 16, Hq: 2, attrs: { causal: true, alibi: true, entropy: true }, dtypes: common },
  { T: 68, D: 8, Hq: 6, Hkv: 2, attrs: { alibi: true }, dtypes: fp32 },
  { B: 2, T: 37, D: 16, Hq: 2, mask: 'bij', attrs: { causal: true, alibi: true, window: 9 }, dtypes: fp32 },
  { T: 13, D: 8, attrs: { score: 'born', entropy: true }, dtypes: common },
  { T: 66, D: 16, Hq: 4, Hkv: 2, attrs: { score: 'born', causal: true }, dtypes: fp32 },
  { B: 2, T: 20, D: 5, mask: 'bj', attrs: { score: 'born', scale: 0.7, alibi: true }, dtypes: fp32 },
  { B: 0, T: 4, D: 16 },
  { T: 0, D: 16 },
  { T: 300, D: 64, Hq: 2, attrs: { causal: true }, heavy: true },
  { B: 2, T: 519, D: 16, Hq: 2, Hkv: 1, attrs: { causal: true, window: 200, entropy: true }, heavy: true },
  { T: 257, D: 32, mask: 'ij', heavy: true },
  { T: 259, D: 24, Hq: 2, attrs: { score: 'born', causal: true, alibi: true }, dtypes: fp32, heavy: true },
];

/** What only separate operands can have: as many keys as they like. */
export const unequalCases: readonly Case[] = [
  { T: 1, Tk: 40, D: 16, Hq: 4, Hkv: 2, attrs: { causal: true } },
  { T: 7, Tk: 30, D: 32, attrs: { causal: true } },
  { T: 30, Tk: 7, D: 16, attrs: { causal: true, entropy: true } }, // the first queries see no key
  { T: 30, Tk: 50, D: 16, attrs: { window: 4 } },
  { B: 2, T: 6, Tk: 19, D: 16, Hq: 2, mask: 'bj' },
  { T: 4, Tk: 0, D: 16, attrs: { entropy: true } },
  { T: 0, Tk: 4, D: 16 },
  { T: 3, Tk: 1000, D: 64, attrs: { causal: true }, heavy: true },
];

/** What a cache with room has: more rows than are there. */
export const keptCases: readonly Case[] = [
  { T: 1, Tk: 9, kept: 32, D: 8, attrs: { causal: true, entropy: true } },
  { B: 2, T: 1, Tk: 1, kept: 5, D: 16, Hq: 4, Hkv: 2 },
  { B: 3, T: 5, Tk: 37, kept: 64, D: 16, Hq: 2, attrs: { causal: true, alibi: true }, mask: 'bj' },
  { B: 2, T: 1, Tk: 700, kept: 1024, D: 64, Hq: 4, Hkv: 2, attrs: { causal: true }, heavy: true },
];

/** Of scores with sides. What does not depend on the score is tried with one of them. */
export const scoredCases: readonly Case<ScoredAttentionAttrs>[] = [
  ...(['gram', 'hyperbolic'] as const).flatMap((score) => {
    const of = ({ attrs, ...c }: Case<ScoredAttentionAttrs>): Case<ScoredAttentionAttrs> => ({
      dtypes: fp32,
      ...c,
      attrs: { ...attrs, score },
    });
    return [
      of({ T: 7, D: 8, attrs: { causal: true, entropy: true }, dtypes: common }),
      of({ T: 5, D: 16 }),
      of({ T: 1, D: 8, attrs: { causal: true } }),
      of({ B: 2, T: 66, D: 16, Hq: 2, attrs: { causal: true } }),
      of({ T: 130, D: 64, attrs: { causal: true }, dtypes: score === 'gram' ? ['bfloat16'] : fp32 }),
      of({ T: 67, D: 16, Hq: 4, Hkv: 2 }),
      of({ B: 2, T: 20, D: 16, Hq: 6, Hkv: 2, attrs: { causal: true } }),
      of({ T: 7, Tk: 30, D: 16, Hq: 4, Hkv: 2, attrs: { causal: true } }),
      of({ T: 30, Tk: 7, D: 16, attrs: { causal: true } }), // the first queries see no key
      of({ T: 4, Tk: 0, D: 16 }),
      of({ T: 0, D: 16 }),
      of({ B: 2, T: 519, D: 16, Hq: 2, Hkv: 1, attrs: { causal: true }, heavy: true }),
      of({ B: 2, T: 2, Tk: 9, kept: 16, D: 16, Hq: 4, Hkv: 2, attrs: { causal: true } }),
    ];
  }),
  { T: 9, D: 1, attrs: { score: 'gram' }, dtypes: fp32 },
  { T: 33, D: 5, Hq: 2, attrs: { causal: true, score: 'gram' }, dtypes: ['float32', 'float16'] },
  {
    B: 2,
    T: 35,
    D: 16,
    Hq: 2,
    mask: 'bhij',
    attrs: { window: 7, alibi: true, score: 'hyperbolic' },
    dtypes: fp32,
  },
  { B: 3, T: 18, D: 16, Hq: 2, mask: 'bi', attrs: { score: 'gram' }, dtypes: fp32 },
  {
    T: 18,
    D: 16,
    mask: 'ij',
    maskDType: 'float32',
    attrs: { causal: true, score: 'hyperbolic' },
    dtypes: fp32,
  },
];

/** Sizes with the defaults filled in, and the mask's shape as a list of none or one. */
export function fullCase({ B = 1, T, Tk = T, kept = Tk, Hq = 1, Hkv = Hq, D, mask }: Case<object>) {
  const masks =
    mask === undefined ? [] : [[B, Hq, T, Tk].map((n, axis) => (mask.includes('bhij'[axis]!) ? n : 1))];
  return { B, T, Tk, kept, Hq, Hkv, D, masks };
}

/** The parts of a sample that do not depend on how q, k, v are stored; the mask is input number `maskAt`. */
export const sampleOf = <A extends object>(c: Case<A>, maskAt: number): Omit<Sample<A>, 'shapes'> => ({
  ...((c.attrs || c.kept) && { attrs: { ...c.attrs, ...(c.kept && { keys: c.Tk }) } as Partial<A> }),
  ...(c.dtypes && { dtypes: c.dtypes }),
  ...(c.heavy && { heavy: true }),
  ...(c.maskDType && { inputDTypes: [...new Array<undefined>(maskAt), c.maskDType] }),
});

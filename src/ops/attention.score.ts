/**
 * How a query and a key give a score: names, sizes, and in Float64 what each is. The kernels' formulas stand in
 * native/cpu/attention_score.h and shaders/lib/attention_score.glsl.
 *
 * A score is a function of the inner products x of a query's vectors with the key and of numbers beside them, its
 * *sides*: two of each query and head, one of each key and its head, which stay float32 whatever q and k are.
 *
 *   dot         scale x
 *   born        scale ln(x² + ε): with unit vectors and scale 1 the weights are Born's probabilities |⟨q|k⟩|²
 *   gram        min(0, x1² + x2² - A n) + c x1, of the query's vectors a and b, sides (A, c | n = |k|²): less the
 *               Gram determinant of q, k and r where a and b are orthogonal and A = |a|² = |b|²; x1² + x2² cannot
 *               exceed A n but by rounding, which is cut off: no gradient flows there, but by c
 *   hyperbolic  -β d, sinh²(d / 2) = sinh²((r - s) / 2) + sinh r sinh s max(0, 1 - x) / 2 between points of polar
 *               coordinates (r, u) and (s, v), x = u · v, sides (r, β | s) (Gulcehre et al., ICLR 2019,
 *               arXiv:1805.09786); δ is added to the right side, so that there is a slope at d = 0. Radii up to 40.
 */
export const scores = ['dot', 'born', 'gram', 'hyperbolic'] as const;
export type Score = (typeof scores)[number];
/** Functions of one product alone: what `attention` takes. The others are `scoredAttention`'s. */
export const productScores = ['dot', 'born'] as const;
export type ProductScore = (typeof productScores)[number];
export const sidedScores = ['gram', 'hyperbolic'] as const;
export type SidedScore = (typeof sidedScores)[number];

/** ε of born: |x| below 1e-3 counts as that. */
export const BORN_EPSILON = 1e-6;
/** δ of hyperbolic. */
export const HYPERBOLIC_DELTA = 1e-12;

/** Vectors of a query, side by side in its head: each is as long as a key. */
export const vectorsOf = (score: Score): number => (score === 'gram' ? 2 : 1);

/** The scale that an attribute of 0 stands for. */
export const usualScale = (score: Score, D: number): number => (score === 'dot' ? 1 / Math.sqrt(D) : 1);

/** Slope of ALiBi for query head h of H, a power of 2 (Press et al., ICLR 2022, arXiv:2108.12409). */
export const alibiSlope = (h: number, H: number): number => 2 ** ((-8 * (h + 1)) / H);

/** A score, and its derivatives by the products and by the sides of the query and of the key. */
export interface Sloped {
  score: number;
  byProducts: readonly number[];
  bySides: readonly [query0: number, query1: number, key: number];
}

const none = [0, 0, 0] as const;

/** Of a pair: its products, and the query's two sides and the key's one. */
export function scoreOf(kind: Score, scale: number, x: ArrayLike<number>, sides: ArrayLike<number>): Sloped {
  const x1 = x[0]!;
  switch (kind) {
    case 'dot':
      return { score: scale * x1, byProducts: [scale], bySides: none };
    case 'born': {
      const square = x1 * x1 + BORN_EPSILON;
      return { score: scale * Math.log(square), byProducts: [(scale * 2 * x1) / square], bySides: none };
    }
    case 'gram': {
      const [A, c, n] = [sides[0]!, sides[1]!, sides[2]!];
      const x2 = x[1]!;
      const t = x1 * x1 + x2 * x2 - A * n;
      const flows = t > 0 ? 0 : 1;
      return {
        score: Math.min(0, t) + c * x1,
        byProducts: [2 * x1 * flows + c, 2 * x2 * flows],
        bySides: [-n * flows, x1, -A * flows],
      };
    }
    case 'hyperbolic': {
      const [r, beta, s] = [sides[0]!, sides[1]!, sides[2]!];
      const apart = Math.max(0, 1 - x1);
      const half = Math.sinh((r - s) / 2);
      const g = half * half + (Math.sinh(r) * Math.sinh(s) * apart) / 2 + HYPERBOLIC_DELTA;
      const d = 2 * Math.asinh(Math.sqrt(g));
      const slope = -beta / Math.sqrt(g * (1 + g));
      const turn = Math.sinh(r - s) / 2;
      return {
        score: -beta * d,
        byProducts: [apart > 0 ? (-slope * Math.sinh(r) * Math.sinh(s)) / 2 : 0],
        bySides: [
          slope * (turn + (Math.cosh(r) * Math.sinh(s) * apart) / 2),
          -d,
          slope * ((Math.sinh(r) * Math.cosh(s) * apart) / 2 - turn),
        ],
      };
    }
  }
}

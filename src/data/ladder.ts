/** What a model of the micro-languages can reach, level by level, from their specification alone. */
import { type MicroConfig, ranges } from './micro-languages.js';

/** Nats, but for the ceiling. */
export interface Ladder {
  /** ln V: knows nothing. */
  chance: number;
  /** Knows the topic, and no pair of tokens. */
  topicUnigram: number;
  /** Knows the topic and its transitions: the least loss. */
  bigram: number;
  /** topicUnigram - bigram is what pairs teach; this is all that can be learned: chance - bigram. */
  gap: number;
  /** The part of tokens that lie in their topic's own range: what a probe can tell of the topic from the token alone. */
  probeCeiling: number;
  /** Mean over the places of a row of the entropy of causal attention that is uniform: (1/T) Σ ln i. */
  uniformAttention: number;
}

/**
 * A topic puts p = c n / (c n + m) on its own range of n tokens, 1 - p on the m others, c the concentration. Rows being
 * Dirichlet(1/2) within each range, the mean entropy of n of them is ψ(n/2 + 1) - ψ(3/2); their average is uniform,
 * ln n. Signatures, 50 rows in thousands, are left out.
 */
export function analyticLadder(config: MicroConfig & { length: number }): Ladder {
  const { own: n, others: m } = ranges(config);
  const p = (config.concentration * n) / (config.concentration * n + m);
  const which = -p * Math.log(p) - (m > 0 ? (1 - p) * Math.log(1 - p) : 0);
  const within = (entropy: (k: number) => number) =>
    which + p * entropy(n) + (m > 0 ? (1 - p) * entropy(m) : 0);
  const chance = Math.log(config.vocab);
  const bigram = within((k) => digamma(k / 2 + 1) - digamma(1.5));
  let uniform = 0;
  for (let i = 1; i <= config.length; i++) uniform += Math.log(i) / config.length;
  return {
    chance,
    topicUnigram: within(Math.log),
    bigram,
    gap: chance - bigram,
    probeCeiling: p,
    uniformAttention: uniform,
  };
}

/** ψ(x) = ψ(x + 1) - 1/x, and ln x - 1/2x - 1/12x² + 1/120x⁴ - 1/252x⁶ from 10 on (Abramowitz and Stegun 6.3.18). */
function digamma(x: number): number {
  let below = 0;
  while (x < 10) below -= 1 / x++;
  const s = 1 / (x * x);
  return below + Math.log(x) - 0.5 / x - s * (1 / 12 - s * (1 / 120 - s / 252));
}

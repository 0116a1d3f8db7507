/**
 * Contexts longer than those of training: rotations slowed down in parts and logits sharpened (Peng et al., "YaRN",
 * arXiv:2309.00071), or no rotation at all (Gelberg et al., "DroPE", arXiv:2512.12167). Pure functions of numbers.
 */
import { ArgumentError } from '../../runtime/errors.js';

export interface YarnOptions {
  /** s: the length wanted over that of training, at least 1. */
  factor: number;
  /** Tokens of the sequences of training. */
  trained: number;
  /** Pairs that turn at least so often over the trained length keep their frequency. Default 32. */
  fast?: number;
  /** Pairs that turn at most so often are interpolated, divided by s. Default 1. */
  slow?: number;
  /** Of queries and of keys, so that logits grow by its square. Default yarnFactor(s). */
  attention?: number;
}

/**
 * Angle by which each of the dim / 2 pairs turns from one place to the next: θᵢ = theta^(-2i/dim) becomes
 * (1 - γ) θᵢ/s + γ θᵢ, where γ rises from 0 to 1 as the turns L θᵢ/2π over the trained length L go from slow to fast.
 */
export function yarnFrequencies(dim: number, theta: number, options: YarnOptions): Float64Array {
  const { factor, trained, fast, slow } = checked(options);
  return Float64Array.from({ length: dim / 2 }, (_, i) => {
    const frequency = theta ** ((-2 * i) / dim);
    const turns = (trained * frequency) / (2 * Math.PI);
    const kept = Math.min(1, Math.max(0, (turns - slow) / (fast - slow)));
    return (1 - kept) * (frequency / factor) + kept * frequency;
  });
}

/** 0.1 ln s + 1, by which YaRN multiplies queries and keys: √(1/t) of its temperature t; 1 for s <= 1. */
export const yarnFactor = (s: number): number => (s <= 1 ? 1 : 0.1 * Math.log(s) + 1);

/**
 * β* = 1 + c ln s, by which DroPE multiplies logits at s times the trained length; 1 for s <= 1. Published c: 0.412 for
 * models trained from scratch, 0.103 for SmolLM.
 */
export function dropeTemperature(s: number, c = 0.412): number {
  if (!(s > 0) || !Number.isFinite(s) || !(c >= 0) || !Number.isFinite(c))
    throw new ArgumentError(`s is ${String(s)}, c is ${String(c)}`, {
      op: 'dropeTemperature',
      hint: 's is a positive ratio of lengths, c not negative',
    });
  return s <= 1 ? 1 : 1 + c * Math.log(s);
}

function checked({ factor, trained, fast = 32, slow = 1, attention }: YarnOptions) {
  const refuse = (what: string, hint: string) => {
    throw new ArgumentError(what, { op: 'Rotary', hint });
  };
  if (!(factor >= 1) || !Number.isFinite(factor))
    refuse(`factor is ${String(factor)}`, 'it is the length wanted over that of training, at least 1');
  if (!Number.isInteger(trained) || trained < 1)
    refuse(`trained is ${String(trained)}`, 'it is the length of the sequences of training, at least 1');
  if (!(slow >= 0) || !(fast > slow) || !Number.isFinite(fast))
    refuse(`slow is ${String(slow)}, fast is ${String(fast)}`, 'they are turns: 0 <= slow < fast');
  const own = attention ?? yarnFactor(factor);
  if (!(own > 0) || !Number.isFinite(own))
    refuse(`attention is ${String(attention)}`, 'it is a positive factor');
  return { factor, trained, fast, slow, attention: own };
}

/** The factor of queries and keys that options say. */
export const attentionFactor = (options: YarnOptions): number => checked(options).attention;

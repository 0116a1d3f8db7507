/** Activations and their slopes in Float64. Kernels know them by their place in this table. */
import { erf } from './erf.js';

interface Function {
  f: (x: number) => number;
  slope: (x: number) => number;
  /** Flops an element, of either. */
  flops: number;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const TANH_SCALE = Math.sqrt(2 / Math.PI);

const table = {
  none: { f: (x) => x, slope: () => 1, flops: 0 },
  relu: { f: (x) => Math.max(x, 0), slope: (x) => +(x > 0), flops: 1 },
  // x Φ(x), and Φ(x) + x Φ'(x)
  gelu: {
    f: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
    slope: (x) => 0.5 * (1 + erf(x * Math.SQRT1_2)) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI),
    flops: 25,
  },
  // x s with s = sigmoid(2u), u = √(2/π) (x + 0.044715 x³); and s + 2 x s (1 - s) du/dx
  gelu_tanh: {
    f: (x) => 0.5 * x * (1 + Math.tanh(TANH_SCALE * (x + 0.044715 * x ** 3))),
    slope(x) {
      const s = sigmoid(2 * TANH_SCALE * (x + 0.044715 * x ** 3));
      return s + 2 * x * s * (1 - s) * TANH_SCALE * (1 + 3 * 0.044715 * x * x);
    },
    flops: 20,
  },
  silu: {
    f: (x) => x * sigmoid(x),
    slope: (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))),
    flops: 13,
  },
  sigmoid: { f: sigmoid, slope: (x) => sigmoid(x) * (1 - sigmoid(x)), flops: 12 },
  tanh: { f: Math.tanh, slope: (x) => 1 - Math.tanh(x) ** 2, flops: 15 },
} satisfies Record<string, Function>;

export type AnyActivation = keyof typeof table;

/** By name; their order is that of `Activation` in native/cpu/activation.h and in shaders/lib/activation.glsl. */
export const activationTable: Readonly<Record<AnyActivation, Function>> = table;
export const activationCode = Object.fromEntries(Object.keys(table).map((name, i) => [name, i])) as Record<
  AnyActivation,
  number
>;

/** Those that matmul applies to its results. */
export const activations = ['none', 'relu', 'gelu', 'gelu_tanh', 'silu'] as const;
export type Activation = (typeof activations)[number];

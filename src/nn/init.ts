/**
 * Initial values. Each draws from the default generator (`manualSeed`), once, so that modules made in one order from
 * one seed begin alike. Weights are [out, in].
 */
import { fill, normal as normalOp, uniform as uniformOp } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import { generator } from '../tensor/generator.js';
import type { Shape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';

/** Makes a tensor of a shape. */
export type Init = (shape: Shape) => Tensor;

/** One draw of the generator, as attributes. */
function draw(): { seed: number; offset: number } {
  const { seed, counter } = generator.state;
  generator.state = { seed, counter: counter + 1 };
  return { seed, offset: counter };
}

export const zeros: Init = (shape) => fill({ shape, value: 0 });
export const ones: Init = (shape) => fill({ shape, value: 1 });

/** N(mean, std²). */
export const normal =
  (std = 0.02, mean = 0): Init =>
  (shape) =>
    normalOp({ shape, ...draw(), mean, std });

/** Uniform in [low, high). */
export const uniform =
  (low: number, high: number): Init =>
  (shape) =>
    uniformOp({ shape, ...draw(), low, high });

/** Uniform with variance 2 / (in + out) (Glorot & Bengio, AISTATS 2010). */
export const xavierUniform =
  (gain = 1): Init =>
  (shape) => {
    const [out, into] = fans('xavierUniform', shape);
    const bound = gain * Math.sqrt(6 / (into + out));
    return uniform(-bound, bound)(shape);
  };

/** Normal with variance 2 / (in + out). */
export const xavierNormal =
  (gain = 1): Init =>
  (shape) => {
    const [out, into] = fans('xavierNormal', shape);
    return normal(gain * Math.sqrt(2 / (into + out)))(shape);
  };

/** Uniform with variance 2 / ((1 + slope²) in) (He et al., ICCV 2015); slope √5 is what PyTorch gives a Linear. */
export const kaimingUniform =
  (slope = 0): Init =>
  (shape) => {
    const [, into] = fans('kaimingUniform', shape);
    const bound = Math.sqrt(6 / ((1 + slope * slope) * Math.max(1, into)));
    return uniform(-bound, bound)(shape);
  };

/** Normal with variance 2 / ((1 + slope²) in). */
export const kaimingNormal =
  (slope = 0): Init =>
  (shape) => {
    const [, into] = fans('kaimingNormal', shape);
    return normal(Math.sqrt(2 / ((1 + slope * slope) * Math.max(1, into))))(shape);
  };

/** Of projections back into a residual stream of 2 a layer: the usual deviation / √(2 layers) (Radford et al., 2019). */
export const residual = (layers: number, std = 0.02): Init =>
  normal(std / Math.sqrt(2 * Math.max(1, layers)));

function fans(op: string, shape: Shape): [out: number, into: number] {
  if (shape.length < 2)
    throw new ArgumentError(`[${shape}] has no input and output`, { op, hint: 'weights are [out, in, …]' });
  const field = shape.slice(2).reduce((n, d) => n * d, 1);
  return [shape[0]! * field, shape[1]! * field];
}

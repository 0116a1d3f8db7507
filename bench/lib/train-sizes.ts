/** What `bench:train` trains, and what a token of it costs. */
import { ArgumentError } from '../../src/runtime/errors.js';

/** Layers x width x heads x T x batch. */
export const SIZES = ['2x64x4x64x8', '2x128x4x64x32', '4x128x4x256x16', '4x256x8x256x16'];
export const VOCABULARY = 256;

export interface TrainSize {
  layers: number;
  width: number;
  heads: number;
  length: number;
  batch: number;
}

export function parseSize(text: string): TrainSize {
  const numbers = text.split('x').map(Number);
  const [layers, width, heads, length, batch] = numbers as [number, number, number, number, number];
  if (numbers.length !== 5 || !numbers.every((n) => Number.isInteger(n) && n > 0) || width % heads !== 0)
    throw new ArgumentError(`'${text}' is not layers x width x heads x T x batch`, {
      hint: `for example ${SIZES[0]}`,
    });
  return { layers, width, heads, length, batch };
}

export const flopsFormula =
  'Flops of a token: 6 (12 layers width² + 256 width) for the products and 6 layers width T for the causal half of ' +
  'attention; what a backward pass computes again does not count.';

export function flopsPerToken(size: string): number {
  const { layers, width, length } = parseSize(size);
  return 6 * (12 * layers * width ** 2 + VOCABULARY * width) + 6 * layers * width * length;
}

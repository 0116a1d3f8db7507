/** Random directions for feature maps. Pure functions of numbers. */
import { philox } from '../../ops/philox.js';

/**
 * Rows of norms as of Gaussian vectors, orthogonal within blocks of `channels`: Gaussian numbers of the seed, orthogonal
 * by Gram and Schmidt, twice for the rounding.
 */
export function orthogonalRows(rows: number, channels: number, seed: number): Float32Array {
  const key = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)] as const;
  /** Box and Muller (1958). */
  const gaussian = (row: number, i: number, what: number): number => {
    const [a, b] = philox([i, row, what, 0], key) as unknown as [number, number];
    return Math.sqrt(-2 * Math.log((a + 1) / 2 ** 32)) * Math.cos((2 * Math.PI * b) / 2 ** 32);
  };
  const vector = (row: number, what: number) =>
    Float64Array.from({ length: channels }, (_, i) => gaussian(row, i, what));
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((s, v, i) => s + v * b[i]!, 0);
  const out = new Float32Array(rows * channels);
  let block: Float64Array[] = [];
  for (let row = 0; row < rows; row++) {
    if (block.length === channels) block = [];
    const v = vector(row, 0);
    for (let pass = 0; pass < 2; pass++)
      for (const u of block) {
        const along = dot(u, v);
        u.forEach((w, i) => {
          v[i] = v[i]! - along * w;
        });
      }
    const length = Math.sqrt(dot(v, v));
    const unit = v.map((w) => w / length);
    block.push(unit);
    const other = vector(row, 1);
    const norm = Math.sqrt(dot(other, other));
    out.set(
      unit.map((w) => w * norm),
      row * channels,
    );
  }
  return out;
}

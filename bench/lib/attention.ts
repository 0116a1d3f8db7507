/** Causal attention as `bench:attention` runs it: operands of [B, T, H, D] kept between runs, results dropped. */
import '../../src/index.js'; // gradients
import { attention } from '../../src/ops/index.js';
import { toleranceOf } from '../../src/ops/record.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { type DType, decode, encode } from '../../src/tensor/dtype.js';
import { scope } from '../../src/tensor/scope.js';
import { type Shape, sizeOf, spec } from '../../src/tensor/shape.js';
import { type Tensor, tensor } from '../../src/tensor/tensor.js';
import type { Contender } from './timing.js';

export type Pass = 'forward' | 'both';

export const BATCH = 4;
export const HEADS = 8;
export const WIDTH = 64;

/** Of the causal half; the backward pass is two and a half times the forward one. */
export const flopsOf = (pass: Pass, length: number): number =>
  ((4 * length * length * WIDTH * HEADS * BATCH) / 2) * (pass === 'forward' ? 1 : 3.5);

export class AttentionWork {
  #q: Tensor;
  #k: Tensor;
  #v: Tensor;
  #dy: Tensor;

  constructor(
    readonly runtime: Runtime,
    readonly dtype: DType,
    shape: Shape,
  ) {
    [this.#q, this.#k, this.#v, this.#dy] = [1, 2, 3, 4].map((seed) =>
      tensor(encode(dtype, uniform(sizeOf(shape), seed)), shape, { dtype, runtime }),
    ) as [Tensor, Tensor, Tensor, Tensor];
  }

  /** Seconds for one pass and a wait for it. */
  async run(pass: Pass): Promise<number> {
    const operands = [this.#q, this.#k, this.#v];
    for (const x of operands) x.requiresGrad = pass === 'both';
    await this.runtime.sync();
    const start = performance.now();
    scope(() => {
      const y = attention(this.#q, this.#k, this.#v, undefined, { causal: true });
      if (pass === 'both') y.backward(this.#dy);
    });
    for (const x of operands) x.grad = null;
    await this.runtime.sync();
    return (performance.now() - start) / 1e3;
  }

  contender(pass: Pass): Contender {
    return { sample: async () => [await this.run(pass)] };
  }

  /** Largest number of bytes that tensors hold while a pass runs, operands and results included. */
  async peak(pass: Pass): Promise<number> {
    this.runtime.trim();
    await this.run(pass);
    return this.runtime.memory().host.peak;
  }

  dispose(): void {
    for (const x of [this.#q, this.#k, this.#v, this.#dy]) x.dispose();
  }
}

/** xorshift32 in [-1, 1]. */
function uniform(size: number, seed: number): Float64Array {
  let x = (seed * 0x9e3779b9) >>> 0;
  return Float64Array.from({ length: size }, () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return ((x >>> 0) / 2 ** 32) * 2 - 1;
  });
}

/** What is wrong with a small forward pass, in words; '' for nothing. */
export async function wrongAttention(runtime: Runtime, dtype: DType): Promise<string> {
  const { op } = attention;
  const shape = [2, 150, 2, WIDTH];
  const raw = [1, 2, 3].map((seed) => encode(dtype, uniform(sizeOf(shape), seed)));
  const inputs = raw.map(() => spec(shape, dtype));
  const attrs = { ...op.attrs, causal: true };
  const problem = { inputs, outputs: op.infer(inputs, attrs), attrs };
  const [want] = op.reference(
    raw.map((r) => decode(dtype, r)),
    problem,
  );
  const [q, k, v] = raw.map((r) => tensor(r, shape, { dtype, runtime })) as [Tensor, Tensor, Tensor];
  const y = attention(q, k, v, undefined, { causal: true });
  const got = decode(dtype, await y.data());
  for (const x of [q, k, v, y]) x.dispose();
  const tolerance = toleranceOf(op as never, problem as never);
  const at = got.findIndex(
    (x, i) => !(Math.abs(x - want![i]!) <= tolerance * Math.max(1, Math.abs(want![i]!))),
  );
  return at < 0 ? '' : `element ${at} is ${got[at]} instead of ${want![at]} (tolerance ${tolerance})`;
}

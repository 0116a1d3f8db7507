/** Holographic reduced representations, and Hrrformer, which is made of them and mixes nothing. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HrrformerAttention } from '../src/attention/hrr.js';
import * as hrr from '../src/geometry/hrr.js';
import { gradcheck, manualSeed, mul, normal, sum } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { noise, sequence, worst } from './support/layers.js';
import { cpu } from './support/sides.js';

let runtime: Runtime;
beforeEach(() => {
  runtime = new Runtime(cpu.options);
  useRuntime(runtime);
});
afterEach(() => {
  useRuntime(undefined);
  runtime.dispose();
});

const values = (t: Tensor) => t.dataSync() as Float32Array;
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((total, v, i) => total + v * b[i]!, 0);
const cosine = (a: ArrayLike<number>, b: ArrayLike<number>) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

describe('holographic reduced representations', () => {
  const [d, n] = [64, 5];
  const vectors = (seed: number, size = d) => normal({ shape: [n, size], seed, std: 1 / Math.sqrt(size) });

  it.each([1, 2, 7, 64])('bind by circular convolution of %i numbers', (size) => {
    const [x, y] = [vectors(1, size), vectors(2, size)];
    const [a, b] = [values(x), values(y)];
    const wanted = Float32Array.from({ length: n * size }, (_, at) => {
      const [row, i] = [Math.floor(at / size) * size, at % size];
      let total = 0;
      for (let j = 0; j < size; j++) total += a[row + j]! * b[row + ((i - j + size) % size)]!;
      return total;
    });
    expect(worst(values(hrr.bind(x, y)), wanted)).toBeLessThan(1e-6);
    expect(worst(values(hrr.fromSpectrum(hrr.spectrum(x), size)), a)).toBeLessThan(1e-6);
  });

  it('invert by reversal, and exactly where vectors are unitary', () => {
    const x = vectors(3);
    const a = values(x);
    const reversed = a.map((_, at) => a[Math.floor(at / d) * d + ((d - (at % d)) % d)]!);
    expect(worst(values(hrr.inverse(x)), reversed)).toBeLessThan(1e-6);
    const key = hrr.unitary(x);
    const y = vectors(4);
    expect(worst(values(hrr.unbind(hrr.bind(y, key), key)), values(y))).toBeLessThan(1e-6);
    const lengths = values(sum(mul(key, key), { axis: -1 }));
    for (const length of lengths) expect(length).toBeCloseTo(1, 5);
  });

  it('have gradients', () => {
    const f = (x: Tensor, y: Tensor) => hrr.unbind(hrr.bind(hrr.unitary(x), y), hrr.inverse(y));
    expect(gradcheck(f, [vectors(5, 7), vectors(6, 7)]).compared).toBeGreaterThan(60);
  });

  it.each([4, 16, 64])('are read from a sum of %i pairs with a cosine of 1 / √(1 + T)', (T) => {
    const [groups, size] = [16, 256];
    const of = (seed: number) => normal({ shape: [groups, T, size], seed, std: 1 / Math.sqrt(size) });
    const [k, v] = [of(7), of(8)];
    const mean = (keys: Tensor) => {
      const found = values(hrr.unbind(sum(hrr.bind(keys, v), { axis: 1, keepDims: true }), keys));
      const own = values(v);
      let total = 0;
      for (let at = 0; at < own.length; at += size)
        total += cosine(found.subarray(at, at + size), own.subarray(at, at + size));
      return total / (groups * T);
    };
    expect(Math.abs(mean(k) * Math.sqrt(1 + T) - 1)).toBeLessThan(0.04);
    expect(Math.abs(mean(hrr.unitary(k)) * Math.sqrt(T) - 1)).toBeLessThan(0.04);
  });

  it('name what is no spectrum', async () => {
    expectTyped(await failureOf(() => hrr.multiply(tensor([1, 2, 3]), tensor([1, 2, 3]))), {
      code: 'ATTN_SHAPE',
    });
    expectTyped(await failureOf(() => hrr.fromSpectrum(tensor([1, 2, 3, 4]), 7)), { code: 'ATTN_ARGUMENT' });
    expectTyped(await failureOf(() => hrr.spectrum(tensor(1))), { code: 'ATTN_SHAPE' });
  });
});

describe('HrrformerAttention', () => {
  const [T, C] = [19, 12];

  it('mixes nothing: each head of its result is parallel to the value of its own token', () => {
    manualSeed(6);
    const made = new HrrformerAttention({ dim: C, heads: 2, bias: false });
    const x = sequence(1, T, C);
    const heads = values(
      (made as unknown as { attend(x: Tensor, c: object): Tensor }).attend(x, { batch: 1, length: T }),
    );
    const v = values(made.qkv.split(made.qkv.heads(x))[2]!);
    const weights: number[] = [];
    for (let at = 0; at < heads.length; at += C / 2) {
      const [o, mine] = [heads, v].map((a) => a.subarray(at, at + C / 2)) as [Float32Array, Float32Array];
      expect(cosine(o, mine)).toBeCloseTo(1, 5);
      weights.push(Math.sqrt(dot(o, o) / dot(mine, mine)));
    }
    // A softmax over time of cosines.
    for (const head of [0, 1]) {
      const own = weights.filter((_, i) => i % 2 === head);
      expect(own.reduce((s, w) => s + w, 0)).toBeCloseTo(1, 5);
      expect(Math.max(...own) / Math.min(...own)).toBeLessThan(Math.E ** 2);
    }
  });

  it('looks ahead, which is why it has no causal form', async () => {
    manualSeed(6);
    const made = new HrrformerAttention({ dim: C, heads: 2 });
    const before = noise(T * C);
    const after = before.map((v, i) => (i >= (T - 1) * C ? -v : v));
    const [y, z] = [before, after].map((v) => values(made.forward(tensor(v, [1, T, C]))));
    expect(worst(y!.subarray(0, C), z!.subarray(0, C))).toBeGreaterThan(1e-6);
    expectTyped(await failureOf(() => new HrrformerAttention({ dim: C, heads: 2, causal: true })), {
      code: 'ATTN_ARGUMENT',
      says: /HrrformerAttention(.|\n)*whole sequence/,
    });
  });

  it('is its formula in the time domain', () => {
    manualSeed(7);
    const made = new HrrformerAttention({ dim: C, heads: 1, headDim: 7 });
    const x = sequence(1, T, C);
    const [q, k, v] = made.qkv.split(made.qkv.heads(x)).map((t) => t.reshape([T, 7])) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const beta = sum(hrr.bind(k, v), { axis: 0, keepDims: true });
    const [found, own] = [values(hrr.unbind(beta, q)), values(v)];
    const row = (a: Float32Array, t: number) => a.subarray(7 * t, 7 * t + 7);
    const scores = Array.from({ length: T }, (_, t) => Math.exp(cosine(row(own, t), row(found, t))));
    const total = scores.reduce((s, e) => s + e, 0);
    const wanted = own.map((u, i) => (u * scores[Math.floor(i / 7)]!) / total);
    const got = values(
      (made as unknown as { attend(x: Tensor, c: object): Tensor }).attend(x, { batch: 1, length: T }),
    );
    expect(worst(got, wanted)).toBeLessThan(1e-6);
  });
});

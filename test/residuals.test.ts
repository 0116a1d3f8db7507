/** How large residual streams are at the start, against the laws of the forms of blocks. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { manualSeed } from '../src/index.js';
import { type BlockForm, GPT, type GPTConfig, residualStats } from '../src/model/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { tensor } from '../src/tensor/tensor.js';
import { noise } from './support/layers.js';
import { cpu } from './support/sides.js';

let runtime: Runtime;
beforeEach(() => {
  runtime = new Runtime(cpu.options);
  useRuntime(runtime);
  manualSeed(7);
});
afterEach(() => {
  useRuntime(undefined);
  runtime.dispose();
});

describe('residual streams', () => {
  const C = 768;
  const wide = (block: BlockForm, length: number): GPT => {
    const config: GPTConfig = { vocab: 512, length, layers: 12, dim: C, heads: 12, block };
    return new GPT({ ...config, shared: true, norm: 'plain', mlp: 'gelu_tanh' });
  };
  const text = (length: number) =>
    tensor(
      Int32Array.from({ length }, (_, i) => Math.floor((noise(1, i + 1)[0]! + 1) * 256)),
      [1, length],
    );

  it('become, normed, s / √(s² (C - 1) / C + eps)', async () => {
    for (const block of ['axm', 'parallel', 'timesplus'] as const) {
      const model = wide(block, 1);
      const rows = await residualStats(model, text(1));
      expect(rows.map(({ layer }) => layer)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
      for (const { residual: s, next } of rows)
        expect(next).toBeCloseTo(s / Math.sqrt((s * s * (C - 1)) / C + 1e-5), 5);
      model.dispose();
    }
    // The saturation at √(768 / 767), and two rows of the published tables.
    const law = (s: number) => s / Math.sqrt((s * s * (C - 1)) / C + 1e-5);
    expect(law(1e6)).toBeCloseTo(1.0006517, 6);
    expect(law(1.7215176820755005)).toBeCloseTo(1.0006499290466309, 6);
  });

  it('begin as the laws of their forms say', async () => {
    const columns = async (block: BlockForm, length = 256) => {
      const model = wide(block, length);
      const rows = await residualStats(model, text(length));
      expect(model.training).toBe(true);
      model.dispose();
      return rows;
    };
    // Of random tokens at the start, as measured for the original at T = 1024; attention averages fewer tokens here.
    const axm = await columns('axm');
    for (const { residual, mid } of axm) {
      expect(Math.abs(residual - 0.0283) / 0.0283).toBeLessThan(0.06); // flat
      expect(mid).toBeLessThan(1e-3);
    }
    const parallel = await columns('parallel');
    expect(Math.abs(parallel[0]!.residual - 0.079) / 0.079).toBeLessThan(0.03);
    expect(Math.abs(parallel[11]!.residual - 0.834) / 0.834).toBeLessThan(0.05);
    for (let i = 1; i < 12; i++) {
      expect(parallel[i]!.residual).toBeGreaterThan(parallel[i - 1]!.residual);
      expect(parallel[i]!.mid).toBeLessThan(parallel[i]!.residual);
    }
    const timesplus = await columns('timesplus', 128);
    expect(timesplus[0]!.residual).toBeLessThan(0.01);
    for (const { residual } of timesplus.slice(4)) {
      expect(residual).toBeGreaterThan(3e-5); // collapses to about 1e-4
      expect(residual).toBeLessThan(6e-4);
    }
    const noattn = await columns('noattn', 8);
    expect(noattn[1]!.mid).toBeCloseTo(noattn[0]!.residual, 6); // the stream before
  });
});

/** What layers of any kind attend to: entropies of the sweep, maps, and the entanglement of both. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attentionKind, attentionKinds } from '../src/attention/registry.js';
import {
  autocast,
  causalBaseline,
  GPT,
  generator,
  keep,
  layerEntropies,
  matmul,
  noGrad,
  permute,
  QuantumGeometricAttention,
  Rotary,
  scope,
} from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { configsOf, layerOf, outputOf, sequence, withParameters } from './support/layers.js';
import { cpu } from './support/sides.js';

const [B, T, C] = [2, 9, 16];
const tilesOf = (kind: string) => (kind === 'tiled' ? { minTile: 1, tileSize: 4 } : {});
const shannon = (row: ArrayLike<number>) =>
  Array.from(row).reduce((h, p) => (p > 0 ? h - p * Math.log(p) : h), 0);

describe('metrics', () => {
  let runtime: Runtime;
  beforeEach(() => {
    runtime = new Runtime(cpu.options);
    useRuntime(runtime);
  });
  afterEach(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  const measured = attentionKinds.flatMap((kind) =>
    configsOf(kind).map((config) => ({ kind, config, name: `${kind.kind} ${JSON.stringify(config)}` })),
  );

  it.each(measured)(
    '$name: rows of weights that sum to 1 and have the entropy told, or a refusal',
    async ({ kind, config }) => {
      const layer = layerOf(kind, config);
      const x = sequence(B, T, C);
      const rope = kind.supports.rope ? new Rotary({ dim: layer.rotaryDim - (layer.rotaryDim % 2) }) : null;
      const before = outputOf(layer, x, { rope });
      const heads = Array.from({ length: layer.config.heads }, (_, h) => h);
      if (layer instanceof QuantumGeometricAttention) await layer.get_metrics(); // reads what it measured
      const tensors = runtime.tensors;
      let m: Awaited<ReturnType<typeof layer.metrics>>;
      try {
        m = await layer.metrics(x, { heads, rope });
      } catch (error) {
        expectTyped(error, { code: 'ATTN_ARGUMENT', op: kind.name, says: /no rows of weights/ });
        expect(kind.complexity.time).not.toBe('T^2');
        return;
      }
      expect(runtime.tensors).toBe(tensors + 1); // the maps, and nothing else
      expect(outputOf(layer, x, { rope })).toEqual(before);
      expect(m.shape).toEqual([B, heads.length, T]);
      expect(m.maps!.shape).toEqual([B, heads.length, T, T]);
      const weights = (await m.maps!.data()) as Float32Array;
      const order = layer.config.causal;
      for (let r = 0; r < B * heads.length * T; r++) {
        const row = weights.subarray(r * T, (r + 1) * T);
        expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5);
        if (order) expect(row.subarray((r % T) + 1).every((p) => p === 0)).toBe(true);
        expect(m.rows[r]).toBeCloseTo(shannon(row), 4);
      }
      heads.forEach((h) => {
        let mean = 0;
        for (let b = 0; b < B; b++)
          for (let t = 0; t < T; t++) mean += m.rows[(b * heads.length + h) * T + t]! / (B * T);
        expect(m.entropy[h]).toBeCloseTo(mean, 6);
        expect(mean).toBeLessThanOrEqual(m.uniform + 1e-5);
      });
      m.maps!.dispose();
    },
  );

  it('maps times values are what the heads see', async () => {
    const layer = layerOf(attentionKind('flash'), { dim: C, heads: 4, kvHeads: 2 });
    const x = sequence(B, T, C);
    const { maps } = await layer.metrics(x, { heads: [3, 0] });
    await scope(async () => {
      const qkv = noGrad(() => (layer as unknown as { qkv: { heads(x: Tensor): Tensor } }).qkv.heads(x));
      const v = qkv.slice({ starts: [0, 0, 7], ends: [B, T, 8] }); // head 3 reads the second head of values
      const seen = matmul(maps!.slice({ ends: [B, 1] }), permute(v, { axes: [0, 2, 1, 3] }));
      const captured: Tensor[] = [];
      const out = layer as unknown as { out: { forward(h: Tensor, o?: object): Tensor } };
      const forward = out.out.forward.bind(out.out);
      out.out.forward = (h, o) => {
        captured.push(keep(h.mul(1)));
        return forward(h, o);
      };
      noGrad(() => layer.forward(x));
      const [h, want] = await Promise.all([captured[0]!.data(), seen.data()]);
      for (let b = 0; b < B; b++)
        for (let t = 0; t < T; t++)
          for (let d = 0; d < 4; d++)
            expect(h[(b * T + t) * C + 3 * 4 + d]).toBeCloseTo(want[(b * T + t) * 4 + d]!, 5);
    });
    maps!.dispose();
  });

  it('without scores a layer attends as the uniform causal baseline says', async () => {
    const kinds = ['flash', 'mha', 'tiled'].map(attentionKind);
    const base = await causalBaseline(T);
    for (const kind of kinds) {
      const layer = layerOf(kind, { dim: C, heads: 2 });
      const zeros = layer.parameters().map((p) => tensor(new Float32Array(p.size), p.shape));
      const m = await withParameters(layer, zeros, () =>
        layer.metrics(sequence(1, T, C), { heads: [1], regions: 3, mps: 'prime' }),
      );
      for (const h of m.entropy) expect(h).toBeCloseTo(base.row, 5);
      expect(m.uniform).toBeCloseTo(base.row, 12);
      expect(m.entanglement!.operator[0]).toBeCloseTo(base.operator, 5);
      expect(m.entanglement!.regions.length).toBe(3);
      expect(m.mps!.entropy[1]).toBeCloseTo(base.operator, 5); // 9 = 3 · 3: the second bond parts rows from columns
    }
  });

  it.each(attentionKinds.filter(({ supports }) => supports.alibi))(
    '$kind: distances lower weights as ALiBi says where scores are alike',
    async (kind) => {
      const H = 4;
      const layer = layerOf(kind, { dim: C, heads: H, alibi: true });
      const zeros = layer.parameters().map((p) => tensor(new Float32Array(p.size), p.shape));
      const { maps } = await withParameters(layer, zeros, () =>
        layer.metrics(sequence(1, T, C), { heads: [0, 1, 2, 3] }),
      );
      const got = await maps!.data();
      for (let h = 0; h < H; h++)
        for (let i = 0; i < T; i++) {
          const fall = (j: number) => Math.exp(-(2 ** ((-8 * (h + 1)) / H)) * (i - j));
          const total = Array.from({ length: i + 1 }, (_, j) => fall(j)).reduce((a, b) => a + b);
          for (let j = 0; j <= i; j++) expect(got[(h * T + i) * T + j]).toBeCloseTo(fall(j) / total, 5);
        }
      maps!.dispose();
    },
  );

  it('windows and padding show; regions alone take every head', async () => {
    const layer = layerOf(attentionKind('flash'), { dim: C, heads: 2, window: 2 });
    const mask = tensor(
      Uint8Array.from({ length: T }, (_, i) => Number(i > 0)),
      [1, T],
      { dtype: 'bool' },
    );
    const m = await layer.metrics(sequence(1, T, C), { mask, regions: 2 });
    expect(m.maps).toBeNull();
    expect(m.entanglement!.lead).toEqual([1, 2]);
    expect(m.rows[0]).toBe(0); // sees padding alone
    expect(m.uniform).toBeCloseTo(((T - 1) * Math.LN2) / T, 12);
  });

  it.each(['flash', 'mha', 'tiled'])(
    '%s: under autocast the figures are nearly those of float32',
    async (kind) => {
      const layer = layerOf(attentionKind(kind), { dim: C, heads: 2, ...tilesOf(kind) });
      const x = sequence(B, T, C);
      const [exact, half] = [
        await layer.metrics(x, { heads: [0, 1] }),
        await autocast('bfloat16', () => layer.metrics(x, { heads: [0, 1] })),
      ];
      expect(half.maps!.dtype).toBe('float32');
      exact.rows.forEach((h, i) => {
        expect(Math.abs(half.rows[i]! - h)).toBeLessThan(0.03);
      });
      const [maps, wanted] = [half.maps!.dataSync(), exact.maps!.dataSync()];
      wanted.forEach((w, i) => {
        expect(Math.abs(maps[i]! - w)).toBeLessThan(0.01);
      });
      if (!(layer instanceof QuantumGeometricAttention)) return;
      const figures = await layer.get_metrics(x);
      const rough = await autocast('bfloat16', () => layer.get_metrics(x));
      for (const figure of ['entropy', 'density', 'flow', 'edges', 'stability'] as const)
        expect(Math.abs(rough[figure] - figures[figure]), figure).toBeLessThan(0.005);
    },
  );

  it('a layer in training goes on as if it had not been looked at', async () => {
    for (const kind of ['flash', 'tiled']) {
      const layer = layerOf(attentionKind(kind), { dim: C, heads: 2, dropout: 0.5, ...tilesOf(kind) });
      const { state } = generator;
      const m = await layer.metrics(sequence(1, T, C));
      expect(m.rows.length).toBe(2 * T);
      expect(generator.state).toEqual(state);
      expect(layer.training).toBe(true);
      if (layer instanceof QuantumGeometricAttention)
        // Nor was it counted: the first call is the one that measures.
        expectTyped(await failureOf(() => layer.get_metrics()), { code: 'ATTN_ARGUMENT' });
    }
  });

  it('tells every call of every layer of a model, from one pass', async () => {
    const small = { vocab: 11, length: T, layers: 3, dim: C, heads: 2 };
    const ids = tensor(
      Int32Array.from({ length: B * T }, (_, i) => (i * 7 + 1) % 11),
      [B, T],
    );
    for (const shared of [false, true]) {
      const model = new GPT({ ...small, shared, attention: { kind: 'flash', window: 4 } }).eval();
      const { tensors } = runtime;
      const found = await layerEntropies(model, () => model.forward(ids));
      expect(runtime.tensors).toBe(tensors);
      expect(found.map(({ kind }) => kind)).toEqual(['flash', 'flash', 'flash']);
      let r = noGrad(() => model.embed(ids));
      for (const [i, { heads, uniform }] of found.entries()) {
        const { norm1, attention } = model.blocks[shared ? 0 : i]!;
        const expected = await attention!.metrics(noGrad(() => norm1!.forward(r)));
        expect(heads!.length).toBe(2);
        heads!.forEach((h, head) => {
          expect(h).toBeCloseTo(expected.entropy[head]!, 5);
        });
        expect(uniform).toBe(expected.uniform);
        r = noGrad(() => model.apply(i, r));
      }
    }
  });

  it('refuses heads that there are not', async () => {
    const layer = layerOf(attentionKind('flash'), { dim: C, heads: 2 });
    const tensors = runtime.tensors;
    const x = sequence(1, T, C);
    for (const heads of [[2], [-1], [0.5]])
      expectTyped(await failureOf(() => layer.metrics(x, { heads })), {
        code: 'ATTN_ARGUMENT',
        op: 'FlashAttention',
      });
    expect(runtime.tensors).toBe(tensors + 1);
    expectTyped(await failureOf(() => layer.metrics(sequence(1, T, 3))), { code: 'ATTN_SHAPE' });
  });
});

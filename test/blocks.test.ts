/** Blocks: each form is its formula, on both sides, in halves, from a cache; shared blocks; models that are published. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inFloat64 } from '../src/autograd/gradcheck.js';
import { autocast, gradcheck, manualSeed, noGrad, scope } from '../src/index.js';
import {
  type BlockForm,
  blockForms,
  GPT,
  type GPTConfig,
  gptSchema,
  modelSchema,
} from '../src/model/index.js';
import { AdamW } from '../src/optim/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { noise, sequence, withParameters, worst } from './support/layers.js';
import { cpu, sides } from './support/sides.js';

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

const forms = Object.keys(blockForms) as BlockForm[];
const small: GPTConfig = { vocab: 11, layers: 3, dim: 16, heads: 4, length: 8 };
const ids = (batch: number, length: number, step = 3) =>
  tensor(
    Int32Array.from({ length: batch * length }, (_, i) => (i * step + 1) % 11),
    [batch, length],
  );
const floats = (t: Tensor) => t.dataSync() as Float32Array;

/** What the forms say, a second time: of the stream r, norms n and n2, attention a and MLP m. */
type Branch = (x: Tensor) => Tensor;
const formulas: Record<BlockForm, (r: Tensor, n: Branch, n2: Branch, a: Branch, m: Branch) => Tensor> = {
  sequential: (r, n, n2, a, m) => r.add(a(n(r))).add(m(n2(r.add(a(n(r)))))),
  parallel: (r, n, _, a, m) => r.add(a(n(r))).add(m(n(r))),
  axm: (r, n, _, a, m) => r.add(a(n(r)).mul(m(n(r)))),
  timesplus: (r, n, n2, a, m) => r.mul(a(n(r))).add(m(n2(r.mul(a(n(r)))))),
  plustimes: (r, n, n2, a, m) => r.add(a(n(r))).mul(m(n2(r.add(a(n(r)))))),
  xplus: (r, n, n2, a, m) =>
    n(r)
      .add(a(n(r)))
      .add(m(n2(n(r).add(a(n(r)))))),
  escape: (r, n, n2, a, m) => r.add(m(n2(r.add(a(n(r)))))),
  noattn: (r, n, _, __, m) => r.add(m(n(r))),
  bare: (r, n, n2, a, m) => m(n2(a(n(r)))),
};

describe.each(forms)('block %s', (block) => {
  // Larger weights than those of a start, so that every term counts.
  const loud = (model: GPT) => {
    for (const p of model.parameters())
      noGrad(() => {
        const values = noise(p.size, p.size).map((v) => 0.4 * v + (p.rank === 1 ? 0.5 : 0));
        model.loadStateDict(
          Object.fromEntries(
            [...model.namedParameters()].flatMap(([name, q]) =>
              q === p ? [[name, tensor(values, [...p.shape])]] : [],
            ),
          ),
          { strict: false },
        );
      });
    return model;
  };

  it.each([1, 0.5, 2])('is its formula, attention times %f', (attentionScale) => {
    const model = loud(new GPT({ ...small, block, attentionScale }));
    const { norm1, norm2, attention, mlp } = model.blocks[1]!;
    const r = { shape: [2, 7, 16], values: noise(2 * 7 * 16, 5) };
    const got = inFloat64((x) => model.apply(1, x), [r]);
    const wanted = inFloat64(
      (x) =>
        formulas[block](
          x,
          (t) => norm1!.forward(t),
          (t) => norm2!.forward(t),
          (t) => attention!.forward(t).mul(attentionScale),
          (t) => mlp!.forward(t),
        ),
      [r],
    );
    expect(worst(got, wanted)).toBeLessThan(1e-12);
    expect(worst(got, r.values)).toBeGreaterThan(0.01);
  });

  it('has the gradient of its formula, shared or not', () => {
    for (const shared of [false, true]) {
      const model = loud(new GPT({ ...small, layers: 2, block, shared, attentionScale: 0.5 }));
      const f = (r: Tensor, ...parameters: Tensor[]) =>
        withParameters(model, parameters, () => model.unembed(model.apply(1, model.apply(0, r))));
      const { compared } = gradcheck(f, [sequence(1, 3, 16), ...model.parameters()], {
        samples: 2,
        tolerance: 2e-5,
      });
      expect(compared).toBeGreaterThan(15);
    }
  });

  it('learns, in float32 and in halves, and keeps its stream in float32', async () => {
    for (const shared of [false, true])
      for (const half of [false, true]) {
        // Streams that are multiplied, or thrown away, at each layer begin too small for a few steps to move.
        const layers = block === 'plustimes' || block === 'bare' ? 1 : 3;
        const model = new GPT({ ...small, layers, block, shared, norm: shared ? 'plain' : 'layer' });
        const optimizer = new AdamW(model.parameters(), { lr: 1e-2, maxNorm: 1 });
        const run = <T>(fn: () => T) => (half ? autocast('bfloat16', fn) : fn());
        const losses: number[] = [];
        for (let step = 0; step < 12; step++)
          losses.push(
            await scope(async () => {
              const loss = run(() => model.objective(ids(4, 8), ids(4, 8, 5)));
              loss.backward();
              optimizer.step();
              optimizer.zeroGrad();
              return loss.item();
            }),
          );
        expect(losses[11]!).toBeLessThan(losses[0]! - 0.1);
        expect(await optimizer.skippedSteps()).toBe(0);
        run(() => {
          // Of these two, y is what branches give; of the others it is the stream, or grows as large.
          const narrow = half && (block === 'axm' || block === 'bare');
          const watch = (y: Tensor) => expect(y.dtype).toBe(narrow ? 'bfloat16' : 'float32');
          expect(model.apply(0, model.embed(ids(1, 4)), { watch }).dtype).toBe('float32');
        });
        optimizer.dispose();
        model.dispose();
      }
  });

  it('sees no token before its turn, and decodes from its cache what it computes whole', () => {
    for (const shared of [false, true]) {
      const model = loud(
        new GPT({ ...small, block, shared, positions: block === 'noattn' ? 'learned' : 'rope' }),
      );
      const whole = noGrad(() => floats(model.forward(ids(2, 8))));
      expect(noGrad(() => floats(model.forward(ids(2, 8))))).toEqual(whole);
      const changed = ids(2, 8).dataSync();
      changed[6] = 0;
      const other = noGrad(() => floats(model.forward(tensor(changed, [2, 8]))));
      expect(other.subarray(0, 66)).toEqual(whole.subarray(0, 66));
      expect(model.decodes).toBe(block !== 'noattn');
      if (!model.decodes) continue;
      using cache = model.newCache(2);
      expect(cache.layers.length).toBe(3);
      const size = Math.max(...whole.map(Math.abs));
      for (const [from, to] of [
        [0, 5],
        [5, 6],
        [6, 8],
      ] as const) {
        const part = ids(2, 8).slice({ starts: [0, from], ends: [2, to] });
        const y = noGrad(() => floats(model.forward(part, { cache })));
        for (const b of [0, 1])
          expect(
            worst(
              y.subarray(b * (to - from) * 11, (b + 1) * (to - from) * 11),
              whole.subarray((b * 8 + from) * 11, (b * 8 + to) * 11),
            ) / size,
          ).toBeLessThan(2e-5);
      }
    }
  });
});

const vulkan = sides.find(({ side }) => side === 'vulkan');
it.runIf(vulkan)('blocks compute on Vulkan what they compute on the CPU', () => {
  const run = (options: object) => {
    using other = new Runtime(options);
    useRuntime(other);
    const found = forms.map((block) => {
      manualSeed(3);
      const model = new GPT({ ...small, block, layers: 2, shared: true });
      model.objective(ids(2, 8), ids(2, 8, 5)).backward();
      const all = [model.forward(ids(2, 8)), ...model.parameters().map((p) => p.grad!)];
      return all.map((t) => Float32Array.from(floats(t)));
    });
    useRuntime(runtime);
    return found;
  };
  const wanted = run(cpu.options);
  run(vulkan!.options).forEach((tensors, form) => {
    tensors.forEach((values, i) => {
      const right = wanted[form]![i]!;
      const size = Math.max(1e-3, ...right.map(Math.abs));
      expect(worst(values, right) / size, `${forms[form]} ${i}`).toBeLessThan(1e-4);
    });
  });
});

describe('a shared block', () => {
  it('is one, with one norm, applied as often as there are layers', () => {
    const model = new GPT({ ...small, shared: true });
    expect([...model.namedParameters()].map(([name]) => name)).toEqual([
      'tokens.weight',
      'positions.weight',
      'blocks.0.norm1.weight',
      'blocks.0.norm1.bias',
      'blocks.0.attention.qkv.weight',
      'blocks.0.attention.qkv.bias',
      'blocks.0.attention.out.weight',
      'blocks.0.attention.out.bias',
      'blocks.0.mlp.up.weight',
      'blocks.0.mlp.up.bias',
      'blocks.0.mlp.down.weight',
      'blocks.0.mlp.down.bias',
    ]);
    expect(model.norm).toBe(model.blocks[0]!.norm2);
    const [C, V, T] = [16, 11, 8];
    expect(model.size).toBe(V * C + T * C + 2 * C + 4 * C * (C + 1) + (4 * C * (C + 1) + C * (4 * C + 1)));
    // Projections back begin small by the layers that there seem to be.
    const wide = new GPT({ ...small, shared: true, dim: 128, layers: 12 });
    const std = (t: Tensor) => Math.sqrt(floats(t).reduce((s, v) => s + v * v, 0) / t.size);
    expect(std(wide.blocks[0]!.mlp!.down.weight)).toBeCloseTo(0.02 / Math.sqrt(24), 4);
    const plain = new GPT({ ...small, dim: 128, layers: 12, init: 'plain' });
    expect(std(plain.blocks[3]!.mlp!.down.weight)).toBeCloseTo(0.02, 3);
    expect(std(plain.blocks[3]!.attention!.parameters()[2]!)).toBeCloseTo(0.02, 3);
  });

  it('gives its gradient once, of all its applications', () => {
    const shared = new GPT({ ...small, shared: true });
    const apart = new GPT(small);
    const dict = shared.stateDict();
    apart.loadStateDict(
      Object.fromEntries(
        [...apart.namedParameters()].map(([name]) => [
          name,
          dict[
            name
              .replace(/^blocks\.\d/, 'blocks.0')
              .replace('norm2', 'norm1')
              .replace(/^norm/, 'blocks.0.norm1')
          ]!,
        ]),
      ),
    );
    const losses = [shared, apart].map((model) => {
      const loss = model.objective(ids(2, 8), ids(2, 8, 5));
      loss.backward();
      return loss.itemSync();
    });
    expect(losses[0]).toBe(losses[1]);
    const name = 'mlp.up.weight';
    const sum = new Float64Array(16 * 64);
    for (const block of apart.blocks)
      floats(block.mlp!.up.weight.grad!).forEach((v, i) => {
        sum[i]! += v;
      });
    const grad = new Map(shared.namedParameters()).get(`blocks.0.${name}`)!.grad!;
    expect(worst(floats(grad), sum)).toBeLessThan(1e-6);
  });
});

describe('models that others published', () => {
  it('mini-Qwen3: QK-norm, grouped keys, SwiGLU, RMSNorm, rotation, a tied head', () => {
    const config: GPTConfig = {
      vocab: 64,
      length: 16,
      layers: 2,
      dim: 512,
      heads: 8,
      attention: { kind: 'flash', kvHeads: 2, qkNorm: true },
      mlp: 'swiglu',
      hidden: 1376,
      norm: 'rms',
      normEps: 1e-6,
      positions: 'rope',
      theta: 1e6,
      bias: false,
      init: 'plain',
    };
    const model = new GPT(config);
    const [C, D, hidden] = [512, 64, 1376];
    const layer = (8 + 2 + 2) * D * C + 8 * D * C + 2 * D + 3 * C * hidden + 2 * C;
    expect(model.size).toBe(64 * C + 2 * layer + C);
    expect(model.rope!.theta).toBe(1e6);
    const std = (t: Tensor) => Math.sqrt(floats(t).reduce((s, v) => s + v * v, 0) / t.size);
    for (const p of model.parameters()) if (p.rank === 2) expect(Math.abs(std(p) - 0.02)).toBeLessThan(4e-4);
    // Without positions: the weights of the trained model are all that it has.
    const dropped = new GPT({ ...config, positions: 'none' });
    dropped.loadStateDict(model.stateDict());
    const text = tensor(
      Int32Array.from({ length: 16 }, (_, i) => (7 * i) % 64),
      [1, 16],
    );
    const without = noGrad(() => floats(dropped.forward(text)));
    expect(
      worst(
        without,
        noGrad(() => floats(model.forward(text))),
      ),
    ).toBeGreaterThan(1e-4);
    model.rope!.drop();
    expect(noGrad(() => floats(model.forward(text)))).toEqual(without);
  });

  it('embedding, attention and head alone', () => {
    const model = new GPT({
      ...small,
      layers: 1,
      block: 'bare',
      norm: 'none',
      mlp: 'none',
      positions: 'rope',
      tied: false,
      bias: false,
      attention: { kind: 'triple' },
    });
    expect([...model.namedParameters()].map(([name]) => name.split('.')[0])).not.toContain('norm');
    expect(model.blocks[0]!.mlp).toBeNull();
    const h = model.blocks[0]!.attention!.forward(model.tokens.forward(ids(1, 5)), { rope: model.rope });
    expect(worst(floats(model.forward(ids(1, 5))), floats(model.head!.forward(h)))).toBeLessThan(1e-7);
  });

  it.each(['sequential', 'parallel', 'timesplus', 'plustimes', 'xplus'] as const)(
    '%s without an MLP is y of its formula',
    (block) => {
      const model = new GPT({ ...small, block, mlp: 'none' });
      expect(model.blocks[0]!.norm2).toBeNull();
      const r = sequence(1, 5, 16);
      let y: Float32Array | undefined;
      const next = model.apply(0, r, { watch: (t) => (y = Float32Array.from(floats(t))) });
      expect(floats(next)).toEqual(y);
    },
  );
});

describe('configurations that cannot be', () => {
  it('are refused by name', async () => {
    const refused = async (more: object, says: RegExp) =>
      expectTyped(await failureOf(() => new GPT({ ...small, ...more } as GPTConfig)), {
        code: 'ATTN_ARGUMENT',
        says,
      });
    await refused({ block: 'axm', mlp: 'none' }, /mlp is 'none', but a block 'axm' is made of an MLP/);
    await refused({ mlp: 'none', hidden: 64 }, /hidden is 64/);
    await refused(
      { block: 'noattn', positions: 'rope' },
      /positions is 'rope', but a block 'noattn' has no queries/,
    );
    await refused({ objective: 'exit5' }, /objective is 'exit5'.*shared is false/);
    await refused({ attention: { kind: 'flash', kvHeads: 3 } }, /attention.kvHeads is 3 of 4 heads/);
    await refused({ dim: 15 }, /dim is 15, heads is 4/);
    await refused({ attention: { kind: 'tt', rank: 99 } }, /attention.rank is 99.*\n.*from 1 to 16/);
    await refused({ block: 'sideways' }, /block/);
    await refused({ normEps: -1 }, /normEps is -1/);
    await refused({ attentionScale: Number.NaN }, /attentionScale is NaN/);
    await refused({ theta: 0 }, /theta is 0/);
    await refused({ sharde: true }, /sharde/);
    const model = new GPT({ ...small, block: 'noattn' });
    await expectTyped(await failureOf(() => model.newCache()), { code: 'ATTN_ARGUMENT', says: /'noattn'/ });
    // What a model holds makes the same model again.
    const made = new GPT({ ...small, block: 'axm', shared: true }).config;
    expect(gptSchema.parse(made)).toEqual(made);
    const { vocab: _, length: __, ...rest } = made;
    expect(modelSchema.safeParse(rest).success).toBe(true);
    expect(modelSchema.safeParse({ ...rest, mlp: 'none' }).error?.issues[0]?.path).toEqual(['mlp']);
  });
});

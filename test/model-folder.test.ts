/**
 * Models as folders: what is saved is loaded to the bit; models of transformers give here what they give there
 * (fixtures/make_hf.py), and the other way round (fixtures/check_hf.py, where ATTN_VK_TORCH_PYTHON names a Python that
 * has transformers).
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { noGrad } from '../src/autograd/modes.js';
import {
  type HostTensor,
  type LayoutName,
  loadModel,
  loadWeights,
  readNpy,
  readSafetensors,
  type SaveOptions,
  saveModel,
  writeNpy,
  writeSafetensors,
} from '../src/io/index.js';
import { GPT, type GPTConfig } from '../src/model/index.js';
import { AdamW } from '../src/optim/index.js';
import { AttnError, FormatError } from '../src/runtime/errors.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { generator, manualSeed } from '../src/tensor/generator.js';
import { scope } from '../src/tensor/scope.js';
import { tensor } from '../src/tensor/tensor.js';
import { makeTokenizer, type Tokenizer } from '../src/tokenizer/index.js';
import { failureOf } from './support/errors.js';
import { cpu, sides } from './support/sides.js';

const fixtures = fileURLToPath(new URL('./fixtures/', import.meta.url));
const theirs = ['gpt2', 'llama', 'qwen3'] as const;

const small = { vocab: 24, layers: 2, dim: 16, heads: 4, length: 12 };
const gpt2: GPTConfig = { ...small, mlp: 'gelu_tanh' };
const llama: GPTConfig = { ...small, norm: 'rms', mlp: 'swiglu', positions: 'rope', bias: false, hidden: 40 };
const qwen3: GPTConfig = { ...llama, attention: { kind: 'flash', kvHeads: 2, headDim: 6, qkNorm: true } };

let runtime: Runtime;
let folder: string;
const start = (options: Side['options']) => {
  runtime = new Runtime(options);
  useRuntime(runtime);
  manualSeed(1);
  folder = mkdtempSync(join(tmpdir(), 'attn-vk-'));
};
type Side = (typeof sides)[number];
const end = () => {
  expect(runtime.tensors, 'tensors that nobody ended').toBe(0);
  useRuntime(undefined);
  runtime.dispose();
  rmSync(folder, { recursive: true });
};

const bitsOf = async (model: GPT) => {
  const bits: Record<string, string> = {};
  for (const [name, p] of model.namedParameters())
    bits[name] = Buffer.from((await p.data()).buffer).toString('base64');
  return bits;
};

async function logitsOf(model: GPT, ids: Pick<HostTensor, 'data' | 'shape'>) {
  model.eval();
  using logits = noGrad(() => scope(() => model.forward(tensor(ids.data, ids.shape))));
  return { dtype: logits.dtype, shape: logits.shape, data: await logits.data() };
}

const furthest = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i]!)), 0);

/** A few steps of AdamW: no parameter is as it was made. */
async function trained(config: GPTConfig, steps = 3): Promise<GPT> {
  const model = new GPT(config);
  const optimizer = new AdamW(model.parameters(), { lr: 0.02 });
  for (let step = 0; step < steps; step++) {
    scope(() => {
      const row = Int32Array.from({ length: 13 }, (_, i) => (i * 5 + step * 7) % config.vocab);
      model.loss(tensor(row.slice(0, 12), [1, 12]), tensor(row.slice(1), [1, 12])).backward();
    });
    optimizer.step();
    optimizer.zeroGrad();
  }
  optimizer.dispose();
  return model;
}

const config = () => JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
const rewrite = (changes: object) =>
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config(), ...changes }));

describe.each(sides)('on $side', ({ options }) => {
  beforeEach(() => start(options));
  afterEach(end);

  it.each(theirs)('gives the logits of transformers: %s', async (name) => {
    const { model, layout } = await loadModel(join(fixtures, 'hf', name));
    const wanted = readNpy(join(fixtures, 'hf', name, 'logits.npy'));
    const got = await logitsOf(model, readNpy(join(fixtures, 'hf', name, 'ids.npy')));
    expect(layout).toBe(name);
    expect(got.shape).toEqual(wanted.shape);
    const worst = furthest(got.data, wanted.data);
    expect(worst).toBeLessThan(1e-4);
    if (process.env.ATTN_VK_TORCH_PYTHON)
      console.log(`${name}: logits differ by ${worst.toExponential(1)} at most`);
    model.dispose();
  });

  it('loads the very bits that were saved: subnormal numbers, signed zeros, infinities', async () => {
    const special = Float32Array.of(1e-40, -1e-45, -0, 0, Number.POSITIVE_INFINITY, -3.4e38, 1.17e-38, 0.1);
    for (const layout of ['gpt2', 'attn-vk'] as const) {
      const model = new GPT(gpt2);
      const weight = Float32Array.from({ length: 64 * 16 }, (_, i) => special[(i * 3) % 8]!);
      using t = tensor(weight, [64, 16]);
      model.loadStateDict({ 'blocks.1.mlp.up.weight': t }, { strict: false });
      await saveModel(folder, model, { layout });
      const again = await loadModel(folder);
      expect(await bitsOf(again.model)).toEqual(await bitsOf(model));
      again.model.dispose();
      model.dispose();
    }
  });
});

describe('saved and loaded', () => {
  beforeEach(() => start(cpu.options));
  afterEach(end);

  const models: [what: string, layout: LayoutName, config: GPTConfig][] = [
    ['GPT-2', 'gpt2', gpt2],
    ['GPT-2 with the exact GELU, an untied head, dropout', 'gpt2', { ...gpt2, mlp: 'gelu', tied: false, dropout: 0.1, hidden: 24 }],
    ['GPT-2 by its T × T matrix', 'gpt2', { ...gpt2, attention: { kind: 'mha' }, mlp: 'relu', normEps: 1e-3 }],
    ['Llama', 'llama', { ...llama, theta: 500, tied: false }],
    ['Llama with biases and grouped keys', 'llama', { ...llama, bias: true, attention: { kind: 'flash', kvHeads: 1 } }],
    ['Llama with larger heads', 'llama', { ...llama, attention: { kind: 'flash', headDim: 10 }, normEps: 1e-5 }],
    ['Qwen3', 'qwen3', qwen3],
    ['Qwen3 with matched parameters', 'qwen3', { ...qwen3, heads: 2, attention: { kind: 'flash', kvHeads: 1, qkNorm: true, matchParams: true } }],
    ['biases that GPT-2 has and this has not', 'attn-vk', { ...gpt2, bias: false }],
    ['layer norms with a rotation', 'attn-vk', { ...gpt2, positions: 'rope' }],
    ['a window', 'attn-vk', { ...llama, attention: { kind: 'flash', window: 4 } }],
    ['Qwen3 with biases', 'attn-vk', { ...qwen3, bias: true }],
    ['Qwen3 with another epsilon', 'attn-vk', { ...qwen3, normEps: 1e-5 }],
    ['a grouped GPT-2', 'attn-vk', { ...gpt2, attention: { kind: 'flash', kvHeads: 2 } }],
    ['attention of another kind', 'attn-vk', { ...small, attention: { kind: 'holo' } }],
    ['ALiBi', 'attn-vk', { ...gpt2, attention: { kind: 'flash', alibi: true } }],
    ['GPT-2 of which every layer was trained', 'gpt2', { ...gpt2, objective: 'all', init: 'plain' }],
    ['a confidence that was trained', 'attn-vk', { ...gpt2, objective: 'exit1' }],
    ['a block that is applied twice', 'attn-vk', { ...gpt2, shared: true }],
    ['branches side by side', 'attn-vk', { ...gpt2, block: 'parallel' }],
    ['attention scaled', 'attn-vk', { ...llama, attentionScale: 0.5 }],
    ['norms without gains', 'attn-vk', { ...gpt2, norm: 'plain' }],
    ['no mask', 'attn-vk', { ...gpt2, attention: { kind: 'flash', causal: false } }],
  ]; // biome-ignore format: a table
  it.each(models)('%s: %s', async (_, wanted, config) => {
    const model = await trained(config);
    await saveModel(folder, model);
    manualSeed(3);
    generator.next().dispose();
    const { model: again, layout, tokenizer } = await loadModel(folder);
    expect(generator.state, 'nothing was drawn').toEqual({ seed: 3, counter: 1 });
    expect(layout).toBe(wanted);
    expect(tokenizer).toBeNull();
    expect(again.config).toEqual(model.config);
    expect(await bitsOf(again)).toEqual(await bitsOf(model));
    // Saved anew, the files are the same: nothing depends on how a model came to be.
    const files = () => readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'base64')]);
    const before = files();
    await saveModel(folder, again);
    expect(files()).toEqual(before);
    model.dispose();
    again.dispose();
  });

  it('a rotation that was stretched, dropped or taken away, in the own layout', async () => {
    const model = new GPT(llama);
    const ids = { data: Int32Array.of(1, 2, 3, 4, 5), shape: [1, 5] };
    const turns: ((m: GPT) => void)[] = [
      (m) => {
        m.rope!.yarn = { factor: 4, trained: 12 };
      },
      (m) => m.rope!.drop({ temperature: 1.1 }),
      (m) => {
        m.rope!.dispose();
        m.rope = null;
      },
    ];
    for (const turn of turns) {
      turn(model);
      await saveModel(folder, model);
      const again = await loadModel(folder);
      expect(again.layout).toBe('attn-vk');
      expect(again.model.rope?.yarn).toEqual(model.rope?.yarn);
      expect(again.model.rope?.temperature).toBe(model.rope?.temperature);
      expect((await logitsOf(again.model, ids)).data).toEqual((await logitsOf(model, ids)).data);
      again.model.dispose();
    }
    expect(await failureOf(() => saveModel(folder, model, { layout: 'llama' }))).toMatchObject({
      code: 'ATTN_ARGUMENT',
      message: expect.stringContaining('the rotation was changed'),
    });
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    for (const rope of [
      {},
      [],
      5,
      true,
      { yarn: null },
      { yarn: 5, temperature: null },
      { yarn: null, temperature: '1' },
    ]) {
      config.attn_vk.rope = rope;
      writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
      expect(await failureOf(() => loadModel(folder)), JSON.stringify(rope)).toBeInstanceOf(FormatError);
    }
    model.dispose();
  });

  it.each([
    ['llama', llama],
    ['attn-vk', { ...small, attention: { kind: 'holo' } } as GPTConfig],
  ])('into a model that there is: %s', async (layout, config) => {
    const [saved, model] = [new GPT(config), new GPT(config)];
    await saveModel(folder, saved);
    expect((await bitsOf(model))['tokens.weight']).not.toBe((await bitsOf(saved))['tokens.weight']);
    loadWeights(folder, model);
    expect(await bitsOf(model)).toEqual(await bitsOf(saved));
    const before = await bitsOf(saved);
    for (const [change, says] of [
      [{ layers: 1 }, /blocks\.1\./],
      [{ layers: 3 }, /blocks\.2\./],
      [{ vocab: 25 }, /tokens.weight' .*\[24,16\].* \[25,16\]/],
      [{ hidden: 44 }, /mlp.up.weight'|mlp.up.bias'/],
      [{ tied: false }, /head.weight/],
    ] as const) {
      const other = new GPT({ ...config, ...change });
      const was = await bitsOf(other);
      const error = (await failureOf(() => loadWeights(folder, other))) as AttnError;
      expect(error).toMatchObject({ code: 'ATTN_CHECKPOINT' });
      expect(error.message).toMatch(says);
      expect(await bitsOf(other), 'nothing was written').toEqual(was);
      other.dispose();
    }
    expect(await bitsOf(saved)).toEqual(before);
    // A rotation has no parameters: DroPE goes on from such a model without it.
    if (layout === 'llama') {
      const without = new GPT({ ...config, positions: 'none' });
      loadWeights(folder, without);
      expect(await bitsOf(without)).toEqual(await bitsOf(saved));
      without.dispose();
    }
    saved.dispose();
    model.dispose();
  });

  it('with its tokenizer', async () => {
    const model = new GPT({ ...gpt2, vocab: 256 });
    const tokenizer = makeTokenizer({ kind: 'byte' }, new Uint8Array());
    await saveModel(folder, model, { tokenizer });
    const again = await loadModel(folder);
    expect(again.tokenizer!.vocab).toBe(256);
    expect([...again.tokenizer!.encode('häh')]).toEqual([...tokenizer.encode('häh')]);
    again.model.dispose();
    await saveModel(folder, model); // one that has none does not inherit it
    const bare = await loadModel(folder);
    expect(bare.tokenizer).toBeNull();
    model.dispose();
    bare.model.dispose();
  });

  it('takes no memory for a model that is larger than its weights', async () => {
    const model = new GPT({ ...small, block: 'parallel' });
    await saveModel(folder, model);
    model.dispose();
    const path = join(folder, 'config.json');
    const told = JSON.parse(readFileSync(path, 'utf8'));
    const { config } = told.attn_vk;
    const absurd = 2 ** 45; // values: nobody has room for them
    for (const change of [
      { length: absurd },
      { hidden: absurd },
      { layers: absurd },
      { attention: { kind: 'flash', headDim: absurd } },
      { mlp: 'swiglu' },
      { dim: 32 },
    ]) {
      writeFileSync(
        path,
        JSON.stringify({ ...told, attn_vk: { version: 1, config: { ...config, ...change } } }),
      );
      expect(await failureOf(() => loadModel(folder))).toMatchObject({
        code: 'ATTN_CHECKPOINT',
        message: expect.stringContaining('belong together'),
      });
    }
  });

  it('refuses a layout that cannot express the model, and writes nothing', async () => {
    const model = new GPT(gpt2);
    const refused = async (layout: string, says: RegExp) => {
      const error = await failureOf(() => saveModel(join(folder, 'new'), model, { layout } as SaveOptions));
      expect(error).toMatchObject({ code: 'ATTN_ARGUMENT' });
      expect((error as AttnError).message).toMatch(says);
    };
    await refused('llama', /'llama' cannot express the model: norm is 'layer'[\s\S]*'auto'/);
    await refused('gguf', /no layout 'gguf'[\s\S]*auto, attn-vk, gpt2, llama, qwen3/);
    expect(existsSync(join(folder, 'new'))).toBe(false);
    model.dispose();
  });
});

describe('folders of others', () => {
  beforeEach(() => start(cpu.options));
  afterEach(end);

  /** A copy of a fixture in one file, its tensors changed. */
  function copied(
    name: (typeof theirs)[number],
    change: (tensors: Record<string, HostTensor>) => void = () => {},
  ) {
    const from = join(fixtures, 'hf', name);
    cpSync(join(from, 'config.json'), join(folder, 'config.json'));
    const shards = readdirSync(from).filter((file) => file.endsWith('.safetensors'));
    const tensors = Object.assign({}, ...shards.map((file) => readSafetensors(join(from, file)).tensors));
    change(tensors);
    writeSafetensors(join(folder, 'model.safetensors'), tensors);
  }
  const rename = (tensors: Record<string, HostTensor>, from: string, to: string) => {
    for (const name of Object.keys(tensors))
      if (name.startsWith(from)) {
        tensors[to + name.slice(from.length)] = tensors[name]!;
        delete tensors[name];
      }
  };

  it.each([
    ['gpt2', 'transformer.', 'h.1.attn.masked_bias'],
    ['qwen3', 'model.', 'layers.1.self_attn.rotary_emb.inv_freq'],
  ] as const)(
    'of %s without the prefix %s and with a table of older versions',
    async (name, prefix, table) => {
      copied(name, (tensors) => {
        rename(tensors, prefix, '');
        tensors[table] = { dtype: 'float32', shape: [1], data: Float32Array.of(-1e4) };
      });
      const [plain, prefixed] = [await loadModel(folder), await loadModel(join(fixtures, 'hf', name))];
      expect(await bitsOf(plain.model)).toEqual(await bitsOf(prefixed.model));
      plain.model.dispose();
      prefixed.model.dispose();
    },
  );

  it('that hold the tied table twice, if it is the same', async () => {
    copied('gpt2', (tensors) => {
      tensors['lm_head.weight'] = tensors['transformer.wte.weight']!;
    });
    (await loadModel(folder)).model.dispose();
    copied('gpt2', (tensors) => {
      const { data } = tensors['transformer.wte.weight']!;
      tensors['lm_head.weight'] = { dtype: 'float32', shape: [64, 32], data: data.map((x) => x + 1) };
    });
    await expect(loadModel(folder)).rejects.toThrow(
      /'lm_head.weight' .* differs from 'transformer.wte.weight'/,
    );
  });

  it('that were saved here and changed there are what they say', async () => {
    const model = new GPT({ ...gpt2, dropout: 0.1, attention: { kind: 'mha' } });
    await saveModel(folder, model);
    const same = await loadModel(folder);
    expect(same.model.config).toEqual(model.config);
    rewrite({ activation_function: 'relu', transformers_version: '9' });
    const changed = await loadModel(folder);
    expect(changed.model.config).toMatchObject({ mlp: 'relu', dropout: 0.1, attention: { kind: 'flash' } });
    for (const m of [model, same.model, changed.model]) m.dispose();
  });

  it('as versions before 5 wrote them, with the base of the rotation beside it', async () => {
    cpSync(join(fixtures, 'hf', 'llama'), folder, { recursive: true });
    rewrite({ rope_parameters: undefined, rope_scaling: null, rope_theta: 500, head_dim: undefined });
    const [before, now] = [await loadModel(folder), await loadModel(join(fixtures, 'hf', 'llama'))];
    expect(before.model.config).toEqual(now.model.config);
    before.model.dispose();
    now.model.dispose();
  });

  const options: [name: (typeof theirs)[number], changes: object, code: string, says: RegExp][] = [
    ['gpt2', { scale_attn_weights: false }, 'ATTN_CONFIG', /scale_attn_weights is false/],
    ['gpt2', { scale_attn_by_inverse_layer_idx: true }, 'ATTN_CONFIG', /scale_attn_by_inverse_layer_idx is true/],
    ['gpt2', { add_cross_attention: true }, 'ATTN_CONFIG', /add_cross_attention/],
    ['gpt2', { activation_function: 'mish' }, 'ATTN_CONFIG', /activation_function is "mish"[\s\S]*gelu_new/],
    ['gpt2', { quantization_config: { bits: 4 } }, 'ATTN_CONFIG', /quantization_config/],
    ['gpt2', { n_layer: '2' }, 'ATTN_FORMAT', /n_layer is "2"[\s\S]*integer/],
    ['gpt2', { n_head: 5 }, 'ATTN_FORMAT', /describes no model: .*dim is 32, heads is 5/],
    ['gpt2', { n_layer: 3 }, 'ATTN_CHECKPOINT', /no 'transformer.h.2.ln_1.weight'/],
    ['gpt2', { n_layer: 1 }, 'ATTN_CHECKPOINT', /'transformer.h.1.attn.c_attn.bias' in .* is no weight/],
    ['gpt2', { n_layer: 2 ** 50 }, 'ATTN_CHECKPOINT', /no 'transformer.h.2.ln_1.weight'/],
    ['gpt2', { vocab_size: 2 ** 50 }, 'ATTN_CHECKPOINT', /'transformer.wte.weight' .* is \[64,32\], and \[1125899906842624,32\]/],
    ['gpt2', { tie_word_embeddings: false }, 'ATTN_CHECKPOINT', /no 'lm_head.weight'/],
    ['gpt2', { layer_norm_epsilon: -1 }, 'ATTN_FORMAT', /layer_norm_epsilon is -1/],
    ['gpt2', { model_type: 'bert' }, 'ATTN_FORMAT', /model_type is "bert"[\s\S]*gpt2, llama, qwen3/],
    ['gpt2', { attn_vk: { version: 2, config: {} } }, 'ATTN_FORMAT', /attn_vk.version is 2/],
    ['gpt2', { model_type: 'attn-vk' }, 'ATTN_FORMAT', /model_type is "attn-vk"/],
    ['gpt2', { model_type: 'attn-vk', attn_vk: { version: 1, config: { vocab: 3 } } }, 'ATTN_FORMAT', /attn_vk.config describes no model/],
    ['gpt2', { model_type: 'attn-vk', attn_vk: { version: 1, config: { ...small, layers: 1e9 } } }, 'ATTN_CHECKPOINT', /1000000000 layers/],
    ['llama', { rope_scaling: { rope_type: 'llama3', factor: 8 }, rope_parameters: null }, 'ATTN_CONFIG', /rope_scaling.rope_type is "llama3"/],
    ['llama', { rope_scaling: { type: 'linear', factor: 2 }, rope_parameters: null }, 'ATTN_CONFIG', /rope_scaling.type is "linear"/],
    ['llama', { rope_parameters: { rope_type: 'yarn', factor: 2 } }, 'ATTN_CONFIG', /rope_parameters.rope_type is "yarn"/],
    ['llama', { rope_parameters: { rope_theta: 'x' } }, 'ATTN_FORMAT', /rope_parameters.rope_theta is "x"/],
    ['llama', { partial_rotary_factor: 0.5 }, 'ATTN_CONFIG', /partial_rotary_factor is 0.5/],
    ['llama', { hidden_act: 'gelu' }, 'ATTN_CONFIG', /hidden_act is "gelu"/],
    ['llama', { attention_bias: true }, 'ATTN_CONFIG', /mlp_bias is false[\s\S]*attention_bias is true/],
    ['llama', { attention_bias: 1 }, 'ATTN_FORMAT', /attention_bias is 1/],
    ['llama', { num_key_value_heads: 3 }, 'ATTN_FORMAT', /describes no model/],
    ['llama', { head_dim: 6 }, 'ATTN_CHECKPOINT', /q_proj.weight' in .* is \[32,32\], and \[24,32\]/],
    ['llama', { hidden_size: undefined }, 'ATTN_FORMAT', /hidden_size is undefined/],
    ['qwen3', { attention_bias: true }, 'ATTN_CONFIG', /attention_bias is true/],
    ['qwen3', { use_sliding_window: true }, 'ATTN_CONFIG', /use_sliding_window is true/],
    ['qwen3', { rms_norm_eps: 1e-5 }, 'ATTN_CONFIG', /rms_norm_eps is 0.00001/],
  ]; // biome-ignore format: a table
  it.each(options)('of %s with %j are refused by name', async (name, changes, code, says) => {
    cpSync(join(fixtures, 'hf', name), folder, { recursive: true });
    rewrite(changes);
    const error = (await failureOf(() => loadModel(folder))) as AttnError;
    expect(error).toBeInstanceOf(AttnError);
    expect(error).toMatchObject({ code });
    expect(error.message).toMatch(says);
    expect(error.hint).toBeTruthy();
    if (code === 'ATTN_CONFIG')
      expect(error).toMatchObject({ path: expect.any(String), file: join(folder, 'config.json') });
  });

  it('whose weights are not what config.json says are refused by name', async () => {
    const refused = async (says: RegExp, change: (tensors: Record<string, HostTensor>) => void) => {
      copied('gpt2', change);
      const error = (await failureOf(() => loadModel(folder))) as AttnError;
      expect(error.message).toMatch(says);
      expect(error.message).toContain(folder);
      expect(error.hint).toBeTruthy();
    };
    const ints = { dtype: 'int32' as const, shape: [32], data: new Int32Array(32) };
    await refused(/'transformer.ln_f.bias' in .* is int32/, (t) => (t['transformer.ln_f.bias'] = ints));
    await refused(
      /'transformer.h.0.crossattention.q' .* no weight/,
      (t) => (t['transformer.h.0.crossattention.q'] = ints),
    );
    await refused(
      /'ln_f.bias' and 'transformer.ln_f.bias'|'transformer.ln_f.bias' and 'ln_f.bias'/,
      (t) => (t['ln_f.bias'] = t['transformer.ln_f.bias']!),
    );
    await refused(/no 'transformer.ln_f.bias'/, (t) => delete t['transformer.ln_f.bias']);
  });

  const llamaFolder = join(fixtures, 'hf', 'llama');
  const index = () => JSON.parse(readFileSync(join(llamaFolder, 'model.safetensors.index.json'), 'utf8'));
  const NORM = 'model.norm.weight';
  const shards: [what: string, map: (map: Record<string, unknown>) => unknown, says: RegExp][] = [
    ['no map', () => undefined, /has no weight_map/],
    ['a path that leads elsewhere', (map) => ({ ...map, [NORM]: '../x.safetensors' }), /"\.\.\/x.safetensors"[\s\S]*beside the index/],
    ['a number', (map) => ({ ...map, [NORM]: 3 }), /lies in 3/],
    ['a file that is not there', (map) => ({ ...map, [NORM]: 'x.safetensors' }), /cannot read .*x.safetensors/],
    ['a tensor that is not there', (map) => ({ ...map, more: map[NORM] }), /'more' lies in .*, where it is not/],
    ['a tensor that is not named', ({ [NORM]: _, ...map }) => map, /does not say that 'model.norm.weight' lies in/],
  ]; // biome-ignore format: a table
  it.each(shards)('in several files, with an index of %s', async (_, change, says) => {
    cpSync(llamaFolder, folder, { recursive: true });
    const { weight_map: map, ...rest } = index();
    writeFileSync(
      join(folder, 'model.safetensors.index.json'),
      JSON.stringify({ ...rest, weight_map: change(map) }),
    );
    await expect(loadModel(folder)).rejects.toThrow(says);
  });

  it('that are not whole say what is missing', async () => {
    await expect(loadModel(join(folder, 'none'))).rejects.toThrow(/there is no .*none.config.json/);
    writeFileSync(join(folder, 'config.json'), '{"model_type": "gpt2", "n_embd": 32, "n_head": 4}');
    await expect(loadModel(folder)).rejects.toThrow(/neither model.safetensors nor/);
    writeFileSync(join(folder, 'pytorch_model.bin'), '');
    await expect(loadModel(folder)).rejects.toThrow(/save it as safetensors/);
    writeFileSync(join(folder, 'model.safetensors'), 'cut');
    await expect(loadModel(folder)).rejects.toThrow(/it has 3 bytes/);
    writeFileSync(join(folder, 'config.json'), '{"model_type": "gpt2"');
    await expect(loadModel(folder)).rejects.toThrow(/config.json is not JSON/);
    writeFileSync(join(folder, 'config.json'), '[]');
    await expect(loadModel(folder)).rejects.toThrow(/config.json is JSON, but no object/);
  });
});

const python = process.env.ATTN_VK_TORCH_PYTHON;
describe.skipIf(!python)('in transformers', () => {
  beforeEach(() => start(cpu.options));
  afterEach(end);

  it('models that were trained here give the same logits, and tokenizers the same ids', async () => {
    const text = 'Bytes, ünï\tand 漢字 🙂  \n<s> and bytes and more bytes';
    const [bytes, pairs, characters] = (['byte', 'bpe', 'character'] as const).map((kind) =>
      makeTokenizer(kind === 'bpe' ? { kind, vocab: 270 } : { kind }, Buffer.from(text.repeat(3))),
    ) as [Tokenizer, Tokenizer, Tokenizer];
    const grouped = { kind: 'flash', kvHeads: 2, headDim: 6 };
    const models: [what: string, config: GPTConfig, tokenizer?: Tokenizer][] = [
      ['GPT2LMHeadModel', { ...gpt2, vocab: bytes.vocab }, bytes],
      ['GPT2LMHeadModel', { ...gpt2, mlp: 'gelu', tied: false, hidden: 24 }],
      ['LlamaForCausalLM', { ...llama, vocab: pairs.vocab, theta: 500 }, pairs],
      ['LlamaForCausalLM', { ...llama, bias: true, tied: false, attention: grouped }],
      ['Qwen3ForCausalLM', { ...qwen3, vocab: characters.vocab, theta: 1e6, tied: false }, characters],
    ];
    const folders: string[] = [];
    for (const [i, [, config, tokenizer]] of models.entries()) {
      const at = join(folder, String(i));
      const model = await trained(config, 20);
      await saveModel(at, model, { tokenizer });
      const ids = Int32Array.from({ length: 24 }, (_, k) => (k * k + 3 * k) % config.vocab);
      writeNpy(join(at, 'ids.npy'), { dtype: 'int32', shape: [2, 12], data: ids });
      writeNpy(join(at, 'logits.npy'), await logitsOf(model, { data: ids, shape: [2, 12] }));
      if (tokenizer) writeFileSync(join(at, 'text.json'), JSON.stringify({ text }));
      model.dispose();
      folders.push(at);
    }
    const output = execFileSync(python!, [join(fixtures, 'check_hf.py'), ...folders], { encoding: 'utf8' });
    const found = output.trim().split('\n').map((line) => JSON.parse(line)); // biome-ignore format: short
    for (const [i, [what, , tokenizer]] of models.entries()) {
      const sound = { class: what, dtype: 'torch.float32', missing: [], unexpected: [], mismatched: [] };
      expect(found[i]).toMatchObject(sound);
      expect(found[i].difference).toBeLessThan(1e-4);
      if (tokenizer) expect(found[i]).toMatchObject({ ids: [...tokenizer.encode(text)], text });
      console.log(`${what}: logits differ by ${found[i].difference.toExponential(1)} at most`);
    }
  }, 120_000);
});

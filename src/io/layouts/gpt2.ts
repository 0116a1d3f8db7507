/** GPT2LMHeadModel (Radford et al., 2019): layer norms, learned positions, biases; matrices lie as [in, out]. */
import type { GPTConfig } from '../../model/config.js';
import { log } from '../../runtime/log.js';
import { described, type Layout, refusesPlain, type Slot } from './layout.js';
import { ConfigReader } from './options.js';

/** Their activations; the last of ours to a name is the one written. */
const activations: readonly [theirs: string, ours: NonNullable<GPTConfig['mlp']>][] = [
  ['gelu_new', 'gelu_tanh'],
  ['gelu', 'gelu'],
  ['relu', 'relu'],
  ['silu', 'silu'],
  ['gelu_pytorch_tanh', 'gelu_tanh'],
  ['swish', 'silu'],
];

export const gpt2Layout: Layout = {
  name: 'gpt2',

  refuses(config) {
    const model = described(config);
    const { norm, mlp, positions, bias, dim, heads, attention } = model;
    if (norm !== 'layer') return `norm is '${norm}'`;
    if (!activations.some(([, ours]) => ours === mlp)) return `mlp is '${mlp}'`;
    if (positions !== 'learned') return `positions are '${positions}'`;
    if (!bias) return 'bias is false';
    if (attention.qkNorm) return 'qkNorm is true';
    if (attention.kvHeads !== heads) return `kvHeads is ${attention.kvHeads} of ${heads} heads`;
    if (attention.headDim * heads !== dim) return `headDim is ${attention.headDim}, not ${dim} / ${heads}`;
    return refusesPlain(model);
  },

  toConfig(config) {
    const { vocab, length, dim, layers, heads, hidden, mlp, normEps, dropout, tied } = described(config);
    return {
      model_type: 'gpt2',
      architectures: ['GPT2LMHeadModel'],
      vocab_size: vocab,
      n_positions: length,
      n_ctx: length,
      n_embd: dim,
      n_layer: layers,
      n_head: heads,
      n_inner: hidden,
      activation_function: activations.find(([, ours]) => ours === mlp)![0],
      layer_norm_epsilon: normEps,
      embd_pdrop: dropout,
      resid_pdrop: dropout,
      attn_pdrop: 0,
      tie_word_embeddings: tied,
    };
  },

  fromConfig(json, path) {
    const read = new ConfigReader(json, path);
    read.only('scale_attn_weights', true);
    read.only('scale_attn_by_inverse_layer_idx', false);
    read.only('add_cross_attention', false);
    read.only('quantization_config', null);
    const activation = read.text('activation_function', 'gelu_new');
    const mlp =
      activations.find(([theirs]) => theirs === activation)?.[1] ??
      read.refuse(
        'activation_function',
        activation,
        `those here are ${activations.map(([name]) => name).join(', ')}`,
      );
    const dim = read.size('n_embd', 768);
    const dropout = read.number('resid_pdrop', 0.1);
    for (const key of ['embd_pdrop', 'attn_pdrop'])
      if (read.number(key, 0.1) !== (key === 'attn_pdrop' ? 0 : dropout))
        log(
          'info',
          `${path}: ${key} is ${json[key]}; training here drops ${dropout} after embeddings and branches`,
        );
    return {
      vocab: read.size('vocab_size', 50257),
      length: read.size('n_positions', 1024),
      layers: read.size('n_layer', 12),
      dim,
      heads: read.size('n_head', 12),
      attention: { kind: 'flash' },
      mlp,
      hidden: read.size('n_inner', 4 * dim),
      norm: 'layer',
      normEps: read.number('layer_norm_epsilon', 1e-5),
      positions: 'learned',
      tied: read.flag('tie_word_embeddings', true),
      dropout,
      bias: true,
    };
  },

  *slots(config) {
    const { vocab, length, dim, layers, hidden, tied } = described(config);
    const matrix = (name: string, parameter: string, out: number, into: number): Slot[] => [
      { name: `${name}.weight`, parameter: `${parameter}.weight`, shape: [out, into], transposed: true },
      { name: `${name}.bias`, parameter: `${parameter}.bias`, shape: [out] },
    ];
    const norm = (name: string, parameter: string): Slot[] =>
      ['weight', 'bias'].map((part) => ({
        name: `${name}.${part}`,
        parameter: `${parameter}.${part}`,
        shape: [dim],
      }));
    yield { name: 'transformer.wte.weight', parameter: 'tokens.weight', shape: [vocab, dim] };
    yield { name: 'transformer.wpe.weight', parameter: 'positions.weight', shape: [length, dim] };
    for (let i = 0; i < layers; i++) {
      const [theirs, ours] = [`transformer.h.${i}`, `blocks.${i}`];
      yield* norm(`${theirs}.ln_1`, `${ours}.norm1`);
      yield* matrix(`${theirs}.attn.c_attn`, `${ours}.attention.qkv`, 3 * dim, dim);
      yield* matrix(`${theirs}.attn.c_proj`, `${ours}.attention.out`, dim, dim);
      yield* norm(`${theirs}.ln_2`, `${ours}.norm2`);
      yield* matrix(`${theirs}.mlp.c_fc`, `${ours}.mlp.up`, hidden, dim);
      yield* matrix(`${theirs}.mlp.c_proj`, `${ours}.mlp.down`, dim, hidden);
    }
    yield* norm('transformer.ln_f', 'norm');
    yield {
      name: 'lm_head.weight',
      parameter: tied ? 'tokens.weight' : 'head.weight',
      shape: [vocab, dim],
      copy: tied,
    };
  },

  canonical(name) {
    if (/(^|\.)attn\.(masked_)?bias$/.test(name)) return null; // the causal mask, in files of older versions
    return /^(transformer|lm_head)\./.test(name) ? name : `transformer.${name}`;
  },
};

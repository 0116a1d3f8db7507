/**
 * LlamaForCausalLM (Touvron et al., arXiv:2302.13971) and Qwen3ForCausalLM (arXiv:2505.09388): RMSNorm, SwiGLU, rotated
 * halves, grouped keys; Qwen3 with norms of queries and keys.
 */
import { QKNorm } from '../../attention/shared/heads.js';
import type { GPTConfig } from '../../model/config.js';
import { type Described, described, type Layout, refusesPlain, type Slot } from './layout.js';
import { ConfigReader } from './options.js';

/** Where the two differ. */
interface Variant {
  name: 'llama' | 'qwen3';
  architecture: string;
  qkNorm: boolean;
  refuses(model: Described): string | null;
  toConfig(model: Described): object;
  fromConfig(read: ConfigReader): { bias: boolean; headDim?: number };
}

const layoutOf = ({ name, architecture, qkNorm, ...variant }: Variant): Layout => ({
  name,

  refuses(config) {
    const model = described(config);
    const { norm, mlp, positions, attention } = model;
    if (norm !== 'rms') return `norm is '${norm}'`;
    if (mlp !== 'swiglu') return `mlp is '${mlp}'`;
    if (positions !== 'rope') return `positions are '${positions}'`;
    if (attention.qkNorm !== qkNorm) return `qkNorm is ${attention.qkNorm}`;
    return variant.refuses(model) ?? refusesPlain(model);
  },

  toConfig(config) {
    const model = described(config);
    const { vocab, length, dim, layers, heads, hidden, normEps, theta, tied, attention } = model;
    return {
      model_type: name,
      architectures: [architecture],
      vocab_size: vocab,
      max_position_embeddings: length,
      hidden_size: dim,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      num_key_value_heads: attention.kvHeads,
      head_dim: attention.headDim,
      intermediate_size: hidden,
      hidden_act: 'silu',
      rms_norm_eps: normEps,
      rope_theta: theta, // versions before 5 read this, later ones the next
      rope_parameters: { rope_type: 'default', rope_theta: theta },
      attention_dropout: 0,
      tie_word_embeddings: tied,
      ...variant.toConfig(model),
    };
  },

  fromConfig(json, path): GPTConfig {
    const read = new ConfigReader(json, path);
    read.only('hidden_act', 'silu');
    read.only('quantization_config', null);
    read.only('partial_rotary_factor', 1);
    const heads = read.size('num_attention_heads', 32);
    const { bias, headDim } = variant.fromConfig(read);
    return {
      vocab: read.size('vocab_size'),
      length: read.size('max_position_embeddings'),
      layers: read.size('num_hidden_layers'),
      dim: read.size('hidden_size'),
      heads,
      attention: {
        kind: 'flash',
        kvHeads: read.size('num_key_value_heads', heads),
        headDim: read.size('head_dim', headDim ?? Math.floor(read.size('hidden_size') / heads)),
        qkNorm,
      },
      mlp: 'swiglu',
      hidden: read.size('intermediate_size'),
      norm: 'rms',
      normEps: read.number('rms_norm_eps', 1e-6),
      positions: 'rope',
      theta: thetaOf(read),
      tied: read.flag('tie_word_embeddings', false),
      bias,
    };
  },

  *slots(config) {
    const { vocab, dim, layers, heads, hidden, tied, bias, attention } = described(config);
    const { kvHeads, headDim } = attention;
    /** Matrices, or vectors, of several names that are one of ours, one after the other. */
    const parts = (
      parameter: string,
      into: number,
      named: readonly [name: string, out: number][],
    ): Slot[] => {
      let from = 0;
      return named.flatMap(([name, out]) => {
        const at = named.length > 1 ? { from } : {};
        from += out;
        const weight = {
          name: `${name}.weight`,
          parameter: `${parameter}.weight`,
          shape: [out, into],
          ...at,
        };
        return bias
          ? [weight, { name: `${name}.bias`, parameter: `${parameter}.bias`, shape: [out], ...at }]
          : [weight];
      });
    };
    const gain = (name: string, parameter: string, size = dim): Slot => ({
      name: `${name}.weight`,
      parameter,
      shape: [size],
    });
    yield { name: 'model.embed_tokens.weight', parameter: 'tokens.weight', shape: [vocab, dim] };
    for (let i = 0; i < layers; i++) {
      const [theirs, ours] = [`model.layers.${i}`, `blocks.${i}`];
      yield gain(`${theirs}.input_layernorm`, `${ours}.norm1.weight`);
      yield* parts(`${ours}.attention.qkv`, dim, [
        [`${theirs}.self_attn.q_proj`, heads * headDim],
        [`${theirs}.self_attn.k_proj`, kvHeads * headDim],
        [`${theirs}.self_attn.v_proj`, kvHeads * headDim],
      ]);
      if (qkNorm) {
        yield gain(`${theirs}.self_attn.q_norm`, `${ours}.attention.norm.q`, headDim);
        yield gain(`${theirs}.self_attn.k_norm`, `${ours}.attention.norm.k`, headDim);
      }
      yield* parts(`${ours}.attention.out`, heads * headDim, [[`${theirs}.self_attn.o_proj`, dim]]);
      yield gain(`${theirs}.post_attention_layernorm`, `${ours}.norm2.weight`);
      yield* parts(`${ours}.mlp.up`, dim, [
        [`${theirs}.mlp.gate_proj`, hidden],
        [`${theirs}.mlp.up_proj`, hidden],
      ]);
      yield* parts(`${ours}.mlp.down`, hidden, [[`${theirs}.mlp.down_proj`, dim]]);
    }
    yield gain('model.norm', 'norm.weight');
    yield {
      name: 'lm_head.weight',
      parameter: tied ? 'tokens.weight' : 'head.weight',
      shape: [vocab, dim],
      copy: tied,
    };
  },

  canonical(name) {
    if (name.endsWith('.rotary_emb.inv_freq')) return null; // follows from theta; in files of older versions
    return /^(model|lm_head)\./.test(name) ? name : `model.${name}`;
  },
});

/** The base of the rotation, which nothing stretches. */
function thetaOf(read: ConfigReader): number {
  const { rope_parameters: now, rope_scaling: before } = read.json; // since version 5, until then
  const theta = read.number('rope_theta', 10000);
  if ((now ?? before ?? undefined) === undefined) return theta;
  const inner = read.inner(now ? 'rope_parameters' : 'rope_scaling');
  inner.only('rope_type', 'default');
  inner.only('type', 'default');
  inner.only('partial_rotary_factor', 1);
  return inner.number('rope_theta', theta);
}

export const llamaLayout = layoutOf({
  name: 'llama',
  architecture: 'LlamaForCausalLM',
  qkNorm: false,
  refuses: ({ dim, heads }) => (dim % heads === 0 ? null : `dim is ${dim}, no multiple of ${heads} heads`),
  toConfig: ({ bias }) => ({ attention_bias: bias, mlp_bias: bias }),
  fromConfig(read) {
    const bias = read.flag('attention_bias', false);
    if (read.flag('mlp_bias', false) !== bias)
      read.refuse('mlp_bias', !bias, `models here have all biases or none, and attention_bias is ${bias}`);
    return { bias };
  },
});

export const qwen3Layout = layoutOf({
  name: 'qwen3',
  architecture: 'Qwen3ForCausalLM',
  qkNorm: true,
  refuses: ({ bias, normEps }) =>
    bias
      ? 'bias is true'
      : normEps !== QKNorm.eps
        ? `normEps is ${normEps}, of queries and keys ${QKNorm.eps}`
        : null,
  toConfig: () => ({ attention_bias: false, use_sliding_window: false }),
  fromConfig(read) {
    read.only('attention_bias', false);
    read.only('rms_norm_eps', QKNorm.eps); // queries and keys have no other here
    read.only('use_sliding_window', false);
    return { bias: false, headDim: 128 };
  },
});

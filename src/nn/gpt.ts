/** A decoder of pre-norm blocks (Radford et al., "Language models are unsupervised multitask learners", 2019). */
import { add, crossEntropy, ropeTable, slice } from '../ops/index.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { keep, scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { SelfAttention, type SelfAttentionCall } from './attention.js';
import { checkProbability, checkSizes, checkTensor } from './check.js';
import { dropoutOf } from './dropout.js';
import { Embedding, sinusoids } from './embedding.js';
import { type GenerateOptions, generate } from './generate.js';
import { type Init, normal, residual, zeros } from './init.js';
import { Linear, MLP, productDType, project } from './linear.js';
import { Module } from './module.js';
import { LayerNorm, RMSNorm } from './norm.js';

export interface GPTConfig {
  vocab: number;
  layers: number;
  dim: number;
  heads: number;
  /** Heads of keys and values. Default: heads. */
  kvHeads?: number;
  /** The longest sequence. */
  length: number;
  /** Default 'gelu', exact. */
  mlp?: 'gelu' | 'gelu_tanh' | 'relu' | 'silu' | 'swiglu';
  /** Channels inside the MLP. Default 4 dim; for 'swiglu' 8/3 dim, rounded up to a multiple of 64. */
  hidden?: number;
  /** Default 'layer'. */
  norm?: 'layer' | 'rms';
  /** Default 'learned'. */
  positions?: 'learned' | 'sinusoidal' | 'rope' | 'none';
  /** Of the rotation: base of the wave lengths. Default 10000. */
  theta?: number;
  /** The head's weights are the table of tokens. Default true. */
  tied?: boolean;
  /** After the embeddings, and of each branch. Default 0. */
  dropout?: number;
  /** Biases of products and layer norms. Default true. */
  bias?: boolean;
  /** RMSNorm of queries and keys. Default false. */
  qkNorm?: boolean;
}

export interface LossOptions extends ForwardOptions {
  labelSmoothing?: number;
  /** Labels that do not count. Default -100. */
  ignoreIndex?: number;
}

export interface ForwardOptions {
  /** Tokens that may be seen: bool [batch, length]; false for padding. */
  mask?: Tensor;
}

/** x + attention(norm(x)), then x + mlp(norm(x)). */
export class Block extends Module {
  readonly norm1: LayerNorm | RMSNorm;
  readonly attention: SelfAttention;
  readonly norm2: LayerNorm | RMSNorm;
  readonly mlp: MLP;

  constructor(config: Pick<GPTConfig, 'layers' | 'dim' | 'heads'> & Partial<GPTConfig>) {
    super();
    const { layers, dim, heads, kvHeads, mlp, hidden, dropout, bias, qkNorm } = config;
    const inits = { init: normal(0.02), outInit: residual(layers), biasInit: zeros };
    this.norm1 = normOf(config);
    this.attention = new SelfAttention(dim, heads, { kvHeads, dropout, bias, qkNorm, ...inits });
    this.norm2 = normOf(config);
    this.mlp = new MLP(dim, { kind: mlp, hidden, dropout, bias, ...inits });
  }

  forward(x: Tensor, call: Omit<SelfAttentionCall, 'residual'> = {}): Tensor {
    const outDtype = productDType();
    return scope(() => {
      const y = this.attention.forward(this.norm1.forward(x, { outDtype }), { ...call, residual: x });
      return this.mlp.forward(this.norm2.forward(y, { outDtype }), { residual: y });
    });
  }
}

const normOf = ({ norm = 'layer', dim, bias = true }: Pick<GPTConfig, 'dim' | 'norm' | 'bias'>) =>
  norm === 'rms' ? new RMSNorm(dim) : new LayerNorm(dim, { bias });

export class GPT extends Module {
  readonly config: Readonly<GPTConfig>;
  readonly tokens: Embedding;
  readonly positions: Embedding | null;
  readonly blocks: Block[];
  readonly norm: LayerNorm | RMSNorm;
  /** Null where it is the table of tokens. */
  readonly head: Linear | null;
  /** What positions add or rotate by, where that is fixed. */
  readonly #table: Tensor | undefined;

  constructor(config: GPTConfig) {
    super();
    check(config);
    this.config = { ...config };
    const { vocab, layers, dim, heads, length, positions = 'learned', tied = true, theta = 10000 } = config;
    const init: Init = normal(0.02);
    this.tokens = new Embedding(vocab, dim, { init });
    this.positions = positions === 'learned' ? new Embedding(length, dim, { init }) : null;
    this.blocks = Array.from({ length: layers }, () => new Block(config));
    this.norm = normOf(config);
    this.head = tied ? null : new Linear(dim, vocab, { bias: false, init, role: 'table' });
    if (positions === 'sinusoidal') this.#table = keep(sinusoids(length, dim));
    if (positions === 'rope') this.#table = keep(ropeTable({ length, dim: dim / heads, theta }));
  }

  /** @param ids int32 [batch, length] → logits [batch, length, vocab] */
  forward(ids: Tensor, { mask }: ForwardOptions = {}): Tensor {
    const { config } = this;
    checkTensor('GPT', 'ids', ids);
    if (ids.rank !== 2 || ids.dtype !== 'int32' || ids.shape[1]! > config.length)
      throw new ShapeError(`ids are ${show(ids.shape, ids.dtype)}`, {
        op: 'GPT',
        hint: `int32 [batch, length], length up to ${config.length}`,
      });
    return scope(() => this.#logits(ids, mask));
  }

  /** Layers run in scopes of their own: what no gradient reads ends with the layer, not with the step. */
  #logits(ids: Tensor, mask: Tensor | undefined): Tensor {
    const { config, positions: learned } = this;
    const length = ids.shape[1]!;
    let x = this.tokens.forward(ids);
    const added = learned?.weight ?? (config.positions === 'sinusoidal' ? this.#table! : undefined);
    if (added) x = add(x, length < config.length ? slice(added, { ends: [length] }) : added);
    if (this.training && config.dropout) x = dropoutOf(x, config.dropout);
    const rope = config.positions === 'rope' ? this.#table! : undefined;
    for (const block of this.blocks) x = block.forward(x, { mask, rope });
    const h = this.norm.forward(x, { outDtype: productDType() });
    return project(h, this.head?.weight ?? this.tokens.weight, null);
  }

  /** Mean cross-entropy of the logits at `ids` against `labels`, int32 [batch, length]: a scalar. */
  loss(ids: Tensor, labels: Tensor, { mask, ...options }: LossOptions = {}): Tensor {
    return scope(() => crossEntropy(this.forward(ids, { mask }), labels, options));
  }

  /** `ids` [batch, length] and the tokens that follow: int32 [batch, length + tokens]. */
  generate(ids: Tensor, options: GenerateOptions): Promise<Tensor> {
    return generate(this, ids, this.config.length, options);
  }

  override dispose(): void {
    super.dispose();
    this.#table?.dispose();
  }
}

function check(config: GPTConfig): void {
  const op = 'GPT';
  const { vocab, layers, dim, heads, length, norm, positions, dropout = 0 } = config;
  checkSizes(op, { vocab, layers, dim, heads, length });
  checkProbability(op, dropout);
  if (norm !== undefined && norm !== 'layer' && norm !== 'rms')
    throw new ArgumentError(`unknown norm '${String(norm)}'`, { op, hint: "'layer' or 'rms'" });
  if (positions !== undefined && !['learned', 'sinusoidal', 'rope', 'none'].includes(positions))
    throw new ArgumentError(`unknown positions '${String(positions)}'`, {
      op,
      hint: 'learned, sinusoidal, rope or none',
    });
}

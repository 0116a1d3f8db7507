/** A decoder of pre-norm blocks (Radford et al., "Language models are unsupervised multitask learners", 2019). */
import type { Attention, AttentionCall } from '../attention/attention.js';
import { createAttention } from '../attention/registry.js';
import { type AttentionCache, allOrNothing } from '../attention/shared/cache.js';
import { parse } from '../attention/shared/config.js';
import { Rotary } from '../attention/shared/positions.js';
import { checkTensor } from '../nn/check.js';
import { dropoutOf } from '../nn/dropout.js';
import { Embedding, sinusoids } from '../nn/embedding.js';
import { type Init, normal, residual, zeros } from '../nn/init.js';
import { Linear, MLP, productDType, project } from '../nn/linear.js';
import { Module } from '../nn/module.js';
import { LayerNorm, RMSNorm } from '../nn/norm.js';
import { add, crossEntropy, slice } from '../ops/index.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { keep, scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkModel } from './check.js';
import { type GPTConfig, type GPTSettings, gptSchema } from './config.js';
import { type GenerateOptions, generate } from './generate.js';

export interface LossOptions extends Omit<ForwardOptions, 'cache'> {
  labelSmoothing?: number;
  /** Labels that do not count. Default -100. */
  ignoreIndex?: number;
}

export interface ForwardOptions {
  /** Tokens that may be seen, those in the cache first: bool [batch, tokens]; false for padding. */
  mask?: Tensor;
  /** The tokens before: see `newCache`. */
  cache?: ModelCache;
}

/** What a model remembers while it decodes: a cache for each layer. */
export class ModelCache {
  constructor(readonly layers: readonly AttentionCache[]) {}

  /** Tokens seen so far. */
  get length(): number {
    return this.layers[0]?.length ?? 0;
  }

  get bytes(): number {
    return this.layers.reduce((n, cache) => n + cache.bytes, 0);
  }

  reset(): void {
    for (const cache of this.layers) cache.reset();
  }

  dispose(): void {
    for (const cache of this.layers) cache.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** x + attention(norm(x)), then x + mlp(norm(x)). */
export class Block extends Module {
  readonly norm1: LayerNorm | RMSNorm;
  readonly attention: Attention;
  readonly norm2: LayerNorm | RMSNorm;
  readonly mlp: MLP;

  constructor(config: Pick<GPTConfig, 'layers' | 'dim' | 'heads'> & Partial<GPTConfig>) {
    super();
    const { layers, dim, heads, attention = { kind: 'flash' }, mlp, hidden, dropout, bias } = config;
    const inits = { init: normal(0.02), outInit: residual(layers), biasInit: zeros };
    this.norm1 = normOf(config);
    this.attention = createAttention({ ...attention, dim, heads, bias, dropout }, inits);
    this.norm2 = normOf(config);
    this.mlp = new MLP(dim, { kind: mlp === 'none' ? undefined : mlp, hidden, dropout, bias, ...inits });
  }

  forward(x: Tensor, call: Omit<AttentionCall, 'residual'> = {}): Tensor {
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
  readonly config: Readonly<GPTSettings>;
  readonly tokens: Embedding;
  readonly positions: Embedding | null;
  readonly blocks: Block[];
  readonly norm: LayerNorm | RMSNorm;
  /** Null where it is the table of tokens. */
  readonly head: Linear | null;
  /** What turns queries and keys. Null: nothing does, as with other positions or after DroPE (arXiv:2512.12167). */
  rope: Rotary | null = null;
  /** What sinusoidal positions add. */
  readonly #table: Tensor | undefined;

  constructor(config: GPTConfig) {
    super();
    const settings = parse('GPT', gptSchema as never, config) as unknown as GPTSettings;
    checkModel(settings);
    this.config = settings;
    const { vocab, layers, dim, length, positions, tied, theta } = settings;
    const init: Init = normal(0.02);
    this.tokens = new Embedding(vocab, dim, { init });
    this.positions = positions === 'learned' ? new Embedding(length, dim, { init }) : null;
    this.blocks = Array.from({ length: layers }, () => new Block(settings));
    this.norm = normOf(settings);
    this.head = tied ? null : new Linear(dim, vocab, { bias: false, init, role: 'table' });
    if (positions === 'sinusoidal') this.#table = keep(sinusoids(length, dim));
    if (positions === 'rope')
      this.rope = new Rotary({ dim: this.blocks[0]!.attention.rotaryDim, theta, length });
  }

  /** @param ids int32 [batch, length] → logits [batch, length, vocab] */
  forward(ids: Tensor, { mask, cache }: ForwardOptions = {}): Tensor {
    const { config } = this;
    checkTensor('GPT', 'ids', ids);
    if (cache !== undefined && !(cache instanceof ModelCache))
      throw new ArgumentError('the cache is not one of a model', {
        op: 'GPT',
        hint: 'newCache() of this model makes one',
      });
    const before = cache?.length ?? 0;
    if (ids.rank !== 2 || ids.dtype !== 'int32' || before + ids.shape[1]! > config.length)
      throw new ShapeError(`ids are ${show(ids.shape, ids.dtype)}${before ? ` after ${before}` : ''}`, {
        op: 'GPT',
        hint: `int32 [batch, length], length up to ${config.length - before}`,
      });
    if (cache && cache.layers.length !== config.layers)
      throw new ArgumentError(
        `the cache is of ${cache.layers.length} layers, the model of ${config.layers}`,
        {
          op: 'GPT',
          hint: 'newCache() of this model makes one',
        },
      );
    // All layers see the tokens, or, where one throws, none.
    return allOrNothing(cache?.layers ?? [], () => scope(() => this.#logits(ids, mask, cache)));
  }

  /** Whether every layer can be decoded token by token. */
  get decodes(): boolean {
    return this.blocks.every(
      ({ attention: { kind, config } }) => kind.complexity.cache !== null && config.causal,
    );
  }

  /** An empty memory for decoding `batch` sequences: `forward(ids, { cache })` then computes only what is new. */
  newCache(batch = 1): ModelCache {
    return new ModelCache(this.blocks.map(({ attention }) => attention.newCache(batch)));
  }

  /** Layers run in scopes of their own: what no gradient reads ends with the layer, not with the step. */
  #logits(ids: Tensor, mask: Tensor | undefined, cache: ModelCache | undefined): Tensor {
    const { config, positions: learned, rope } = this;
    const length = ids.shape[1]!;
    const from = cache?.length ?? 0;
    let x = this.tokens.forward(ids);
    const added = learned?.weight ?? this.#table;
    if (added)
      x = add(x, length < config.length ? slice(added, { starts: [from], ends: [from + length] }) : added);
    if (this.training && config.dropout) x = dropoutOf(x, config.dropout);
    this.blocks.forEach((block, i) => {
      x = block.forward(x, { mask, rope, cache: cache?.layers[i] });
    });
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
    this.rope?.dispose();
  }
}

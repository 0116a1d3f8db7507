/** A decoder of blocks (Radford et al., "Language models are unsupervised multitask learners", 2019) and its relatives. */
import { allOrNothing } from '../attention/shared/cache.js';
import { Rotary } from '../attention/shared/positions.js';
import { checkTensor } from '../nn/check.js';
import { dropoutOf } from '../nn/dropout.js';
import { Embedding, sinusoids } from '../nn/embedding.js';
import { type Init, normal } from '../nn/init.js';
import { Linear, productDType, project } from '../nn/linear.js';
import { Module } from '../nn/module.js';
import { add, crossEntropy, slice } from '../ops/index.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { keep, scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { Block, type BlockCall, type Norm, normOf } from './block.js';
import { ModelCache } from './cache.js';
import { type GPTConfig, type GPTSettings, settingsOf } from './config.js';
import { type ExitOptions, exitOf } from './exit.js';
import { type GenerateOptions, generate, type StreamOptions, stream } from './generate.js';
import { type LossOptions, minimised } from './objectives.js';

export interface ForwardOptions {
  /** Tokens that may be seen, those in the cache first: bool [batch, tokens]; false for padding. */
  mask?: Tensor;
  /** The tokens before: see `newCache`. */
  cache?: ModelCache;
}

export class GPT extends Module {
  readonly config: Readonly<GPTSettings>;
  readonly tokens: Embedding;
  readonly positions: Embedding | null;
  /** One for each layer; one alone where it is shared. */
  readonly blocks: Block[];
  /** That of the block, where it is shared. */
  readonly norm: Norm | null;
  /** Null where it is the table of tokens. */
  readonly head: Linear | null;
  /** What turns queries and keys. Null: nothing does, as with other positions or after DroPE (arXiv:2512.12167). */
  rope: Rotary | null = null;
  /** What sinusoidal positions add. */
  readonly #table: Tensor | undefined;

  constructor(config: GPTConfig) {
    super();
    const settings = settingsOf(config);
    this.config = settings;
    const { vocab, layers, dim, length, positions, tied, theta, shared } = settings;
    const init: Init = normal(0.02);
    this.tokens = new Embedding(vocab, dim, { init });
    this.positions = positions === 'learned' ? new Embedding(length, dim, { init }) : null;
    const norm = shared ? normOf(settings) : undefined;
    this.blocks = Array.from({ length: shared ? 1 : layers }, () => new Block(settings, norm));
    this.norm = norm === undefined ? normOf(settings) : norm;
    this.head = tied ? null : new Linear(dim, vocab, { bias: false, init, role: 'table' });
    if (positions === 'sinusoidal') this.#table = keep(sinusoids(length, dim));
    if (positions === 'rope')
      this.rope = new Rotary({ dim: this.blocks[0]!.attention!.rotaryDim, theta, length });
  }

  /** @param ids int32 [batch, length] → logits [batch, length, vocab] */
  forward(ids: Tensor, { mask, cache }: ForwardOptions = {}): Tensor {
    this.#check(ids, cache);
    // All layers see the tokens, or, where one throws, none. They run in scopes of their own: what no gradient reads ends
    // with the layer, not with the step.
    return allOrNothing(cache?.layers ?? [], () =>
      scope(() => {
        let r = this.embed(ids, cache?.length);
        for (let i = 0; i < this.applications; i++) r = this.apply(i, r, { mask, cache: cache?.layers[i] });
        return this.unembed(r);
      }),
    );
  }

  /** How often a block is applied: `layers`. */
  get applications(): number {
    return this.config.layers;
  }

  /** The residual stream before the first layer, [batch, length, dim], of tokens after `from` others. */
  embed(ids: Tensor, from = 0): Tensor {
    const { config, positions: learned } = this;
    const length = ids.shape[1]!;
    let r = this.tokens.forward(ids);
    const added = learned?.weight ?? this.#table;
    if (added)
      r = add(r, length < config.length ? slice(added, { starts: [from], ends: [from + length] }) : added);
    return this.training && config.dropout ? dropoutOf(r, config.dropout) : r;
  }

  /** The stream after layer `i`, from 0. */
  apply(i: number, r: Tensor, call: Omit<BlockCall, 'rope'> = {}): Tensor {
    return this.#block(i).forward(r, { ...call, rope: this.rope });
  }

  /** Logits of a stream: norm and head. */
  unembed(r: Tensor): Tensor {
    const h = this.norm ? this.norm.forward(r, { outDtype: productDType() }) : r;
    return project(h, this.head?.weight ?? this.tokens.weight, null);
  }

  /** Whether every layer can be decoded token by token. */
  get decodes(): boolean {
    return this.blocks.every(
      ({ attention }) => attention && attention.kind.complexity.cache !== null && attention.config.causal,
    );
  }

  /** An empty memory for decoding `batch` sequences: `forward(ids, { cache })` then computes only what is new. */
  newCache(batch = 1): ModelCache {
    return new ModelCache(
      Array.from({ length: this.applications }, (_, i) => {
        const { attention } = this.#block(i);
        if (!attention)
          throw new ArgumentError(`a block '${this.config.block}' remembers no tokens`, {
            op: 'GPT',
            hint: 'run the whole sequence instead',
          });
        return attention.newCache(batch);
      }),
    );
  }

  /** Mean cross-entropy of the logits at `ids` against `labels`, int32 [batch, length]: a scalar. */
  loss(ids: Tensor, labels: Tensor, { mask, ...options }: LossOptions = {}): Tensor {
    return scope(() => crossEntropy(this.forward(ids, { mask }), labels, options));
  }

  /** What training minimises, a scalar: the loss, or what `config.objective` says (objectives.ts has the formulas). */
  objective(ids: Tensor, labels: Tensor, options: LossOptions = {}): Tensor {
    const { objective } = this.config;
    if (objective === 'last') return this.loss(ids, labels, options);
    this.#check(ids);
    return scope(() => minimised(objective, this, ids, labels, options));
  }

  /**
   * Logits [batch, length, vocab] of the first layer that is sure enough, for models whose objective reads every layer:
   * see exit.ts.
   */
  exit(ids: Tensor, options: ExitOptions = {}): Promise<{ logits: Tensor; layer: number }> {
    this.#check(ids);
    return exitOf(this.config.objective, this, ids, options);
  }

  /** `ids` [batch, length] and the tokens that follow: int32 [batch, length + tokens]. */
  generate(ids: Tensor, options: GenerateOptions): Promise<Tensor> {
    return generate(this, ids, this.config.length, options);
  }

  /** The tokens that follow `ids`, [length] or [1, length], one by one as they are drawn. */
  stream(ids: Tensor, options: StreamOptions = {}): AsyncGenerator<number, void, undefined> {
    return stream(this, ids, this.config.length, options);
  }

  override dispose(): void {
    super.dispose();
    this.#table?.dispose();
    this.rope?.dispose();
  }

  #block(i: number): Block {
    return this.blocks[this.config.shared ? 0 : i]!;
  }

  #check(ids: Tensor, cache?: ModelCache): void {
    const { config } = this;
    const op = 'GPT';
    checkTensor(op, 'ids', ids);
    if (cache !== undefined && !(cache instanceof ModelCache))
      throw new ArgumentError('the cache is not one of a model', {
        op,
        hint: 'newCache() of this model makes one',
      });
    const before = cache?.length ?? 0;
    if (ids.rank !== 2 || ids.dtype !== 'int32' || before + ids.shape[1]! > config.length)
      throw new ShapeError(`ids are ${show(ids.shape, ids.dtype)}${before ? ` after ${before}` : ''}`, {
        op,
        hint: `int32 [batch, length], length up to ${config.length - before}`,
      });
    if (cache && cache.layers.length !== config.layers)
      throw new ArgumentError(
        `the cache is of ${cache.layers.length} layers, the model of ${config.layers}`,
        { op, hint: 'newCache() of this model makes one' },
      );
  }
}

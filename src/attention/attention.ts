/**
 * The contract of attention kinds: one object says everything about a kind, one class is its layer. Tests, benchmarks,
 * documents and configurations read the registry (registry.ts); masks, positions and caches are handled here, once.
 */
import { noGrad, recording } from '../autograd/modes.js';
import { checkProbability, checkTensor } from '../nn/check.js';
import type { Init } from '../nn/init.js';
import { type Projection, residualOf } from '../nn/linear.js';
import { Module } from '../nn/module.js';
import { slice } from '../ops/index.js';
import { ArgumentError, GradError, ShapeError } from '../runtime/errors.js';
import { onRuntime } from '../runtime/runtime.js';
import { scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttentionCache, allOrNothing } from './shared/cache.js';
import { type Config, type ConfigInput, type Options, type Schema, schemaOf } from './shared/config.js';
import { type AttentionMetrics, type MetricsOptions, metricsOf } from './shared/metrics.js';
import { Rotary } from './shared/positions.js';
import { checkCausal, resolve, rotaryDimOf, type Supports } from './shared/resolve.js';
import { entering } from './shared/watch.js';

export type { Supports };

/** Growth with the length T of the sequence. */
export type Growth = '1' | 'T' | 'T^2';

export interface Complexity {
  /** Of forward and backward. */
  time: Growth;
  /** Peak bytes of a training step. */
  memory: Growth;
  /** What decoding remembers; null: it cannot be decoded token by token. */
  cache: Growth | null;
}

export interface AttentionKind<O extends Options = Options> {
  /** As configurations name it: 'flash'. */
  readonly kind: string;
  /** Its class: 'FlashAttention'. */
  readonly name: string;
  /** One line. */
  readonly doc: string;
  /** Paper and equation. */
  readonly source: string;
  /** Options beside the common ones. */
  readonly options: O;
  readonly schema: Schema<O>;
  readonly complexity: Complexity;
  readonly supports: Supports;
  /** Configurations that tests walk besides the default one. */
  readonly samples: readonly Partial<ConfigInput<O>>[];
  /** Number of parameters of a layer: what `size` of the layer says. */
  parameters(config: Config<O>): number;
  /**
   * What schemas cannot say: options that contradict each other.
   * @throws ArgumentError whose message begins with the option at fault
   */
  check?(config: Config<O>): void;
  /** Channels of a head that a Rotary turns. Default: all, headDim. */
  rotaryDim?(config: Config<O>): number;
  create(config: ConfigInput<O>, inits?: AttentionInits): Attention<O>;
}

type Definition<O extends Options> = Omit<AttentionKind<O>, 'schema' | 'samples'> &
  Partial<Pick<AttentionKind<O>, 'samples'>>;

/** Makes a kind: it is registered by an `export *` line in index.ts. */
export const defineAttention = <O extends Options>(kind: Definition<O>): AttentionKind<O> =>
  Object.freeze({ samples: [], ...kind, schema: schemaOf(kind.kind, kind.options), [isKind]: true as const });

const isKind: unique symbol = Symbol('attention kind');
export const isAttentionKind = (x: unknown): x is AttentionKind =>
  typeof x === 'object' && x !== null && isKind in x;

/** Initial values of projections. */
export interface AttentionInits {
  init?: Init;
  /** Of the projection back. */
  outInit?: Init;
  biasInit?: Init;
}

export interface AttentionCall {
  /**
   * What may be seen: bool [batch, keys], false for padding, where keys are those of a cache and of x; or, where the
   * kind supports it, bool (kept where true) or float32 (added) that stretches to [batch, heads, length, keys].
   */
  mask?: Tensor;
  /** Default: the layer's own. */
  causal?: boolean;
  /** Turns queries and keys by their places. */
  rope?: Rotary | null;
  /** Places of the tokens, int32 [length] or [batch, length]. Default: after those in the cache. */
  positions?: Tensor;
  /** The tokens before: x are those after them, and are added to it. Not with gradients. */
  cache?: AttentionCache;
  /** Added to the result. */
  residual?: Tensor;
}

/** A call that is measured: it stands for itself. */
export type MeasuredCall = Omit<AttentionCall, 'cache' | 'residual'>;

/** A call, checked: what a kind's `attend` works from. */
export interface Context {
  batch: number;
  /** Of x. */
  length: number;
  /** Tokens before x: what the cache holds. */
  offset: number;
  causal: boolean;
  /** Rank 4: what the attention ops take. */
  mask: Tensor | undefined;
  /** bool [batch, length]: which tokens of x are no padding. */
  keep: Tensor | undefined;
  cache: AttentionCache | undefined;
  /**
   * x [batch, tokens, heads, channels] turned by the places of its tokens, those of the call from `from` on (default 0);
   * as it is without a rope.
   */
  rotate(x: Tensor, heads?: number, from?: number): Tensor;
}

/** A layer x [batch, length, dim] → [batch, length, dim]. A kind is a subclass and a call of `defineAttention`. */
export abstract class Attention<O extends Options = Options> extends Module {
  readonly config: Readonly<Config<O>>;
  readonly dropout: number;
  /** From the heads back to `dim`. */
  protected abstract readonly out: Projection & Module;

  constructor(
    readonly kind: AttentionKind<O>,
    config: ConfigInput<O>,
  ) {
    super();
    this.config = Object.freeze(resolve(kind, config));
    this.dropout = checkProbability(kind.name, this.config.dropout);
  }

  /** Channels that a Rotary for this layer turns. */
  get rotaryDim(): number {
    return rotaryDimOf(this.kind, this.config as Config<O>);
  }

  /** @param x [batch, length, dim] */
  forward(x: Tensor, call: AttentionCall = {}): Tensor {
    const { cache, residual } = call;
    checkTensor(this.kind.name, 'x', x);
    entering(this);
    return onRuntime(x.runtime, () =>
      scope(() => {
        const context = this.#context(x, call);
        // A call that throws leaves the cache as it was.
        return allOrNothing(cache ? [cache] : [], () => this.layer(x, context, residual));
      }),
    );
  }

  /** The whole layer: what the heads see, projected back. A kind may run it piece by piece. */
  protected layer(x: Tensor, context: Context, residual?: Tensor): Tensor {
    const o = this.attend(x, context);
    const h = o.rank === 3 ? o : o.reshape([context.batch, context.length, o.shape[2]! * o.shape[3]!]);
    return residualOf(this, this.out, h, residual);
  }

  /** An empty memory for decoding `batch` sequences. */
  newCache(batch = 1): AttentionCache {
    if (!Number.isInteger(batch) || batch < 1)
      throw new ArgumentError(`batch is ${String(batch)}`, { op: this.kind.name, hint: 'at least 1' });
    const cache = this.makeCache(batch);
    if (!cache)
      throw new ArgumentError(`'${this.kind.kind}' cannot be decoded token by token`, {
        op: this.kind.name,
        hint: 'run the whole sequence instead',
      });
    cache.kind = this.kind.kind;
    return cache;
  }

  /**
   * What the heads attend to on x: entropies of their rows, and on demand their maps and how these entangle tokens. The
   * forward pass is the usual one, without gradients. Kinds that sum over states have no rows and refuse.
   */
  metrics(x: Tensor, options: MetricsOptions & MeasuredCall = {}): Promise<AttentionMetrics> {
    const { heads, regions, mps, ...call } = options;
    const { causal = this.config.causal } = call;
    const { window } = this.config;
    const forward = () => this.watched(() => this.unnoticed(() => this.forward(x, call)));
    return metricsOf(this.kind.name, forward, { causal, window }, { heads, regions, mps });
  }

  /** Runs `fn`, which is not async, in which metrics look at this layer: a kind that counts its calls does not count these. */
  watched<T>(fn: () => T): T {
    return fn();
  }

  /** A forward pass that is only looked at: it leaves no gradient, and draws no dropout from the stream of training. */
  protected unnoticed(forward: () => Tensor): Tensor {
    const { training } = this;
    this.training = false;
    try {
      return noGrad(forward);
    } finally {
      this.training = training;
    }
  }

  /** What the heads see, before the projection back: [batch, length, heads, headDim] or [batch, length, heads headDim]. */
  protected abstract attend(x: Tensor, context: Context): Tensor;

  /** Null where the kind has no such thing. */
  protected abstract makeCache(batch: number): AttentionCache | null;

  #context(
    x: Tensor,
    { mask, causal = this.config.causal, rope, positions, cache, residual }: AttentionCall,
  ): Context {
    const { kind, config } = this;
    const op = kind.name;
    if (x.rank !== 3 || x.shape[2] !== config.dim)
      throw new ShapeError(`x is ${show(x.shape)}`, { op, hint: `it is [batch, length, ${config.dim}]` });
    const [batch, length] = x.shape as [number, number];
    if (residual && residual.shape.join() !== x.shape.join())
      throw new ShapeError(`the residual is ${show(residual.shape)} but x ${show(x.shape)}`, {
        op,
        hint: 'it is added to the result: as x',
      });
    if (causal !== config.causal) checkCausal(kind, causal);
    if (cache !== undefined) this.#checkCache(cache, batch, causal);
    const offset = cache?.length ?? 0;
    const turned = this.#rotary(rope);
    return {
      batch,
      length,
      offset,
      causal,
      cache,
      ...masksOf(kind, mask, { batch, length, keys: offset + length, heads: config.heads }),
      rotate: (t, heads, from = 0) =>
        turned
          ? turned.apply(t, {
              offset: offset + from,
              positions:
                positions && (t.shape[1] === length ? positions : placesOf(positions, from, t.shape[1]!)),
              heads,
            })
          : t,
    };
  }

  #checkCache(cache: AttentionCache, batch: number, causal: boolean): void {
    const op = this.kind.name;
    if (!(cache instanceof AttentionCache))
      throw new ArgumentError('the cache is not one of an attention layer', {
        op,
        hint: 'newCache() makes one',
      });
    if (cache.kind !== undefined && cache.kind !== this.kind.kind)
      throw new ArgumentError(`the cache is of '${cache.kind}'`, {
        op,
        hint: `a cache serves the layer that made it: newCache() of this '${this.kind.kind}'`,
      });
    if (cache.batch !== batch)
      throw new ArgumentError(`the cache is of a batch of ${cache.batch} but x of ${batch}`, {
        op,
        hint: 'a cache serves one batch: newCache(batch) for another',
      });
    if (!causal)
      throw new ArgumentError('a cache holds the past, but this call is not causal', {
        op,
        hint: 'decode with causal: true',
      });
    if (recording())
      throw new GradError('no gradient flows through a cache', { op, hint: 'decode inside noGrad(() => …)' });
  }

  #rotary(rope: Rotary | null | undefined): Rotary | undefined {
    if (!rope) return undefined;
    const { kind, rotaryDim } = this;
    if (!(rope instanceof Rotary))
      throw new ArgumentError('rope is no Rotary', { op: kind.name, hint: 'new Rotary({ dim: headDim })' });
    if (!kind.supports.rope)
      throw new ArgumentError(`'${kind.kind}' has no rotation`, { op: kind.name, hint: 'pass no rope' });
    if (kind.supports.stretch === false && rope.stretch !== 1)
      throw new ArgumentError(`the rope stretches what it turns by ${rope.stretch}`, {
        op: kind.name,
        hint: `'${kind.kind}' has no products q · k to sharpen: drop without a temperature, yarn with attention: 1`,
      });
    if (rope.dim > rotaryDim)
      throw new ArgumentError(`the rope turns ${rope.dim} channels of heads of ${rotaryDim}`, {
        op: kind.name,
        hint: `its dim is even, from 2 to ${rotaryDim}`,
      });
    return rope;
  }
}

/** Those of `length` tokens, of places [all] or [batch, all]. */
function placesOf(positions: Tensor, from: number, length: number): Tensor {
  const batch = positions.shape.slice(0, -1);
  return slice(positions, { starts: [...batch.map(() => 0), from], ends: [...batch, from + length] });
}

/** The masks of a call in both forms that kinds read. */
function masksOf(
  kind: AttentionKind,
  mask: Tensor | undefined,
  { batch, length, keys, heads }: { batch: number; length: number; keys: number; heads: number },
): Pick<Context, 'mask' | 'keep'> {
  if (mask === undefined) return { mask, keep: undefined };
  const op = kind.name;
  checkTensor(op, 'mask', mask);
  if (mask.rank === 2) {
    if (mask.dtype !== 'bool' || mask.shape[0] !== batch || mask.shape[1] !== keys)
      throw new ShapeError(`the mask is ${show(mask.shape, mask.dtype)}`, {
        op,
        hint: `one entry for each key: bool [${batch}, ${keys}]`,
      });
    return {
      mask: mask.reshape([batch, 1, 1, keys]),
      keep: keys === length ? mask : slice(mask, { starts: [0, keys - length] }),
    };
  }
  if (kind.supports.mask === 'keys')
    throw new ArgumentError(`'${kind.kind}' cannot represent the mask ${show(mask.shape, mask.dtype)}`, {
      op,
      hint: `it sums over keys and knows padding alone: bool [${batch}, ${keys}]`,
    });
  const wanted = [batch, heads, length, keys];
  const typed = mask.dtype === 'bool' || mask.dtype === 'float32';
  if (!typed || mask.rank !== 4 || mask.shape.some((d, i) => d !== 1 && d !== wanted[i]))
    throw new ShapeError(`the mask is ${show(mask.shape, mask.dtype)}`, {
      op,
      hint: `bool [${batch}, ${keys}], or bool or float32 that stretches to ${show(wanted)}`,
    });
  return { mask, keep: undefined };
}

/** Positions: rotation of queries and keys by the places of their tokens (Su et al., "RoFormer", arXiv:2104.09864). */
import { cast, mul, rope, ropeTable } from '../../ops/index.js';
import { ArgumentError } from '../../runtime/errors.js';
import { onRuntime } from '../../runtime/runtime.js';
import { keep, scope } from '../../tensor/scope.js';
import { type Tensor, tensor } from '../../tensor/tensor.js';
import { attentionFactor, type YarnOptions, yarnFrequencies } from './extension.js';

export interface RotaryOptions {
  /** Channels of a head that are turned: even, at most all of them. */
  dim: number;
  /** Base of the frequencies theta^(-2 i / dim). Default 10000. */
  theta?: number;
  /** Pairs are channels (2 i, 2 i + 1); else (i, i + dim / 2). Default false. */
  interleaved?: boolean;
  /** Places that the table has from the start; it grows when more are asked for. Default 256. */
  length?: number;
  /** Frequencies and temperature for sequences longer than those of training. */
  yarn?: YarnOptions;
}

export interface RotaryCall {
  /** Place of the first token: how many came before it. Default 0. */
  offset?: number;
  /** Places, int32 [length] or [batch, length], in place of offset, offset + 1, … They lie within the table. */
  positions?: Tensor;
  /** Only the first so many heads are turned. Default 0: all. */
  heads?: number;
}

/** A rotation that the layers of a model share. Its table grows with the places asked for. */
export class Rotary {
  readonly dim: number;
  readonly theta: number;
  readonly interleaved: boolean;
  #table: Tensor;
  #yarn: YarnOptions | undefined;
  /** Of logits while nothing is turned; undefined while it is. */
  #dropped: number | undefined;

  constructor({ dim, theta = 10000, interleaved = false, length = 256, yarn }: RotaryOptions) {
    if (!Number.isInteger(dim) || dim < 2 || dim % 2 !== 0)
      throw new ArgumentError(`dim is ${String(dim)}`, {
        op: 'Rotary',
        hint: 'pairs of channels are turned: it is an even number, at least 2',
      });
    this.dim = dim;
    this.theta = theta;
    this.interleaved = interleaved;
    this.#yarn = yarn;
    this.#table = this.#made(length);
  }

  /** What a trained model's rotation is stretched by; null for none. Caches made before no longer fit. */
  set yarn(options: YarnOptions | null) {
    const before = this.#yarn;
    this.#yarn = options ?? undefined;
    try {
      this.#remake(this.length);
    } catch (error) {
      this.#yarn = before;
      throw error;
    }
  }
  get yarn(): YarnOptions | null {
    return this.#yarn ?? null;
  }

  /** Factor of what is turned, of queries and of keys: YaRN's, or the root of DroPE's temperature; 1 without. */
  get stretch(): number {
    if (this.#dropped !== undefined) return Math.sqrt(this.#dropped);
    return this.#yarn ? attentionFactor(this.#yarn) : 1;
  }

  /**
   * From now on nothing is turned (DroPE): a model trained with rotation goes on without, as it is recalibrated for.
   * Logits q · k are multiplied by `temperature`, half of it on each side: see dropeTemperature. `restore` undoes it.
   */
  drop({ temperature = 1 }: { temperature?: number } = {}): void {
    if (!(temperature > 0) || !Number.isFinite(temperature))
      throw new ArgumentError(`temperature is ${String(temperature)}`, {
        op: 'Rotary',
        hint: 'it is a positive factor of the logits',
      });
    this.#dropped = temperature;
  }
  restore(): void {
    this.#dropped = undefined;
  }
  get dropped(): boolean {
    return this.#dropped !== undefined;
  }
  /** Of `drop`; null while there is a rotation. */
  get temperature(): number | null {
    return this.#dropped ?? null;
  }

  /** How many places the table has now. */
  get length(): number {
    return this.#table.shape[0]!;
  }

  /** x [batch, length, heads, channels] with the first `dim` channels of its heads turned. */
  apply(x: Tensor, { offset = 0, positions, heads = 0 }: RotaryCall = {}): Tensor {
    const { interleaved } = this;
    if (this.#dropped !== undefined) return this.#stretched(x, this.stretch, heads);
    if (positions) return rope(x, this.#table, positions, { heads, interleaved });
    const length = x.shape[1]!;
    this.grow(offset + length);
    if (offset === 0) return rope(x, this.#table, undefined, { heads, interleaved });
    return scope(() => {
      const places = tensor(
        Int32Array.from({ length }, (_, t) => offset + t),
        [length],
        { runtime: x.runtime },
      );
      return rope(x, this.#table, places, { heads, interleaved });
    });
  }

  /** Makes room for places 0 … length - 1. */
  grow(length: number): void {
    if (length > this.length) this.#remake(2 ** Math.ceil(Math.log2(length)));
  }

  dispose(): void {
    this.#table.dispose();
  }

  /** The first `heads` heads times `factor`; 0: all. */
  #stretched(x: Tensor, factor: number, heads: number): Tensor {
    if (factor === 1) return x;
    const all = x.shape[2]!;
    if (heads === 0 || heads === all) return mul(x, factor);
    return scope(() => {
      const each = Float32Array.from({ length: all }, (_, h) => (h < heads ? factor : 1));
      const factors = tensor(each, [all, 1], { runtime: x.runtime });
      return mul(x, x.dtype === 'float32' ? factors : cast(factors, { dtype: x.dtype }));
    });
  }

  #remake(length: number): void {
    const old = this.#table;
    this.#table = onRuntime(old.runtime, () => this.#made(length));
    old.dispose();
  }

  #made(length: number): Tensor {
    const { dim, theta } = this;
    const yarn = this.#yarn;
    return keep(
      ropeTable({
        length,
        dim,
        theta,
        ...(yarn && { frequencies: yarnFrequencies(dim, theta, yarn), factor: attentionFactor(yarn) }),
      }),
    );
  }
}

/** Positions: rotation of queries and keys by the places of their tokens (Su et al., "RoFormer", arXiv:2104.09864). */
import { rope, ropeTable } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import { keep, scope } from '../tensor/scope.js';
import { type Tensor, tensor } from '../tensor/tensor.js';

export interface RotaryOptions {
  /** Channels of a head that are turned: even, at most all of them. */
  dim: number;
  /** Base of the frequencies theta^(-2 i / dim). Default 10000. */
  theta?: number;
  /** Pairs are channels (2 i, 2 i + 1); else (i, i + dim / 2). Default false. */
  interleaved?: boolean;
  /** Places that the table has from the start; it grows when more are asked for. Default 256. */
  length?: number;
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

  constructor({ dim, theta = 10000, interleaved = false, length = 256 }: RotaryOptions) {
    if (!Number.isInteger(dim) || dim < 2 || dim % 2 !== 0)
      throw new ArgumentError(`dim is ${String(dim)}`, {
        op: 'Rotary',
        hint: 'pairs of channels are turned: it is an even number, at least 2',
      });
    this.dim = dim;
    this.theta = theta;
    this.interleaved = interleaved;
    this.#table = this.#made(length);
  }

  /** How many places the table has now. */
  get length(): number {
    return this.#table.shape[0]!;
  }

  /** x [batch, length, heads, channels] with the first `dim` channels of its heads turned. */
  apply(x: Tensor, { offset = 0, positions, heads = 0 }: RotaryCall = {}): Tensor {
    const { interleaved } = this;
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
    if (length <= this.length) return;
    const old = this.#table;
    this.#table = this.#made(2 ** Math.ceil(Math.log2(length)));
    old.dispose();
  }

  dispose(): void {
    this.#table.dispose();
  }

  #made(length: number): Tensor {
    return keep(ropeTable({ length, dim: this.dim, theta: this.theta }));
  }
}

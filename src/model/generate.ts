/** Sampling from a model's logits, token by token. */
import { noGrad } from '../autograd/modes.js';
import { checkTensor } from '../nn/check.js';
import type { Module } from '../nn/module.js';
import { slice } from '../ops/index.js';
import { philox } from '../ops/philox.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import type { Runtime } from '../runtime/runtime.js';
import { decode } from '../tensor/dtype.js';
import { scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import { type Tensor, tensor } from '../tensor/tensor.js';

export interface GenerateOptions {
  /** How many to add. */
  tokens: number;
  /** Logits are divided by it; 0 takes the greatest. Default 1. */
  temperature?: number;
  /** Only the so many greatest may be drawn. Default: all. */
  topK?: number;
  /** Equal seeds, equal texts. Default 0. */
  seed?: number;
}

/** A model that can be decoded token by token says so, and makes a cache. */
type Model = Module & {
  readonly decodes?: boolean;
  newCache?(batch: number): ModelCache;
  forward(ids: Tensor, options?: { cache?: ModelCache }): Tensor;
};

interface ModelCache {
  readonly length: number;
  dispose(): void;
}

/**
 * `ids` [batch, T] and what follows: [batch, T + tokens]. The model sees the last `length` tokens at each turn. While
 * the text is no longer than that, and the model can be decoded, only new tokens are computed.
 */
export async function generate(
  model: Model,
  ids: Tensor,
  length: number,
  { tokens, temperature = 1, topK = Number.POSITIVE_INFINITY, seed = 0 }: GenerateOptions,
): Promise<Tensor> {
  const op = 'generate';
  checkTensor(op, 'ids', ids);
  if (ids.rank !== 2 || ids.dtype !== 'int32' || ids.shape[1] === 0)
    throw new ShapeError(`ids are ${show(ids.shape, ids.dtype)}`, { op, hint: 'int32 [batch, length]' });
  if (!Number.isInteger(tokens) || tokens < 0)
    throw new ArgumentError(`tokens is ${String(tokens)}`, { op, hint: 'it is a number of tokens' });
  if (!(temperature >= 0) || !(topK >= 1) || !Number.isSafeInteger(seed) || seed < 0)
    throw new ArgumentError(`temperature ${temperature}, topK ${topK}, seed ${seed}`, {
      op,
      hint: 'the first is 0 or more, the second at least 1, the seed an integer',
    });
  const batch = ids.shape[0]!;
  const given = await ids.data();
  const rows = Array.from({ length: batch }, (_, b) => [
    ...given.subarray((b * given.length) / batch, ((b + 1) * given.length) / batch),
  ]);
  const modes = [...model.modules()].map((m) => [m, m.training] as const);
  model.eval();
  let cache: ModelCache | undefined;
  try {
    if (model.decodes && batch > 0 && tokens > 1) cache = model.newCache?.(batch);
    for (let step = 0; step < tokens; step++) {
      const decoding = cache && rows[0]!.length <= length ? cache : undefined;
      const fresh = rows.map((row) => row.slice(decoding ? decoding.length : -length));
      const logits = await lastLogits(model, fresh, ids.runtime, decoding);
      const vocab = logits.length / Math.max(1, batch);
      rows.forEach((row, b) => {
        const words = philox([step, b, 0, 0], [seed % 2 ** 32, Math.floor(seed / 2 ** 32)]);
        row.push(draw(logits.subarray(b * vocab, (b + 1) * vocab), words[0]! / 2 ** 32, temperature, topK));
      });
    }
  } finally {
    cache?.dispose();
    for (const [m, training] of modes) m.training = training;
  }
  return tensor(Int32Array.from(rows.flat()), [batch, ids.shape[1]! + tokens], { runtime: ids.runtime });
}

/** Logits after the last of the tokens, [batch, vocab]. */
const lastLogits = (model: Model, rows: readonly number[][], runtime: Runtime, cache?: ModelCache) =>
  noGrad(() =>
    scope(async () => {
      const length = rows[0]?.length ?? 0;
      const ids = tensor(Int32Array.from(rows.flat()), [rows.length, length], { runtime });
      const out = model.forward(ids, { cache });
      const end = slice(out, { starts: [0, length - 1], ends: [rows.length, length] });
      return decode(end.dtype, await end.data());
    }),
  );

/** The token at u in [0, 1) of the distribution softmax(logits / temperature) over the topK greatest. */
function draw(logits: Float64Array, u: number, temperature: number, topK: number): number {
  const order = Array.from(logits.keys()).sort((i, j) => logits[j]! - logits[i]! || i - j);
  if (temperature === 0) return order[0]!;
  const candidates = order.slice(0, topK);
  const weights = candidates.map((i) => Math.exp((logits[i]! - logits[order[0]!]!) / temperature));
  let left = u * weights.reduce((a, b) => a + b, 0);
  for (const [k, w] of weights.entries()) {
    left -= w;
    if (left < 0) return candidates[k]!;
  }
  return candidates.at(-1)!;
}

/** Sampling from a model's logits, token by token. */
import { noGrad } from '../autograd/modes.js';
import { checkTensor } from '../nn/check.js';
import { evaluating, type Module } from '../nn/module.js';
import { slice } from '../ops/index.js';
import { philox } from '../ops/philox.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import type { Runtime } from '../runtime/runtime.js';
import { decode } from '../tensor/dtype.js';
import { scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import { type Tensor, tensor } from '../tensor/tensor.js';

export interface StreamOptions {
  /** How many to add. Default: until the caller stops. */
  tokens?: number;
  /** Logits are divided by it; 0 takes the greatest. Default 1. */
  temperature?: number;
  /** Only the so many greatest may be drawn. Default: all. */
  topK?: number;
  /**
   * Only the fewest, of those, whose probabilities add up to it (Holtzman et al., "The curious case of neural text
   * degeneration", 2020). Default 1: all.
   */
  topP?: number;
  /** Equal seeds, equal texts. Default 0. */
  seed?: number;
  /**
   * Each token is that of the first layer whose confidence reaches this probability in every row: see GPT.exit. Without
   * a cache, since layers that are left out remember nothing.
   */
  exit?: number;
}

export interface GenerateOptions extends StreamOptions {
  tokens: number;
}

/** A model that can be decoded token by token says so, and makes a cache. */
type Model = Module & {
  readonly decodes?: boolean;
  newCache?(batch: number): ModelCache;
  forward(ids: Tensor, options?: { cache?: ModelCache }): Tensor;
  exit?(ids: Tensor, options: { confidence: number }): Promise<{ logits: Tensor }>;
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
  options: GenerateOptions,
): Promise<Tensor> {
  const op = 'generate';
  checkTensor(op, 'ids', ids);
  if (ids.rank !== 2 || ids.dtype !== 'int32' || ids.shape[1] === 0)
    throw new ShapeError(`ids are ${show(ids.shape, ids.dtype)}`, { op, hint: 'int32 [batch, length]' });
  checkCount(op, options?.tokens);
  const rows = await rowsOf(ids, ids.shape[0]!);
  for await (const _ of drawn(op, model, rows, length, ids.runtime, options));
  return tensor(Int32Array.from(rows.flat()), [rows.length, ids.shape[1]! + options.tokens], {
    runtime: ids.runtime,
  });
}

/** The tokens that follow `ids`, int32 [T] or [1, T], as they are drawn: those that `generate` would append. */
export async function* stream(
  model: Model,
  ids: Tensor,
  length: number,
  options: StreamOptions = {},
): AsyncGenerator<number, void, undefined> {
  const op = 'stream';
  checkTensor(op, 'ids', ids);
  const one = ids.rank === 1 || (ids.rank === 2 && ids.shape[0] === 1);
  if (!one || ids.dtype !== 'int32' || ids.size === 0)
    throw new ShapeError(`ids are ${show(ids.shape, ids.dtype)}`, {
      op,
      hint: 'int32 [length] or [1, length]',
    });
  if (options.tokens !== undefined) checkCount(op, options.tokens);
  for await (const [token] of drawn(op, model, await rowsOf(ids, 1), length, ids.runtime, options))
    yield token!;
}

async function rowsOf(ids: Tensor, batch: number): Promise<number[][]> {
  const given = await ids.data();
  return Array.from({ length: batch }, (_, b) => [
    ...given.subarray((b * given.length) / batch, ((b + 1) * given.length) / batch),
  ]) as number[][];
}

function checkCount(op: string, tokens: unknown): void {
  if (!Number.isInteger(tokens) || (tokens as number) < 0)
    throw new ArgumentError(`tokens is ${String(tokens)}`, { op, hint: 'it is a number of tokens' });
}

type Sampling = Required<Pick<StreamOptions, 'temperature' | 'topK' | 'topP' | 'seed'>>;

function checkSampling(op: string, { temperature, topK, topP, seed }: Sampling, exit: number | undefined) {
  const refuse = (name: string, value: unknown, hint: string) => {
    throw new ArgumentError(`${name} is ${String(value)}`, { op, hint });
  };
  if (!(temperature >= 0 && temperature < Number.POSITIVE_INFINITY))
    refuse('temperature', temperature, 'it is 0, for the likeliest token, or more');
  if (topK !== Number.POSITIVE_INFINITY && !(Number.isInteger(topK) && topK >= 1))
    refuse('topK', topK, 'it is a number of tokens, at least 1');
  if (!(topP > 0 && topP <= 1)) refuse('topP', topP, 'it is a probability above 0');
  if (!Number.isSafeInteger(seed) || seed < 0) refuse('seed', seed, 'it is an integer from 0 to 2^53 - 1');
  if (exit !== undefined && !(exit >= 0 && exit <= 1)) refuse('exit', exit, 'it is a probability');
}

/** Appends tokens to `rows` and yields those of each step, one a row. */
async function* drawn(
  op: string,
  model: Model,
  rows: number[][],
  length: number,
  runtime: Runtime,
  options: StreamOptions,
): AsyncGenerator<readonly number[], void, undefined> {
  const { tokens = Number.POSITIVE_INFINITY, temperature = 1, topK = Number.POSITIVE_INFINITY } = options;
  const { topP = 1, seed = 0, exit } = options;
  const sampling = { temperature, topK, topP, seed };
  checkSampling(op, sampling, exit);
  const batch = rows.length;
  let cache: ModelCache | undefined;
  try {
    if (model.decodes && batch > 0 && tokens > 1 && exit === undefined) cache = model.newCache?.(batch);
    for (let step = 0; step < tokens; step++) {
      if (rows[0] && rows[0].length > length) {
        cache?.dispose(); // a window that slides remembers nothing
        cache = undefined;
      }
      const from = cache?.length ?? -length;
      const fresh = rows.map((row) => row.slice(from));
      const logits = await lastLogits(model, fresh, runtime, cache, exit);
      const vocab = logits.length / Math.max(1, batch);
      const fallen = rows.map((row, b) => {
        const words = philox([step, b, 0, 0], [seed % 2 ** 32, Math.floor(seed / 2 ** 32)]);
        const own = logits.subarray(b * vocab, (b + 1) * vocab);
        const token = draw(op, own, words[0]! / 2 ** 32, sampling);
        row.push(token);
        return token;
      });
      yield fallen;
    }
  } finally {
    cache?.dispose();
  }
}

/** Logits after the last of the tokens, [batch, vocab]. The model is in its own mode while they are waited for. */
function lastLogits(
  model: Model,
  rows: readonly number[][],
  runtime: Runtime,
  cache: ModelCache | undefined,
  exit: number | undefined,
): Promise<Float64Array> {
  return noGrad(() =>
    scope(async () => {
      const length = rows[0]?.length ?? 0;
      const ids = tensor(Int32Array.from(rows.flat()), [rows.length, length], { runtime });
      const out =
        exit !== undefined && model.exit
          ? (await model.exit(ids, { confidence: exit })).logits
          : evaluating(model, () => model.forward(ids, { cache }));
      const end = slice(out, { starts: [0, length - 1], ends: [rows.length, length] });
      return decode(end.dtype, await end.data());
    }),
  );
}

/** The token at u in [0, 1) of softmax(logits / temperature) over what topK and topP leave. */
function draw(op: string, logits: Float64Array, u: number, { temperature, topK, topP }: Sampling): number {
  const best = greatest(op, logits);
  if (temperature === 0) return best;
  const order = Array.from(logits.keys()).sort((i, j) => logits[j]! - logits[i]! || i - j);
  const candidates = order.slice(0, topK);
  const weights = candidates.map((i) => Math.exp((logits[i]! - logits[best]!) / temperature));
  const kept = nucleus(weights, topP);
  let left = u * weights.slice(0, kept).reduce((a, b) => a + b, 0);
  for (let k = 0; k < kept; k++) {
    left -= weights[k]!;
    if (left < 0) return candidates[k]!;
  }
  return candidates[kept - 1]!;
}

/** How many of the falling weights add up to the share `topP` of all: at least 1. */
function nucleus(weights: readonly number[], topP: number): number {
  if (topP === 1) return weights.length;
  const enough = topP * weights.reduce((a, b) => a + b, 0);
  let sum = 0;
  for (const [k, w] of weights.entries()) {
    sum += w;
    if (sum >= enough) return k + 1;
  }
  return weights.length;
}

/** Index of the greatest logit, the first of equals. */
function greatest(op: string, logits: Float64Array): number {
  let best = 0;
  for (const [i, v] of logits.entries()) {
    if (Number.isNaN(v)) return notFinite(op, i, v);
    if (v > logits[best]!) best = i;
  }
  return Number.isFinite(logits[best]) ? best : notFinite(op, best, logits[best]);
}

function notFinite(op: string, token: number, value: unknown): never {
  throw new ArgumentError(`the logit of token ${token} is ${String(value)}`, {
    op,
    hint: 'nothing can be drawn: the weights of the model are not finite, as after training that diverged',
  });
}

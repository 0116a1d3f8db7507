/** Attention computed in tiles of queries and recorded as one call: its gradient knows nothing of the tiles. */
import { pausing } from '../autograd/modes.js';
import type { AttentionAttrs } from '../ops/attention.js';
import type { Op } from '../ops/contract.js';
import { attention, concat, slice } from '../ops/index.js';
import { observer, problemOf, record } from '../ops/record.js';
import type { Tensor } from '../tensor/tensor.js';

export type Range = readonly [from: number, to: number];

export interface TiledCall {
  q: Tensor;
  k: Tensor;
  v: Tensor;
  mask: Tensor | undefined;
  attrs: Partial<AttentionAttrs>;
}

/** One tile: the operands of its sweep, and what it gave. */
export interface Tile {
  inputs: readonly Tensor[];
  attrs: AttentionAttrs;
  out: Tensor;
  /** Row entropies [B, H, queries]; of size 0 unless `attrs.entropy`. */
  entropy: Tensor;
}

const op = attention.op as unknown as Op;

/**
 * As `attention(q, k, v, mask, attrs)`, the queries [from, to) of each tile in a sweep of their own over the first
 * `reads` keys. The tape holds q, k, v, the result and the log-sum-exp, as of one sweep, and no part of them.
 */
export function attentionInTiles(
  { q, k, v, mask, attrs }: TiledCall,
  tiles: readonly Range[],
  reads: readonly number[],
): { out: Tensor; tiles: Tile[] } {
  const given = mask ? [q, k, v, mask] : [q, k, v];
  const inputs = (observer.convert?.(op, given) ?? given) as readonly Tensor[];
  const whole = { ...attention.op.attrs, ...attrs };
  const problem = problemOf(
    op,
    inputs.map((t) => t.spec),
    whole,
  );
  const { parts, out, lse } = unseen(() => {
    const swept = tiles.map((tile, i) => sweep(inputs, whole, tile, reads[i]!));
    return {
      parts: swept,
      out: joined(
        swept.map((t) => t.out),
        1,
      ),
      lse: joined(
        swept.map((t) => t.lse),
        2,
      ),
    };
  });
  const none = parts[0]!.entropy;
  if (observer.watchAll || inputs.some((t) => t.edge))
    observer.recorded?.(op, problem, inputs, [out, lse, none]);
  return { out, tiles: parts };
}

/** Runs what lies in no graph and is shown to nobody who watches calls: parts of one that is. */
export function unseen<T>(fn: () => T): T {
  const { recorded } = observer;
  observer.recorded = undefined;
  try {
    return pausing(fn);
  } finally {
    observer.recorded = recorded;
  }
}

function sweep(
  [q, k, v, mask]: readonly Tensor[],
  attrs: AttentionAttrs,
  [from, to]: Range,
  keys: number,
): Tile & { lse: Tensor } {
  const inputs = [rowsOf(q!, from, to), k!, v!, ...(mask ? [maskOf(mask, [from, to], keys)] : [])];
  const own = { ...attrs, keys: keys === k!.shape[1] ? 0 : keys };
  const [out, lse, entropy] = record(op, inputs, own) as [Tensor, Tensor, Tensor];
  return { inputs, attrs: own, out, lse, entropy };
}

const joined = (parts: readonly Tensor[], axis: number): Tensor =>
  parts.length === 1 ? parts[0]! : concat(parts, { axis });

/** Rows from … to - 1 of x [B, T, …]; x itself where that is all. */
const rowsOf = (x: Tensor, from: number, to: number): Tensor =>
  from === 0 && to === x.shape[1] ? x : slice(x, { starts: [0, from], ends: [x.shape[0]!, to] });

/** What a mask [B, H, queries, keys], or 1 where it is stretched, says of some queries and the first keys. */
function maskOf(mask: Tensor, [from, to]: Range, keys: number): Tensor {
  const [batch, heads, rows, columns] = mask.shape as [number, number, number, number];
  const [first, last] = rows === 1 ? [0, 1] : [from, to];
  const ends = [batch, heads, last, columns === 1 ? 1 : keys];
  if (first === 0 && last === rows && ends[3] === columns) return mask;
  return slice(mask, { starts: [0, 0, first], ends });
}

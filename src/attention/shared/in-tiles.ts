/** Attention computed in tiles of queries and recorded as one call: its gradient knows nothing of the tiles. */
import { pausing } from '../../autograd/modes.js';
import type { AttentionAttrs, PackedAttentionAttrs } from '../../ops/attention.js';
import type { Op } from '../../ops/contract.js';
import { attention, concat, packedAttention, slice } from '../../ops/index.js';
import { observer, problemOf, record } from '../../ops/record.js';
import type { Tensor } from '../../tensor/tensor.js';
import { headsOf } from './heads.js';

export type Range = readonly [from: number, to: number];

/** Queries of each tile, and how many keys, from the first on, it reads. */
export interface Cut {
  tiles: readonly Range[];
  reads: readonly number[];
}

/** One tile: the operands of its sweep, and what it gave. */
export interface Tile {
  inputs: readonly Tensor[];
  attrs: AttentionAttrs;
  out: Tensor;
  /** Log-sum-exp, and entropy where `attrs.entropy`, of each row: [B, H, queries]. */
  lse: Tensor;
  entropy: Tensor;
}

export interface Tiled {
  out: Tensor;
  tiles: Tile[];
}

const op = attention.op as unknown as Op;
const packed = packedAttention.op as unknown as Op;

/**
 * As `packedAttention(qkv, mask, attrs)`, each tile in a sweep of its own. The tape holds qkv, the result and the
 * log-sum-exp, as of one sweep, and no part of them.
 */
export function packedInTiles(
  qkv: Tensor,
  mask: Tensor | undefined,
  attrs: Partial<PackedAttentionAttrs> & { heads: number; kvHeads: number },
  cut: Cut,
): Tiled {
  const given = mask ? [qkv, mask] : [qkv];
  const inputs = (observer.convert?.(packed, given) ?? given) as readonly Tensor[];
  const problem = problemOf(
    packed,
    inputs.map((t) => t.spec),
    { ...packedAttention.op.attrs, ...attrs, entropy: false },
  );
  const { heads, kvHeads, ...own } = attrs;
  const [tiled, lse] = unseen(() => {
    const [all, kept] = inputs as [Tensor, Tensor?];
    const part = (from: number, to: number) => headsOf(all, from, to);
    const [q, k, v] = [
      part(0, heads),
      part(heads, heads + kvHeads),
      part(heads + kvHeads, heads + 2 * kvHeads),
    ] as const;
    const made = inTiles(q, k, v, kept, own, cut);
    const stats = made.tiles.map((t) => t.lse);
    return [made, stats.length === 1 ? stats[0]! : concat(stats, { axis: 2 })] as const;
  });
  if (observer.watchAll || inputs.some((t) => t.edge))
    observer.recorded?.(packed, problem, inputs, [tiled.out, lse, tiled.tiles[0]!.entropy]);
  return tiled;
}

/** As `attention(q, k, v, mask, attrs)` in tiles; no gradient flows. */
export function inTiles(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  mask: Tensor | undefined,
  attrs: Partial<AttentionAttrs>,
  { tiles, reads }: Cut,
): Tiled {
  const swept = tiles.map(([from, to], i): Tile => {
    const keys = reads[i]!;
    const own = { ...attention.op.attrs, ...attrs, keys };
    const shown = mask && maskOf(mask, [from, to], keys);
    const inputs = [rowsOf(q, from, to), k, v, ...(shown ? [shown] : [])];
    const [out, lse, entropy] = record(op, inputs, own) as [Tensor, Tensor, Tensor];
    return { inputs, attrs: own, out, lse, entropy };
  });
  const parts = swept.map((t) => t.out);
  return { out: parts.length === 1 ? parts[0]! : concat(parts, { axis: 1 }), tiles: swept };
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

/** Rows from … to - 1 of x [B, T, …]; x itself where that is all. */
const rowsOf = (x: Tensor, from: number, to: number): Tensor =>
  from === 0 && to === x.shape[1] ? x : slice(x, { starts: [0, from], ends: [x.shape[0]!, to] });

/** What a mask [B, H, queries, keys], or 1 where it is stretched, says of some queries and the first keys. */
function maskOf(mask: Tensor, [from, to]: Range, keys: number): Tensor {
  const [batch, heads, rows, columns] = mask.shape as [number, number, number, number];
  const [first, last] = rows === 1 ? [0, 1] : [from, to];
  const end = columns === 1 ? 1 : keys;
  if (first === 0 && last === rows && end === columns) return mask;
  return slice(mask, { starts: [0, 0, first], ends: [batch, heads, last, end] });
}

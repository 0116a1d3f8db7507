/**
 * Attention in tiles of queries whose size adapts to what attention itself measures, after the QuantumGeometricAttention
 * of Adaptive Attention Tiling v2. Each tile attends through the exact engine to all keys that its queries may see, so
 * the result does not depend on the tiles. Scores are products, or Born's: with unit queries and keys the weights are
 * the probabilities |⟨q|k⟩|², up to ε = 1e-6, of measuring the state q in k.
 */
import { z } from 'zod';
import { checkTensor } from '../nn/check.js';
import { concat, mean, mul, packedAttention, rmsNorm } from '../ops/index.js';
import { observer } from '../ops/record.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { keep } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  Attention,
  type AttentionInits,
  type AttentionKind,
  type Context,
  defineAttention,
  type MeasuredCall,
} from './attention.js';
import { RowCache } from './shared/cache.js';
import type { ConfigInput } from './shared/config.js';
import { Heads, Out } from './shared/heads.js';
import { type Cut, inTiles, packedInTiles, type Range, type Tiled, unseen } from './shared/in-tiles.js';
import { type KeyCache, keyCache } from './shared/packed.js';
import { type Grid, massesOf, type TileFigures, TileMeter } from './shared/tile-meter.js';
import { keysOf, tileFor, tilesOf } from './shared/tiling.js';

const tile = (doc: string) => z.int().min(1).describe(doc);

const options = {
  score: z
    .enum(['dot', 'born'])
    .default('dot')
    .describe("'dot': q · k / √D; 'born': ln((q · k)² + 1e-6) of unit q and k"),
  tileSize: tile('queries of a tile before anything was measured').default(64),
  minTile: tile('the finest tile, for attention that gathers from everywhere').default(32),
  maxTile: tile('the coarsest tile, for attention to few keys').default(256),
  adapt: z.boolean().default(true).describe('tiles follow the measured density; else tileSize stays'),
};

/** Of calls, so many lie between two that measure; the figures come into use so many calls later. */
const PERIOD = 16;
const DELAY = 4;

export class QuantumGeometricAttention extends Attention<typeof options> {
  /** Queries, keys and values: [(heads + 2 kvHeads) headDim, dim]. */
  readonly qkv: Heads;
  readonly out: Out;
  readonly #meter: TileMeter;
  #calls = 0;
  #tile: number;
  /** Whether calls measure, whatever their count. */
  #measures: boolean | undefined;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(tiledKind, config);
    const { dim, heads, kvHeads, headDim, bias, tileSize, minTile: min, maxTile: max } = this.config;
    this.qkv = new Heads({ dim, parts: [heads, kvHeads, kvHeads], headDim, bias }, inits);
    this.out = new Out(this.config, inits);
    this.#tile = tileSize;
    this.#meter = new TileMeter({ min, max });
  }

  /** Queries of a tile now. It may be set, within the bounds; it follows the density again with the next figures. */
  get tile(): number {
    return this.#tile;
  }
  set tile(size: number) {
    const { minTile, maxTile } = this.config;
    if (!Number.isInteger(size) || size < minTile || size > maxTile)
      throw new ArgumentError(`tile is ${String(size)}`, {
        op: tiledKind.name,
        hint: `it is a whole number from ${minTile} to ${maxTile}`,
      });
    this.#tile = size;
  }

  /**
   * What was measured last: by one call in 16, the first among them, or now on `x` where it is given, and then with the
   * time that it took. Waits for the figures.
   */
  async get_metrics(x?: Tensor, call: MeasuredCall = {}): Promise<TileFigures> {
    if (x !== undefined) return this.#timed(x, call);
    const figures = await this.#meter.settled();
    if (!figures)
      throw new ArgumentError('nothing was measured yet', {
        op: tiledKind.name,
        hint: 'call forward first, or give x',
      });
    return figures;
  }

  /** A call that is only looked at does not count: what is measured next, and when, stays as it was. */
  override watched<T>(fn: () => T): T {
    return this.#as(false, fn);
  }

  /** Calls so far and what was measured: tiles, and so the order of sums, follow from them. */
  override async carried(): Promise<Carried> {
    return { calls: this.#calls, tile: this.#tile, meter: await this.#meter.carried() };
  }

  override carry({ calls, tile, meter }: Carried): void {
    this.#calls = calls;
    this.tile = tile;
    this.#meter.carry(meter);
  }

  override dispose(): void {
    super.dispose();
    this.#meter.dispose();
  }

  protected attend(x: Tensor, context: Context): Tensor {
    const { heads, kvHeads, window, alibi, score } = this.config;
    const { causal, mask, cache } = context;
    const qkv = this.#states(context.rotate(this.qkv.heads(x), heads + kvHeads));
    const attrs = { causal, window, alibi, score };
    const measuring = this.#turn() && qkv.size > 0;
    if (!(cache instanceof RowCache)) {
      const sweep = this.#cut(qkv.shape[1]!, qkv.shape[1]!, causal);
      const whole = { ...attrs, heads, kvHeads };
      if (!measuring && sweep.tiles.length === 1) return packedAttention(qkv, mask, whole);
      const tiled = packedInTiles(qkv, mask, { ...whole, entropy: measuring }, sweep);
      if (measuring) this.#measure(tiled, sweep);
      return tiled.out;
    }
    const [q, k, v] = this.qkv.split(qkv) as [Tensor, Tensor, Tensor];
    const rows = cache.append({ k, v });
    const sweep = this.#cut(q.shape[1]!, cache.length, causal);
    const tiled = inTiles(q, rows.k!, rows.v!, mask, { ...attrs, entropy: measuring }, sweep);
    if (measuring) this.#measure(tiled, sweep);
    return tiled.out;
  }

  protected makeCache(batch: number): KeyCache {
    return keyCache(batch, this.config);
  }

  /** Of Born's score, queries and keys of length 1: √D each by the norm, and the queries 1/D of that. */
  #states(qkv: Tensor): Tensor {
    const { headDim, score } = this.config;
    if (score === 'dot') return qkv;
    const [q, k, v] = this.qkv.split(qkv) as [Tensor, Tensor, Tensor];
    const unit = (t: Tensor) => rmsNorm(t, undefined, { eps: 1e-12 });
    return concat([mul(unit(q), 1 / headDim), unit(k), v], { axis: 2 });
  }

  /**
   * Counts the call, takes figures that are due into use, and says whether this call measures. All by the count of calls
   * alone, whatever the time: runs repeat. Interpreted calls (gradcheck) have no values to read.
   */
  #turn(): boolean {
    if (observer.interpret) return false;
    if (this.#measures !== undefined) return this.#measures;
    const call = this.#calls++;
    if (call % PERIOD === DELAY) this.#adapt(this.#meter.due());
    return call % PERIOD === 0;
  }

  #adapt(figures: TileFigures | undefined): void {
    const { adapt, minTile: min, maxTile: max } = this.config;
    if (adapt && figures && Number.isFinite(figures.density))
      this.#tile = tileFor(figures.density, { min, max });
  }

  /** The tiles of so many queries, the last among so many keys. */
  #cut(length: number, keys: number, causal: boolean): Sweep {
    const { window, alibi } = this.config;
    // The engine counts places back from the last key: a tile that reads beyond its queries has none to go by.
    const whole = !causal && (window > 0 || alibi);
    const tile = whole ? Math.max(1, length) : this.#tile;
    const grid = { tile, keys, shift: keys - length };
    const tiles: Range[] = length === 0 ? [[0, 0]] : tilesOf(length, tile);
    const ranges = tiles.map((t) => keysOf(t, { causal, window, ...grid }));
    return { grid, tiles, ranges, reads: ranges.map(([, to]) => to) };
  }

  #measure({ tiles }: Tiled, { grid, ranges, tiles: queries }: Sweep): void {
    const [q, k] = tiles[0]!.inputs as [Tensor, Tensor];
    const [query, key] = [q, k].map((t) => t.spec.bytes / t.shape[1]!) as [number, number];
    const bytes = queries.map(
      ([from, to], i) => 2 * query * (to - from) + 2 * key * (ranges[i]![1] - ranges[i]![0]),
    );
    unseen(() =>
      this.#meter.take({
        ...grid,
        tiles: queries,
        reads: ranges,
        heads: this.config.heads,
        bytes: Math.max(...bytes),
        entropies: tiles.map(({ entropy }) => keep(mean(entropy))),
        masses: massesOf(tiles, grid).map(keep),
      }),
    );
  }

  /** Calls in `fn`, which is not async, measure or do not, whatever their count. */
  #as<R>(measures: boolean, fn: () => R): R {
    this.#measures = measures;
    try {
      return fn();
    } finally {
      this.#measures = undefined;
    }
  }

  /** Once for the time, once for the figures. */
  async #timed(x: Tensor, call: MeasuredCall): Promise<TileFigures> {
    const run = (measures: boolean) =>
      this.#as(measures, () => this.unnoticed(() => this.forward(x, call)).dispose());
    checkTensor(tiledKind.name, 'x', x);
    if (x.size === 0)
      throw new ShapeError(`x is ${show(x.shape)}`, { op: tiledKind.name, hint: 'give tokens to measure' });
    await x.runtime.sync();
    const from = performance.now();
    run(false);
    await x.runtime.sync();
    const ms = performance.now() - from;
    run(true);
    return { ...(await this.#meter.settled())!, ms };
  }
}

interface Carried {
  calls: number;
  tile: number;
  meter: Awaited<ReturnType<TileMeter['carried']>>;
}

interface Sweep extends Cut {
  grid: Grid;
  /** Keys that each tile may see. */
  ranges: readonly Range[];
}

export const tiledKind: AttentionKind<typeof options> = defineAttention({
  kind: 'tiled',
  name: 'QuantumGeometricAttention',
  doc: 'exact attention in tiles of queries that adapt to measured information density; dot or Born score',
  source: 'Adaptive Attention Tiling v2, 2024; Born 1926 for the score',
  options,
  complexity: { time: 'T^2', memory: 'T', cache: 'T' },
  supports: { mask: 'any', causal: 'both', window: true, alibi: true, rope: true, grouped: true },
  samples: [
    { score: 'born', minTile: 2, tileSize: 4, kvHeads: 2 },
    { minTile: 2, tileSize: 4, window: 3 },
    { minTile: 1, tileSize: 5, causal: false },
  ],
  check({ tileSize, minTile: min, maxTile: max }) {
    const op = 'QuantumGeometricAttention';
    if (min > max)
      throw new ArgumentError(`minTile is ${min}, maxTile is ${max}`, {
        op,
        hint: 'minTile is at most maxTile',
      });
    if (tileSize < min || tileSize > max)
      throw new ArgumentError(`tileSize is ${tileSize}`, {
        op,
        hint: `it lies between minTile and maxTile: ${min} to ${max}`,
      });
  },
  parameters: ({ dim, heads, kvHeads, headDim, bias }) =>
    Heads.parameters({ dim, parts: [heads, kvHeads, kvHeads], headDim, bias }) +
    Out.parameters({ dim, heads, headDim, bias }),
  create: (config, inits) => new QuantumGeometricAttention(config, inits),
});

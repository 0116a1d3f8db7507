/**
 * Attention in tiles of queries whose size adapts to what attention itself measures, after the QuantumGeometricAttention
 * of Adaptive Attention Tiling v2. Each tile attends through the exact engine to all keys that its queries may see, so
 * the result does not depend on the tiles. Scores are products, or Born's: with unit queries and keys the weights are
 * the probabilities |⟨q|k⟩|², up to ε = 1e-6, of measuring the state q in k.
 */
import { z } from 'zod';
import { noGrad } from '../autograd/modes.js';
import { Linear } from '../nn/linear.js';
import { mean, mul, rmsNorm } from '../ops/index.js';
import { observer } from '../ops/record.js';
import { ArgumentError } from '../runtime/errors.js';
import { keep } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  Attention,
  type AttentionInits,
  type AttentionKind,
  type Context,
  defineAttention,
  type MeasuredCall,
} from './attention.js';
import { RowCache } from './cache.js';
import type { ConfigInput } from './config.js';
import { Heads } from './heads.js';
import { attentionInTiles, type Range, unseen } from './in-tiles.js';
import { massesOf, type TileFigures, TileMeter } from './tile-meter.js';
import { keysOf, tileFor, tilesOf } from './tiling.js';

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
  readonly out: Linear;
  readonly #meter: TileMeter;
  #calls = 0;
  #tile: number;
  /** Whether calls measure, whatever their count. */
  #measures: boolean | undefined;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(tiledKind, config);
    const { dim, heads, kvHeads, headDim, bias, tileSize, minTile: min, maxTile: max } = this.config;
    if (min > max)
      throw new ArgumentError(`minTile is ${min}, maxTile is ${max}`, {
        op: tiledKind.name,
        hint: 'minTile is at most maxTile',
      });
    if (tileSize < min || tileSize > max)
      throw new ArgumentError(`tileSize is ${tileSize}`, {
        op: tiledKind.name,
        hint: `it lies between minTile and maxTile: ${min} to ${max}`,
      });
    this.qkv = new Heads({ dim, parts: [heads, kvHeads, kvHeads], headDim, bias }, inits);
    this.out = new Linear(heads * headDim, dim, {
      bias,
      init: inits.outInit ?? inits.init,
      biasInit: inits.biasInit,
    });
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

  override dispose(): void {
    super.dispose();
    this.#meter.dispose();
  }

  protected attend(x: Tensor, context: Context): Tensor {
    return this.#tiled(this.#operands(x, context), context, this.#turn());
  }

  protected makeCache(batch: number): RowCache<'k' | 'v'> {
    const { kvHeads, headDim } = this.config;
    return new RowCache(batch, { k: [kvHeads, headDim], v: [kvHeads, headDim] });
  }

  #operands(x: Tensor, { cache, rotate }: Context): Operands {
    const { heads, kvHeads, headDim, score } = this.config;
    const qkv = rotate(this.qkv.heads(x), heads + kvHeads);
    let [q, k, v] = this.qkv.split(qkv) as [Tensor, Tensor, Tensor];
    if (score === 'born') {
      // Of length √D each, and the queries 1/D of that: products are those of unit vectors.
      q = mul(rmsNorm(q, undefined, { eps: 1e-12 }), 1 / headDim);
      k = rmsNorm(k, undefined, { eps: 1e-12 });
    }
    if (cache instanceof RowCache) {
      cache.append({ k, v });
      [k, v] = [cache.rows('k'), cache.rows('v')];
    }
    return { q, k, v };
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

  #tiled({ q, k, v }: Operands, { causal, mask }: Context, measuring: boolean): Tensor {
    const { window, alibi, score, heads } = this.config;
    const [length, keys] = [q.shape[1]!, k.shape[1]!];
    const measured = measuring && q.size > 0 && k.size > 0;
    const attrs = { causal, window, alibi, score, entropy: measured };
    // The engine counts places back from the last key: a tile that reads beyond its queries has none to go by.
    const whole = !causal && (window > 0 || alibi);
    const tile = whole ? Math.max(1, length) : this.#tile;
    const grid = { tile, keys, shift: keys - length };
    const tiles: Range[] = length === 0 ? [[0, 0]] : tilesOf(length, tile);
    const reads = tiles.map((t) => keysOf(t, { causal, window, ...grid }));
    const result = attentionInTiles(
      { q, k, v, mask, attrs },
      tiles,
      reads.map(([, to]) => to),
    );
    if (measured)
      unseen(() => {
        const bytesOf = ([from, to]: Range, [first, last]: Range) =>
          2 * (q.spec.bytes / length) * (to - from) + 2 * (k.spec.bytes / keys) * (last - first);
        this.#meter.take({
          ...grid,
          tiles,
          reads,
          heads,
          bytes: Math.max(...tiles.map((t, i) => bytesOf(t, reads[i]!))),
          entropies: result.tiles.map(({ entropy }) => keep(mean(entropy))),
          masses: massesOf(result.tiles, grid).map(keep),
        });
      });
    return result.out;
  }

  /** Once for the time, once for the figures. */
  async #timed(x: Tensor, call: MeasuredCall): Promise<TileFigures> {
    const run = (measures: boolean) => {
      this.#measures = measures;
      try {
        noGrad(() => this.forward(x, call)).dispose();
      } finally {
        this.#measures = undefined;
      }
    };
    await x.runtime.sync();
    const from = performance.now();
    run(false);
    await x.runtime.sync();
    const ms = performance.now() - from;
    run(true);
    return { ...(await this.#meter.settled())!, ms };
  }
}

interface Operands {
  q: Tensor;
  k: Tensor;
  v: Tensor;
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
  parameters: ({ dim, heads, kvHeads, headDim, bias }) =>
    Heads.parameters({ dim, parts: [heads, kvHeads, kvHeads], headDim, bias }) +
    heads * headDim * dim +
    (bias ? dim : 0),
  create: (config, inits) => new QuantumGeometricAttention(config, inits),
});

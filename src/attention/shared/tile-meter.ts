/** What a tiled layer measures of its own calls: masses of attention between tiles, entropies, and what follows of them. */
import { attention, concat, fill, mean, mul } from '../../ops/index.js';
import { scope } from '../../tensor/scope.js';
import { type Tensor, tensor } from '../../tensor/tensor.js';
import { wide } from './heads.js';
import type { Tile } from './in-tiles.js';
import {
  adaptation,
  type Bounds,
  divergence,
  efficiency,
  flowQuality,
  resolutionOf,
  tileFor,
} from './tiling.js';

/** Measured by one call; masses and entropies are means over batch, heads and queries. */
export interface TileFigures {
  /** Queries of a tile, tiles of the call, and pairs of a tile of queries and one of keys that it did not compute. */
  tile: number;
  tiles: number;
  skipped: number;
  /** Shannon entropy H of the rows of weights, in nats, and e^H over the number of keys. */
  entropy: number;
  density: number;
  /** Mass of attention that leaves the tile of its query. */
  flow: number;
  /** Share of the pairs of tiles computed that hold a mass above 1 / keys. */
  edges: number;
  /** 1 - drift since the measurement before: Jensen–Shannon, over ln 2, of where on the sequence mass lies; at first 1. */
  stability: number;
  /** How fine the tile was within its bounds, from 0 to 1, of the last measurements. */
  resolutions: readonly number[];
  /** Quality of the information flow, efficiency of the computation, effectiveness of the adaptation: see tiling.ts. */
  ifq: number;
  cer: number;
  ae: number;
  /** Of queries, keys, values and result of the largest tile. */
  bytes: number;
  /** Of a forward pass; null where the call was not timed. */
  ms: number | null;
}

/** Keys fall into so many equal parts of the sequence, whatever the tiles: what drift is told by. */
const PARTS = 16;
const HISTORY = 32;

/** Tiles of keys lie on the grid of the tiles of queries, which begins at key `shift`: number of the tile of a key. */
const tileOf = (key: number, tile: number, shift: number): number =>
  Math.floor((key - shift) / tile) + Math.ceil(shift / tile);

export interface Grid {
  tile: number;
  /** Keys, of which `shift` come before the first query. */
  keys: number;
  shift: number;
}

const columnsOf = ({ tile, keys, shift }: Grid): number => tileOf(keys - 1, tile, shift) + 1;

/**
 * Where the weights of each tile lie, [heads, columns]: the sweeps again, on values that tell by the result. Each key has
 * 1 in the column of its tile and in that of its part of the sequence, as many columns at a time as a head has channels.
 */
export function massesOf(tiles: readonly Tile[], grid: Grid): Tensor[] {
  const k = tiles[0]!.inputs[1]!;
  const [batch, stored, heads, D] = k.shape as [number, number, number, number];
  const first = columnsOf(grid);
  const chunks: Tensor[][] = tiles.map(() => []);
  for (let chunk = 0; chunk * D < first + PARTS; chunk++) {
    const values = new Float32Array(stored * D);
    for (let key = 0; key < grid.keys; key++)
      for (const column of [
        tileOf(key, grid.tile, grid.shift),
        first + Math.floor((key * PARTS) / grid.keys),
      ]) {
        const at = column - chunk * D;
        if (at >= 0 && at < D) values[key * D + at] = 1;
      }
    const means = scope(() => {
      const ones = fill({ shape: [batch, stored, heads, D], value: 1, dtype: k.dtype });
      const v = mul(ones, tensor(values, [1, stored, 1, D], { dtype: k.dtype, runtime: k.runtime }));
      return tiles.map(({ inputs, attrs }) => {
        const [q, , , mask] = inputs as readonly [Tensor, Tensor, Tensor, Tensor?];
        return mean(wide(attention(q, k, v, mask, { ...attrs, entropy: false })), { axis: [0, 1] });
      });
    });
    means.forEach((m, i) => {
      chunks[i]!.push(m);
    });
  }
  return chunks.map((parts) => (parts.length === 1 ? parts[0]! : concat(parts, { axis: 1 })));
}

/** What a call hands over: tensors that are still being computed, one of each a tile. */
export interface Measured extends Grid {
  tiles: readonly (readonly [from: number, to: number])[];
  /** Keys that each tile read. */
  reads: readonly (readonly [from: number, to: number])[];
  heads: number;
  bytes: number;
  /** Mean row entropy. */
  entropies: readonly Tensor[];
  /** [heads, at least the columns]. */
  masses: readonly Tensor[];
}

/** Reads what calls measured, without waiting where it may, and remembers. */
export class TileMeter {
  #pending: { measured: Measured; done: Promise<void> } | undefined;
  #last: TileFigures | undefined;
  #profile: Float64Array | undefined;
  #used: number[] = [];
  #asked: number[] = [];

  constructor(readonly bounds: Bounds) {}

  /** Takes over the tensors. */
  take(measured: Measured): void {
    this.due();
    const pending = { measured, done: Promise.resolve() };
    pending.done = Promise.all(tensorsOf(measured).map((t) => t.data())).then(
      (values) => this.#finish(pending, values as Float32Array[]),
      () => this.#drop(pending), // whoever reads the result of the call is told why
    );
    this.#pending = pending;
  }

  /** The latest figures; waits for those on their way. */
  due(): TileFigures | undefined {
    const pending = this.#pending;
    if (pending) {
      try {
        this.#finish(pending, tensorsOf(pending.measured).map((t) => t.dataSync()) as Float32Array[]);
      } catch {
        this.#drop(pending);
      }
    }
    return this.#last;
  }

  /** As `due`; the JavaScript thread goes on meanwhile. */
  async settled(): Promise<TileFigures | undefined> {
    await this.#pending?.done;
    return this.#last;
  }

  /** What it remembers, as JSON; waits for figures on their way. */
  async carried() {
    await this.#pending?.done;
    const profile = this.#profile && [...this.#profile];
    return { last: this.#last, profile, used: this.#used, asked: this.#asked };
  }

  carry({ last, profile, used, asked }: Awaited<ReturnType<TileMeter['carried']>>): void {
    this.dispose();
    this.#last = last;
    this.#profile = profile && Float64Array.from(profile);
    [this.#used, this.#asked] = [used, asked];
  }

  dispose(): void {
    if (this.#pending) this.#drop(this.#pending);
  }

  #drop(pending: { measured: Measured }): void {
    if (this.#pending !== pending) return;
    this.#pending = undefined;
    for (const t of tensorsOf(pending.measured)) t.dispose();
  }

  #finish(pending: { measured: Measured }, values: readonly Float32Array[]): void {
    if (this.#pending !== pending) return;
    const { measured } = pending;
    this.#drop(pending);
    const n = measured.tiles.length;
    this.#last = this.#figures(
      measured,
      values.slice(0, n).map((v) => v[0]!),
      values.slice(n),
    );
  }

  #figures(measured: Measured, entropies: readonly number[], masses: readonly Float32Array[]): TileFigures {
    const { tile, tiles, reads, keys, shift, heads, bytes } = measured;
    const columns = columnsOf(measured);
    const profile = new Float64Array(heads * PARTS);
    let [rows, entropy, mass, own, used, computed] = [0, 0, 0, 0, 0, 0];
    for (const [i, [from, to]] of tiles.entries()) {
      const weights = masses[i]!;
      const width = weights.length / heads;
      const n = to - from;
      rows += n;
      entropy += n * entropies[i]!;
      for (let c = 0; c < columns; c++) {
        let share = 0;
        for (let h = 0; h < heads; h++) share += weights[h * width + c]! / heads;
        mass += n * share;
        if (c === tileOf(shift + from, tile, shift)) own += n * share;
        if (share > 1 / keys) used++;
      }
      for (let h = 0; h < heads; h++)
        for (let p = 0; p < PARTS; p++) profile[h * PARTS + p]! += n * weights[h * width + columns + p]!;
      const [first, after] = reads[i]!;
      if (after > first) computed += tileOf(after - 1, tile, shift) - tileOf(first, tile, shift) + 1;
    }
    entropy /= rows;
    const before = this.#profile;
    this.#profile = profile;
    const density = Math.exp(entropy) / keys;
    const flow = mass > 0 ? Math.max(0, 1 - own / mass) : 0;
    const edges = computed > 0 ? used / computed : 0;
    const stability = before?.length === profile.length ? 1 - drift(before, profile, heads) : 1;
    const resolution = resolutionOf(tile, this.bounds);
    this.#remember(resolution, resolutionOf(tileFor(density, this.bounds), this.bounds));
    return {
      tile,
      tiles: tiles.length,
      skipped: tiles.length * columns - computed,
      entropy,
      density,
      flow,
      edges,
      stability,
      resolutions: [...this.#used],
      ifq: flowQuality(stability, flow, edges, density),
      cer: efficiency(flow, density, resolution, computed / (tiles.length * columns), entropy),
      ae: adaptation(this.#used, this.#asked),
      bytes,
      ms: null,
    };
  }

  #remember(used: number, asked: number): void {
    this.#used = [...this.#used, used].slice(-HISTORY);
    this.#asked = [...this.#asked, asked].slice(-HISTORY);
  }
}

const tensorsOf = ({ entropies, masses }: Measured): Tensor[] => [...entropies, ...masses];

/** Mean over heads of the divergence of their profiles, over the most that it can be. */
function drift(a: Float64Array, b: Float64Array, heads: number): number {
  let sum = 0;
  for (let h = 0; h < heads; h++)
    sum += divergence(a.subarray(h * PARTS, (h + 1) * PARTS), b.subarray(h * PARTS, (h + 1) * PARTS));
  return sum / heads / Math.LN2;
}

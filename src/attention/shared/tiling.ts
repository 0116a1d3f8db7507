/**
 * Tiles of queries whose size follows how dense the information is that attention gathers, and the figures by which that
 * is judged. Pure functions of numbers.
 */

export interface Bounds {
  /** The finest and the coarsest tile, in queries. */
  min: number;
  max: number;
}

/** Queries [from, to) of each tile of so many. */
export function tilesOf(length: number, tile: number): [from: number, to: number][] {
  return Array.from({ length: Math.ceil(length / tile) }, (_, i) => [
    i * tile,
    Math.min(length, (i + 1) * tile),
  ]);
}

/**
 * The tile for a density e^H/T in [0, 1]: rows that gather from everywhere are cut finely, those that look at few keys
 * coarsely, evenly on a scale of powers of 2 between the bounds.
 */
export function tileFor(density: number, { min, max }: Bounds): number {
  const fine = Math.min(1, Math.max(0, density));
  return Math.min(max, Math.max(min, 2 ** Math.round(Math.log2(max) - fine * Math.log2(max / min))));
}

/** How fine a tile is between the bounds: 0 the coarsest, 1 the finest. */
export const resolutionOf = (tile: number, { min, max }: Bounds): number =>
  max === min ? 1 : Math.min(1, Math.max(0, Math.log2(max / tile) / Math.log2(max / min)));

/** Keys [from, to) that a tile of queries reads, of those stored; `shift` keys come before the first query. */
export function keysOf(
  [from, to]: readonly [number, number],
  { causal, window, shift, keys }: { causal: boolean; window: number; shift: number; keys: number },
): [from: number, to: number] {
  if (!causal) return [0, keys];
  return [window > 0 ? Math.max(0, shift + from - window + 1) : 0, shift + to];
}

/** Jensen–Shannon divergence of two distributions in nats: 0 where they are equal, ln 2 where they share nothing. */
export function divergence(p: ArrayLike<number>, q: ArrayLike<number>): number {
  const [a, b] = [normalised(p), normalised(q)];
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const mean = (a[i]! + b[i]!) / 2;
    if (a[i]! > 0) sum += (a[i]! / 2) * Math.log(a[i]! / mean);
    if (b[i]! > 0) sum += (b[i]! / 2) * Math.log(b[i]! / mean);
  }
  return Math.max(0, sum);
}

function normalised(p: ArrayLike<number>): number[] {
  const list = Array.from(p);
  const total = list.reduce((a, b) => a + b, 0);
  return total > 0 ? list.map((v) => v / total) : list;
}

const unit = (x: number): number => Math.min(1, Math.max(0, x));
const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;

/** Information flow quality: the mean of stability, flow, edge utilisation and density, each within [0, 1]. */
export const flowQuality = (stability: number, flow: number, edges: number, density: number): number =>
  mean([stability, flow, edges, density].map(unit));

/**
 * Computational efficiency ratio: flow · density · resolution over the mean of the cost, the share of tiles that are
 * computed, and the row entropy.
 */
export const efficiency = (
  flow: number,
  density: number,
  resolution: number,
  cost: number,
  entropy: number,
): number => (flow * density * resolution) / (0.5 * cost + 0.5 * entropy);

/** Before this share of a change counts as one. */
const CHANGE = 0.05;

/**
 * Adaptation effectiveness, of resolutions used and those that the measured densities asked for: the mean of accuracy
 * (1 - their mean distance), stability (1 - twice the mean change) and speed (the share of changes asked for that were
 * followed; 1 where there were none). 0.5, which says nothing, before the second measurement.
 */
export function adaptation(used: readonly number[], asked: readonly number[]): number {
  if (used.length < 2) return 0.5;
  const changes = (list: readonly number[]) => list.slice(1).map((v, i) => v - list[i]!);
  const [moved, wanted] = [changes(used), changes(asked)];
  const accuracy = 1 - mean(used.map((u, i) => Math.abs(u - asked[i]!)));
  const stability = unit(1 - 2 * mean(moved.map(Math.abs)));
  const called = wanted.map((w, i) => [w, moved[i]!] as const).filter(([w]) => Math.abs(w) > CHANGE);
  const speed = called.length === 0 ? 1 : mean(called.map(([w, m]) => Number(w * m > 0)));
  return unit((accuracy + stability + speed) / 3);
}

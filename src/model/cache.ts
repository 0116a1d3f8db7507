/** What a model remembers while it decodes. */
import type { AttentionCache } from '../attention/shared/cache.js';

/** A cache for each layer: for each application of a shared block. */
export class ModelCache {
  constructor(readonly layers: readonly AttentionCache[]) {}

  /** Tokens seen so far. */
  get length(): number {
    return this.layers[0]?.length ?? 0;
  }

  get bytes(): number {
    return this.layers.reduce((n, cache) => n + cache.bytes, 0);
  }

  reset(): void {
    for (const cache of this.layers) cache.reset();
  }

  dispose(): void {
    for (const cache of this.layers) cache.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

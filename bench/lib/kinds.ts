/** Layers of every attention kind as `bench:kinds` runs them. */
import type { Attention } from '../../src/attention/attention.js';
import {
  type AnyAttentionConfig,
  attentionKind,
  attentionKinds,
  createAttention,
} from '../../src/attention/registry.js';
import type { AttentionCache } from '../../src/attention/shared/cache.js';
import { Rotary } from '../../src/attention/shared/positions.js';
import { noGrad } from '../../src/index.js';
import {
  type Runtime,
  Runtime as RuntimeClass,
  type RuntimeOptions,
  useRuntime,
} from '../../src/runtime/runtime.js';
import { manualSeed } from '../../src/tensor/generator.js';
import { scope } from '../../src/tensor/scope.js';
import { type Tensor, tensor } from '../../src/tensor/tensor.js';
import type { Contender } from './timing.js';

export const DIM = 512;
export const HEADS = 8;

export type Pass = 'forward' | 'both';

/** What is run: a kind by its defaults, or a configuration with a name of its own. */
export interface Entry {
  name: string;
  config: Omit<AnyAttentionConfig, 'dim' | 'heads'> & { kind: string };
}

/** Every kind, and the configurations that a figure is asked of. */
export function entries(names?: readonly string[]): Entry[] {
  const all: Entry[] = attentionKinds.flatMap(({ kind, supports }) => [
    { name: kind, config: { kind, causal: supports.causal !== 'never' } },
    ...(extra[kind] ?? []).map(([name, own]) => ({ name, config: { kind, causal: true, ...own } })),
  ]);
  if (!names) return all;
  return names.flatMap((name) => {
    const found = all.filter((entry) => entry.name === name || entry.config.kind === name);
    return found.length > 0 ? found : [{ name, config: { kind: attentionKind(name).kind } }]; // throws: no such kind
  });
}

const extra: Record<string, [name: string, own: Record<string, unknown>][]> = {
  holo: [['holo segment=512', { segment: 512 }]],
};

/** A layer of its own runtime, with an input and the gradient of its output. */
export class LayerWork {
  readonly runtime: Runtime;
  readonly layer: Attention;
  readonly #rope: Rotary | null;
  readonly #x: Tensor;
  readonly #dy: Tensor;

  constructor(
    { config }: Entry,
    readonly length: number,
    options: RuntimeOptions,
    readonly batch = 1,
  ) {
    this.runtime = new RuntimeClass(options);
    const before = useRuntime(this.runtime);
    manualSeed(1);
    this.layer = createAttention({ ...config, dim: DIM, heads: HEADS });
    this.#rope = this.layer.kind.supports.rope ? new Rotary({ dim: this.layer.rotaryDim, length }) : null;
    [this.#x, this.#dy] = [noise(batch, length, 1), noise(batch, length, 2)];
    useRuntime(before);
  }

  /** Seconds for one pass and a wait for it. */
  async run(pass: Pass): Promise<number> {
    const before = useRuntime(this.runtime);
    try {
      this.#x.requiresGrad = pass === 'both';
      await this.runtime.sync();
      const start = performance.now();
      const forward = () => this.layer.forward(this.#x, { rope: this.#rope });
      if (pass === 'both') scope(() => forward().backward(this.#dy));
      else noGrad(() => scope(() => void forward()));
      await this.runtime.sync();
      const seconds = (performance.now() - start) / 1e3;
      this.layer.zeroGrad();
      this.#x.grad = null;
      return seconds;
    } finally {
      useRuntime(before);
    }
  }

  contender(pass: Pass): Contender {
    return { sample: async () => [await this.run(pass)] };
  }

  /** Largest number of bytes that tensors hold while a pass runs: operands, parameters and gradients included. */
  async peak(pass: Pass): Promise<number> {
    this.runtime.trim();
    await this.run(pass);
    const { host, device } = this.runtime.memory();
    return host.peak + (device?.peak ?? 0);
  }

  /** Seconds a token after `length` tokens, and the bytes that they take; null where the kind cannot decode. */
  async decode(steps: number): Promise<{ seconds: number[]; bytes: number } | null> {
    if (this.layer.kind.complexity.cache === null || !this.layer.config.causal) return null;
    const before = useRuntime(this.runtime);
    const cache = this.layer.newCache(this.batch);
    try {
      await this.#fed(cache, this.#x);
      const bytes = cache.bytes;
      const seconds: number[] = [];
      for (let i = 0; i < steps; i++) {
        const token = noise(this.batch, 1, 3 + i);
        const start = performance.now();
        await this.#fed(cache, token);
        seconds.push((performance.now() - start) / 1e3);
        token.dispose();
      }
      return { seconds, bytes };
    } finally {
      cache.dispose();
      useRuntime(before);
    }
  }

  async #fed(cache: AttentionCache, x: Tensor): Promise<void> {
    noGrad(() => scope(() => void this.layer.forward(x, { rope: this.#rope, cache })));
    await this.runtime.sync();
  }

  dispose(): void {
    this.runtime.dispose();
  }
}

/** xorshift32 in [-1, 1]. */
function noise(batch: number, length: number, seed: number): Tensor {
  let x = (seed * 0x9e3779b9) >>> 0;
  const values = Float32Array.from({ length: batch * length * DIM }, () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return ((x >>> 0) / 2 ** 32) * 2 - 1;
  });
  return tensor(values, [batch, length, DIM]);
}

/** What tests do with layers of any kind. */
import type { AttentionCall, AttentionKind } from '../../src/attention/attention.js';
import { createAttention } from '../../src/attention/registry.js';
import { type Attention, manualSeed, noGrad } from '../../src/index.js';
import { type Module, Parameter } from '../../src/nn/index.js';
import { type Tensor, tensor } from '../../src/tensor/tensor.js';

/** Runs `fn` with other tensors in the place of a module's parameters, in their order. */
export function withParameters<T>(module: Module, values: readonly Tensor[], fn: () => T): T {
  const places: { holder: Record<string, unknown>; field: string; value: Parameter }[] = [];
  const seen = new Set<Parameter>();
  const at = new Map<Parameter, Tensor>();
  module.parameters().forEach((p, i) => {
    at.set(p, values[i]!);
  });
  for (const holder of module.modules())
    for (const [field, value] of Object.entries(holder)) {
      const items = Array.isArray(value) ? value : [value];
      items.forEach((item, i) => {
        if (!(item instanceof Parameter)) return;
        seen.add(item);
        const target = Array.isArray(value) ? (value as unknown as Record<string, unknown>) : holder;
        places.push({
          holder: target as Record<string, unknown>,
          field: Array.isArray(value) ? String(i) : field,
          value: item,
        });
      });
    }
  if (seen.size !== at.size) throw new Error('not every parameter was found');
  for (const { holder, field, value } of places) holder[field] = at.get(value);
  try {
    return fn();
  } finally {
    for (const { holder, field, value } of places) holder[field] = value;
  }
}

/** The largest difference of two lists, element by element. */
export const worst = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, v, i) => Math.max(most, Math.abs(v - b[i]!)), 0);

/** Values in ±1 without structure, the same at every call. */
export const noise = (n: number, seed = 1): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => {
    const s = Math.sin((i + 1) * 12.9898 + seed * 78.233) * 43758.5453;
    return 2 * (s - Math.floor(s)) - 1;
  });

export const sequence = (batch: number, length: number, dim: number, seed = 1): Tensor =>
  tensor(noise(batch * length * dim, seed), [batch, length, dim]);

/** The default configuration of a kind and its samples, on small sizes. */
export function configsOf(kind: AttentionKind): Record<string, unknown>[] {
  const causal = kind.supports.causal !== 'never';
  return [{}, ...kind.samples].map((own) => ({ dim: 16, heads: 4, causal, ...own }));
}

export function layerOf(kind: AttentionKind, config: object, seed = 3): Attention {
  manualSeed(seed);
  return createAttention({ ...config, kind: kind.kind } as never);
}

/** y of a layer, without a gradient. */
export const outputOf = (layer: Attention, x: Tensor, call?: AttentionCall): Float32Array =>
  noGrad(() => layer.forward(x, call).dataSync()) as Float32Array;

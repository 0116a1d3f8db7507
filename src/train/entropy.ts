/** entropy_log.csv: what each head attends to while it learns. */
import { layerEntropies } from '../attention/shared/entropies.js';
import { log } from '../runtime/log.js';
import type { Hook } from './hook.js';
import { looking } from './looking.js';

/**
 * Row entropies of all heads; `uniform` is what attention to all visible keys alike would have. One forward pass of one
 * row tells them all.
 */
export function entropyLog(every: number): Hook {
  const told = new Set<string>();
  return looking({
    every,
    file: 'entropy_log.csv',
    columns: ['layer', 'head', 'entropy', 'uniform'],
    async look({ model }, ids) {
      const layers = await layerEntropies(model, () => model.forward(ids));
      for (const { kind, heads } of layers)
        if (heads === null && !told.has(kind)) {
          told.add(kind);
          log('warn', `entropy_log.csv leaves '${kind}' out: it has no rows of weights of keys`);
        }
      return layers.flatMap(({ heads, uniform }, layer) =>
        Array.from(heads ?? [], (entropy, head) => ({ layer, head, entropy, uniform })),
      );
    },
  });
}

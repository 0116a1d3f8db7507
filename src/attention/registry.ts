/** Every kind, as configurations, tests, benchmarks and documents read them: whatever index.ts exports. */
import { closest } from 'fastest-levenshtein';
import { ArgumentError } from '../runtime/errors.js';
import type { Attention, AttentionInits, AttentionKind } from './attention.js';
import { isAttentionKind } from './attention.js';
import * as exported from './index.js';
import type { ConfigInput, Options } from './shared/config.js';

/** In the order of index.ts. */
export const attentionKinds: readonly AttentionKind[] = (Object.values(exported) as unknown[]).filter(
  isAttentionKind,
);

/** @throws ArgumentError with the nearest name */
export function attentionKind(kind: string): AttentionKind {
  const found = attentionKinds.find((k) => k.kind === kind);
  if (found) return found;
  const names = attentionKinds.map((k) => k.kind);
  throw new ArgumentError(`there is no attention kind '${String(kind)}'`, {
    op: 'attention',
    hint: `did you mean '${closest(String(kind), names)}'? Kinds: ${names.join(', ')}`,
  });
}

/** A configuration of any kind: its name, the common options, and its own. */
export type AnyAttentionConfig = ConfigInput<Options> & { kind: string; [option: string]: unknown };

/** The layer that a plain configuration names: `createAttention({ kind: 'flash', dim: 128, heads: 4 })`. */
export const createAttention = (config: AnyAttentionConfig, inits?: AttentionInits): Attention =>
  attentionKind(config?.kind).create(config, inits);

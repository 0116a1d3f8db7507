/** A layout says how a model lies in a folder: what config.json holds and which names the tensors have. */
import { attentionKind } from '../../attention/registry.js';
import { resolve } from '../../attention/shared/resolve.js';
import { type GPTConfig, type GPTSettings, gptSchema } from '../../model/config.js';
import { hiddenOf } from '../../nn/linear.js';
import type { JsonObject } from '../json.js';

export interface Layout {
  readonly name: string;
  /** Why it cannot express a model exactly; null: it can. What only training reads, such as dropout, does not count. */
  refuses(config: GPTConfig): string | null;
  /** What config.json says of a model that it can express. */
  toConfig(config: GPTConfig): JsonObject;
  /**
   * @param path of config.json, for errors
   * @throws ConfigError for an option that no model here has, FormatError for a value that cannot be
   */
  fromConfig(json: JsonObject, path: string): GPTConfig;
  /** The tensors of a model, one by one: together all of its parameters. */
  slots(config: GPTConfig): Iterable<Slot>;
  /** The name of a tensor of a file as `slots` has it; null for one that is no weight. */
  canonical(name: string): string | null;
}

/** A tensor of a file: rows of one of our parameters, turned over or not. */
export interface Slot {
  name: string;
  /** Ours. */
  parameter: string;
  /** What the rows of our parameter are, as we hold them: [out, in] or [channels]. */
  shape: readonly number[];
  /** The first of these rows, where our parameter has others too. */
  from?: number;
  /** The file holds [in, out]. */
  transposed?: boolean;
  /** Files may hold the parameter under this name once more; here it is not written. */
  copy?: boolean;
}

/** A configuration, every default filled in, with what follows from it. */
export function described(config: GPTConfig) {
  const model = gptSchema.parse(config);
  const { dim, heads, bias, mlp, norm, attention } = model;
  const kind = attentionKind(attention.kind);
  return {
    ...model,
    hidden: model.hidden ?? (mlp === 'none' ? 0 : hiddenOf(dim, mlp)),
    normEps: model.normEps ?? (norm === 'rms' ? 1e-6 : 1e-5),
    attention: { qkNorm: false, ...resolve(kind, { ...attention, dim, heads, bias }), kind: kind.kind },
  };
}

export type Described = ReturnType<typeof described>;

/** What of an option every layout looks at for itself, or leaves what a model computes as it is. */
const free: ReadonlySet<keyof GPTSettings> = new Set([
  ...(['vocab', 'length', 'layers', 'dim', 'heads', 'mlp', 'hidden', 'norm', 'normEps'] as const),
  ...(['positions', 'theta', 'tied', 'bias', 'attention', 'dropout', 'init'] as const),
]);

/** What the others are in a model of pre-norm blocks. */
const plain: Partial<Record<string, readonly unknown[]>> = {
  block: ['sequential'],
  attentionScale: [1],
  shared: [false],
  objective: ['last', 'all'],
};

/** Why a model is not one of pre-norm blocks with exact causal softmax; null where it is. */
export function refusesPlain(model: Described): string | null {
  for (const [key, value] of Object.entries(model))
    if (value !== undefined && !free.has(key as keyof GPTSettings) && !plain[key]?.includes(value))
      return `${key} is ${JSON.stringify(value)}`;
  const { kind, causal, window, alibi } = model.attention;
  if (kind !== 'flash' && kind !== 'mha') return `the attention is '${kind}'`;
  if (!causal) return 'the attention is not causal';
  if (window > 0) return `window is ${window}`;
  if (alibi) return 'alibi is true';
  return null;
}

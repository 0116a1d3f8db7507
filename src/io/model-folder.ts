/**
 * A model as a folder: config.json, model.safetensors, tokenizer.json. Where one of Hugging Face's classes expresses the
 * model exactly, the folder is in its layout and opens there; config.json holds ours, under `attn_vk`, in any case.
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { attentionKind } from '../attention/registry.js';
import type { YarnOptions } from '../attention/shared/extension.js';
import { problemsOf } from '../config/schema.js';
import { type GPTConfig, gptSchema } from '../model/config.js';
import { blockForms } from '../model/forms.js';
import { GPT } from '../model/gpt.js';
import { ArgumentError, CheckpointError, FormatError, ShapeError } from '../runtime/errors.js';
import { readBytes, writeAtomic } from '../runtime/files.js';
import { generator } from '../tensor/generator.js';
import { sizeOf } from '../tensor/shape.js';
import { readTokenizer, type Tokenizer, writeTokenizer } from '../tokenizer/index.js';
import { isObject, type JsonObject, parseObject } from './json.js';
import { gpt2Layout } from './layouts/gpt2.js';
import { described, type Layout } from './layouts/layout.js';
import { llamaLayout, qwen3Layout } from './layouts/llama.js';
import { streamSafetensors } from './safetensors.js';
import { fill, find, ownSlots, sources } from './slots.js';
import { WEIGHTS, Weights } from './weights.js';

const layouts = [gpt2Layout, llamaLayout, qwen3Layout] as const;
const OWN = 'attn-vk';

export type LayoutName = typeof OWN | 'gpt2' | 'llama' | 'qwen3';

export interface SaveOptions {
  /** Written beside the model, so that texts can be read and made. */
  tokenizer?: Tokenizer | null;
  /** Default 'auto': the first of Hugging Face's that expresses the model exactly, else 'attn-vk', which takes any. */
  layout?: 'auto' | LayoutName;
}

/** What stands under `attn_vk` in config.json. */
interface Own {
  version: 1;
  config: GPTConfig;
  /** Where the rotation is not what config says: stretched, dropped, or null: taken away. */
  rope?: { yarn: YarnOptions | null; temperature: number | null } | null;
}

/**
 * Writes the model: each file whole or not at all, config.json last.
 * @throws ArgumentError for a layout that cannot express the model, StorageError where nothing can be written
 */
export async function saveModel(
  folder: string,
  model: GPT,
  { tokenizer, layout: wanted = 'auto' }: SaveOptions = {},
): Promise<void> {
  const layout = choose(model, wanted);
  const slots = layout?.slots(model.config) ?? ownSlots(model);
  await streamSafetensors(join(folder, WEIGHTS), sources(model, slots), { format: 'pt' });
  if (tokenizer) {
    writeTokenizer(join(folder, 'tokenizer.json'), tokenizer);
    const classes = { tokenizer_class: 'PreTrainedTokenizerFast', clean_up_tokenization_spaces: false };
    writeAtomic(join(folder, 'tokenizer_config.json'), json(classes));
  } else
    for (const stale of ['tokenizer.json', 'tokenizer_config.json'])
      rmSync(join(folder, stale), { force: true });
  const own: Own = { version: 1, config: model.config, rope: turned(model) };
  const theirs = layout ? { ...layout.toConfig(model.config), ...untold } : { model_type: OWN };
  writeAtomic(join(folder, 'config.json'), json({ ...theirs, attn_vk: own }));
}

/** Tokens that end a text are the tokenizer's business; unsaid, Hugging Face takes those of the published models. */
const untold = { bos_token_id: null, eos_token_id: null, dtype: 'float32' };

const json = (value: object) => `${JSON.stringify(value, null, 2)}\n`;

/** undefined for our own. */
function choose(model: GPT, wanted: 'auto' | LayoutName): Layout | undefined {
  if (wanted === OWN) return undefined;
  if (wanted === 'auto') return layouts.find((layout) => reason(layout, model) === null);
  const layout = layouts.find(({ name }) => name === wanted);
  if (!layout)
    throw new ArgumentError(`there is no layout '${String(wanted)}'`, {
      op: 'saveModel',
      hint: `auto, ${OWN}, ${layouts.map(({ name }) => name).join(', ')}`,
    });
  const why = reason(layout, model);
  if (why !== null)
    throw new ArgumentError(`the layout '${wanted}' cannot express the model: ${why}`, {
      op: 'saveModel',
      hint: `'${OWN}' takes any model, 'auto' the layout that fits`,
    });
  return layout;
}

/** Why a layout cannot express a model. */
function reason(layout: Layout, model: GPT): string | null {
  const refused = layout.refuses(model.config);
  if (refused !== null) return refused;
  if (turned(model) !== undefined) return 'the rotation was changed after it was made';
  const known = new Set([...layout.slots(model.config)].map(({ parameter }) => parameter));
  const extra = [...model.namedParameters()].find(([name]) => !known.has(name));
  return extra ? `it has a parameter '${extra[0]}'` : null;
}

/** undefined: as the configuration says. */
function turned({ config, rope }: GPT): Own['rope'] {
  if (!rope) return config.positions === 'rope' ? null : undefined;
  const { yarn, temperature } = rope;
  return yarn || temperature !== null ? { yarn, temperature } : undefined;
}

/**
 * A model that was saved here, or a folder of GPT2LMHeadModel, LlamaForCausalLM or Qwen3ForCausalLM; halves become float32.
 * @throws CheckpointError for what is not there or does not belong together, FormatError for files that are damaged,
 * ConfigError for an option that models here have not
 */
export async function loadModel(
  folder: string,
): Promise<{ model: GPT; tokenizer: Tokenizer | null; layout: LayoutName }> {
  const { path, layout, own, config } = understood(folder);
  using weights = new Weights(folder);
  const found = layout && reading(path, () => find(weights, layout.slots(config), layout.canonical));
  if (!found) reading(path, () => plausible(weights, config));
  const model = reading(path, () => made(config));
  try {
    fill(model, found ?? find(weights, ownSlots(model)), weights);
    if (own?.rope !== undefined) reading(path, () => turn(model, own.rope));
    const tokens = join(folder, 'tokenizer.json');
    const tokenizer = existsSync(tokens) ? readTokenizer(tokens) : null;
    return { model, tokenizer, layout: (layout?.name as LayoutName) ?? OWN };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/**
 * Puts the weights of a folder into a model of the same parameters, to the bit; a parameter at a time, with no second
 * model in memory. Options that no parameter shows, such as the rotation, stay as they are.
 * @throws as `loadModel`; CheckpointError, before anything is written, where parameters differ
 */
export function loadWeights(folder: string, model: GPT): void {
  const { path, layout, config } = understood(folder);
  using weights = new Weights(folder);
  const slots = layout ? layout.slots(config) : ownSlots(model);
  fill(
    model,
    reading(path, () => find(weights, slots, layout?.canonical)),
    weights,
  );
}

/** Which layout a folder has, and of which model: its configuration is valid. */
function understood(folder: string): {
  path: string;
  layout: Layout | undefined;
  own: Own | undefined;
  config: GPTConfig;
} {
  const path = join(folder, 'config.json');
  if (!existsSync(path))
    throw new CheckpointError(`there is no ${path}`, { hint: 'name the folder of a model' });
  const theirs = parseObject(readBytes(path), path);
  const told = isObject(theirs.attn_vk) && isObject(theirs.attn_vk.config) ? theirs.attn_vk : undefined;
  if (told && told.version !== 1)
    throw new FormatError(`${path}: attn_vk.version is ${JSON.stringify(told.version)}`, {
      hint: 'this version of attn-vk reads 1',
    });
  const rope = told?.rope ?? null;
  if (rope !== null && !(isObject(rope) && rope.yarn !== undefined && rope.temperature !== undefined))
    throw new FormatError(`${path}: attn_vk.rope is ${JSON.stringify(rope)}`, {
      hint: 'it is null, or says yarn and temperature',
    });
  const own = told as unknown as Own | undefined;
  if (theirs.model_type === OWN && own)
    return { path, layout: undefined, own, config: valid(own.config, `${path}: attn_vk.config`) };
  const layout = layouts.find(({ name }) => name === theirs.model_type);
  if (!layout)
    throw new FormatError(`${path}: model_type is ${JSON.stringify(theirs.model_type)}`, {
      hint: `what can be read is ${[OWN, ...layouts.map(({ name }) => name)].join(', ')}`,
    });
  const config = valid(layout.fromConfig(theirs, path), path);
  // A folder that others changed since, and left our part in, is what they say.
  if (own && agrees(layout, own.config, theirs)) return { path, layout, own, config: own.config };
  return { path, layout, own: undefined, config };
}

function valid(config: GPTConfig, what: string): GPTConfig {
  const [problem] = problemsOf(gptSchema, config);
  if (problem)
    throw new FormatError(`${what} describes no model: ${problem.message}`, { hint: problem.hint });
  return config;
}

function agrees(layout: Layout, config: GPTConfig, theirs: JsonObject): boolean {
  try {
    const told = layout.refuses(config) === null ? Object.entries(layout.toConfig(config)) : undefined;
    return told?.every(([key, value]) => isDeepStrictEqual(theirs[key], value)) ?? false;
  } catch {
    return false;
  }
}

/** What can be told before memory is taken: a model in our own layout knows its parameters only once it is made. */
function plausible(weights: Weights, config: GPTConfig): void {
  const { vocab, dim, layers } = config;
  const { shape } = weights.describe('tokens.weight') ?? {};
  const values = weights.names.reduce((n, name) => n + sizeOf(weights.describe(name)!.shape), 0);
  if (shape?.[0] !== vocab || shape[1] !== dim || leastValues(config) > values)
    throw new CheckpointError(
      `config.json tells of ${vocab} tokens, ${dim} channels, ${layers} layers; the weights in ${weights.folder} are ${weights.names.length} of ${values} values, those of tokens [${shape ?? ''}]`,
      { hint: 'do config.json and the weights belong together?' },
    );
}

/** Values of a model's parameters, without norms, biases of MLPs and a head of its own. */
function leastValues(config: GPTConfig): number {
  const { vocab, dim, length, layers, shared, block, mlp, hidden, positions, attention } = described(config);
  const attends = blockForms[block].attends ? attentionKind(attention.kind).parameters(attention) : 0;
  const feeds = (mlp === 'swiglu' ? 3 : 2) * hidden * dim;
  return (vocab + (positions === 'learned' ? length : 0)) * dim + (shared ? 1 : layers) * (attends + feeds);
}

/** The model of a configuration; its values are to be read, so nothing is drawn from the generator. */
function made(config: GPTConfig): GPT {
  const before = generator.state;
  try {
    return new GPT(config);
  } finally {
    generator.state = before;
  }
}

function turn(model: GPT, rope: Own['rope']): void {
  if (!rope) {
    model.rope?.dispose();
    model.rope = null;
  } else if (model.rope) {
    model.rope.yarn = rope.yarn;
    if (rope.temperature !== null) model.rope.drop({ temperature: rope.temperature });
  }
}

/** What `fn` returns; a value of config.json that it refuses is the file's fault. */
function reading<T>(path: string, fn: () => T): T {
  try {
    return fn();
  } catch (cause) {
    if (!(cause instanceof ArgumentError || cause instanceof ShapeError)) throw cause;
    throw new FormatError(`${path} describes no model: ${cause.what}`, { hint: cause.hint, cause });
  }
}

/**
 * A model as a folder: config.json, model.safetensors, tokenizer.json. Where Hugging Face's classes can express the model
 * exactly, the folder is in their layout and opens there.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { noGrad } from '../autograd/modes.js';
import type { GPTConfig } from '../model/config.js';
import { GPT } from '../model/gpt.js';
import { CheckpointError, FormatError } from '../runtime/errors.js';
import { generator } from '../tensor/generator.js';
import { tensor } from '../tensor/tensor.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { readBytes, writeAtomic } from './files.js';
import { sourceOf } from './host.js';
import { isObject, type JsonObject, parseObject } from './json.js';
import { ownLayout } from './layouts/own.js';
import { SafetensorsFile, streamSafetensors } from './safetensors.js';

export type LayoutName = 'attn-vk' | 'gpt2' | 'llama' | 'qwen3';

export interface SaveOptions {
  tokenizer?: Tokenizer | null;
  layout?: 'auto' | LayoutName;
}

/** Writes the model: each file whole or not at all, config.json last. */
export async function saveModel(folder: string, model: GPT, { tokenizer }: SaveOptions = {}): Promise<void> {
  const parameters = [...model.namedParameters()];
  await streamSafetensors(
    join(folder, 'model.safetensors'),
    Object.fromEntries(parameters.map(([name, p]) => [name, sourceOf(p)])),
    { format: 'pt' },
  );
  if (tokenizer) writeAtomic(join(folder, 'tokenizer.json'), json(tokenizer.toJSON()));
  const own = { version: 1, layout: ownLayout.name, config: model.config };
  writeAtomic(join(folder, 'config.json'), json({ ...ownLayout.toConfig(model), attn_vk: own }));
}

const json = (value: object) => `${JSON.stringify(value, null, 2)}\n`;

/** @throws CheckpointError for what is not there or does not fit the model, FormatError for files that are damaged */
export async function loadModel(
  folder: string,
): Promise<{ model: GPT; tokenizer: Tokenizer | null; layout: string }> {
  const config = ownConfig(readJson(join(folder, 'config.json')), folder);
  const path = join(folder, 'model.safetensors');
  if (!existsSync(path))
    throw new CheckpointError(`there is no ${path}`, { hint: 'name the folder of a model' });
  const drawn = generator.state;
  const model = new GPT(config);
  generator.state = drawn; // weights are read: nothing was drawn
  try {
    using file = new SafetensorsFile(path);
    const wanted = new Map(model.namedParameters());
    for (const name of file.names)
      if (!wanted.has(name))
        throw new CheckpointError(`${path} has a tensor '${name}', which the model has not`, {
          hint: 'config.json and model.safetensors belong together',
        });
    for (const [name] of wanted) {
      if (!file.describe(name))
        throw new CheckpointError(`${path} has no tensor '${name}'`, {
          hint: 'config.json and model.safetensors belong together',
        });
      const { dtype, shape, data } = file.read(name);
      using t = tensor(data, shape, { dtype });
      noGrad(() => model.loadStateDict({ [name]: t }, { strict: false }));
    }
  } catch (error) {
    model.dispose();
    throw error;
  }
  return { model, tokenizer: null, layout: ownLayout.name };
}

function readJson(path: string): JsonObject {
  if (!existsSync(path))
    throw new CheckpointError(`there is no ${path}`, { hint: 'name the folder of a model' });
  return parseObject(readBytes(path), path);
}

function ownConfig(config: JsonObject, folder: string): GPTConfig {
  const own = config.attn_vk;
  if (!isObject(own) || !isObject(own.config))
    throw new FormatError(`${join(folder, 'config.json')} has no attn_vk.config`, {
      hint: 'was the model saved here?',
    });
  return own.config as unknown as GPTConfig;
}

/** The whole configuration of a run, from YAML to what a trainer takes; what cannot be is found before anything is made. */
import { basename } from 'node:path';
import { z } from 'zod';
import { load, parse } from '../config/load.js';
import { toYaml } from '../config/yaml.js';
import { dataKinds, dataSchema } from '../data/registry.js';
import { modelSchema } from '../model/config.js';
import { type AnyDataConfig, type RunConfig, trainSchema } from './config.js';

const dataUnion = z.discriminatedUnion(
  'name',
  dataKinds.map((kind) => dataSchema(kind).describe(kind.doc)) as unknown as [ReturnType<typeof dataSchema>],
) as unknown as z.ZodType<AnyDataConfig, AnyDataConfig>;

/** A run: what is learned, by what model, and how. */
export const runSchema = z.strictObject({
  name: z
    .string()
    .regex(/^\w[\w.+-]*$/, 'letters, digits and . _ + -, as the name of a folder')
    .describe('its folder is runs/<name>; default the name of the file'),
  seed: z.int().min(0).default(0).describe('of parameters, dropout and the order of data'),
  device: z
    .union([z.string().min(1), z.int().min(0)])
    .transform(String)
    .optional()
    .describe('number or part of the name of the Vulkan device; default the first that is usable'),
  route: z
    .enum(['auto', 'cpu', 'gpu'])
    .optional()
    .describe('where ops run; default by measurement, or as ATTN_VK_ROUTE says'),
  data: dataUnion.describe('what is learned'),
  model: modelSchema.describe('the GPT; its vocabulary and length are those of the data'),
  train: trainSchema.describe('how it is trained'),
});

/**
 * The configuration of a file and of what it `extends`, changed by `sets` such as 'train.steps=100'.
 * @throws ConfigError naming the file, the line and the key, what is accepted, and the nearest valid name
 */
export function loadRunConfig(file: string, { sets }: { sets?: readonly string[] } = {}): RunConfig {
  const name = basename(file).replace(/\.ya?ml$/, '');
  return load(runSchema, file, { sets, usual: { name } });
}

/** A configuration that is there already, such as that of a checkpoint. @throws ConfigError naming the key */
export const parseRunConfig = (value: unknown): RunConfig => parse(runSchema, value);

/** YAML of a whole configuration, every default written out: `loadRunConfig` gives an equal one. */
export const dumpRunConfig = (config: RunConfig): string => toYaml(config);

/** The whole configuration of a run, from YAML to what a trainer takes; what cannot be is found before anything is made. */
import { basename } from 'node:path';
import { z } from 'zod';
import { load, parse } from '../config/load.js';
import type { Problem } from '../config/schema.js';
import { dotted, type Path, shapeOf } from '../config/walk.js';
import { toYaml } from '../config/yaml.js';
import { dataKinds, dataSchema } from '../data/registry.js';
import { checkModel } from '../model/check.js';
import { modelOptions } from '../model/config.js';
import { wsd } from '../optim/schedule.js';
import { AttnError } from '../runtime/errors.js';
import { type AnyDataConfig, type RunConfig, type TrainConfig, trainSchema } from './config.js';

const dataUnion = z.discriminatedUnion(
  'name',
  dataKinds.map((kind) => dataSchema(kind).describe(kind.doc)) as unknown as [ReturnType<typeof dataSchema>],
) as unknown as z.ZodType<AnyDataConfig, AnyDataConfig>;

const modelSchema = z.strictObject(modelOptions);

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
  return load(runSchema, file, { sets, check, usual: { name } });
}

/** A configuration that is there already, such as that of a checkpoint. @throws ConfigError naming the key */
export const parseRunConfig = (value: unknown): RunConfig => parse(runSchema, value, check);

/** YAML of a whole configuration, every default written out: `loadRunConfig` gives an equal one. */
export const dumpRunConfig = (config: RunConfig): string => toYaml(config);

/** Values that are fine by themselves and do not go together. */
function check({ model, train }: z.output<typeof runSchema>): Problem[] {
  const problems = [...trainProblems(train)];
  try {
    checkModel(model);
  } catch (error) {
    problems.unshift(optionProblem(error, model));
  }
  return problems;
}

/** The path of an error that begins with the name of an option: that of the model's attention, or its own. */
function optionProblem(error: unknown, model: z.output<typeof modelSchema>): Problem {
  if (!(error instanceof AttnError)) throw error;
  const [option = ''] = /^\w+/.exec(error.what) ?? [];
  const ofAttention = Object.hasOwn(shapeOf(modelOptions.attention, model.attention), option);
  const known = ofAttention || Object.hasOwn(modelOptions, option);
  const path: Path = ['model', ...(ofAttention ? ['attention'] : []), ...(known ? [option] : [])];
  const message = known ? `${dotted(path)}${error.what.slice(option.length)}` : error.what;
  return { path, message, hint: error.hint, fault: 'value' };
}

function* trainProblems({ steps, schedule, earlyStop, eval: evaluation }: TrainConfig): Generator<Problem> {
  const { kind, warmup, decay, floor } = schedule;
  const problem = (path: string, what: string, hint: string): Problem => ({
    path: ['train', ...path.split('.')],
    message: `train.${path} ${what}`,
    hint,
    fault: 'value',
  });
  if (warmup > steps)
    yield problem(
      'schedule.warmup',
      `is ${warmup} and train.steps ${steps}`,
      'the warm-up is part of the steps',
    );
  if (kind !== 'wsd' && decay > 0)
    yield problem(
      'schedule.decay',
      `is ${decay} and train.schedule.kind '${kind}'`,
      "decay is an option of 'wsd'",
    );
  if (kind === 'wsd' && decay === 0)
    yield problem(
      'schedule.decay',
      "is 0 and train.schedule.kind 'wsd'",
      'say over how many steps the rate falls',
    );
  if (kind === 'wsd' && warmup <= steps)
    try {
      wsd({ warmup, decay, floor, total: steps });
    } catch (error) {
      if (!(error instanceof AttnError)) throw error;
      yield problem('schedule.decay', `is ${decay}: ${error.what}`, error.hint ?? '');
    }
  if (earlyStop.patience > 0 && evaluation.every === 0)
    yield problem(
      'earlyStop.patience',
      `is ${earlyStop.patience} and train.eval.every 0`,
      'early stops read evaluations: say every how many steps there is one',
    );
}

/**
 * One checkpoint: a model folder with optimizer.safetensors and state.json beside the weights. It appears whole or not at
 * all, and says of each of its files how long it is and what its SHA-256 is.
 */
import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { loadModel, loadWeights, saveModel } from '../io/model-folder.js';
import { fromHost, readSafetensors, streamSafetensors } from '../io/safetensors.js';
import type { GPT } from '../model/gpt.js';
import type { Optimizer } from '../optim/optimizer.js';
import { AttnError, CheckpointError, StateDictError, StorageError } from '../runtime/errors.js';
import { storageError, syncFolder, writeAtomic } from '../runtime/files.js';
import type { GeneratorState } from '../tensor/generator.js';
import { scope } from '../tensor/scope.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { RunConfig } from './config.js';
import type { MetricsRow } from './hook.js';
import type { Place } from './place.js';

/** Everything of a run but parameters and moments. */
export interface TrainingState {
  /** Updates taken. */
  step: number;
  /** Number of the next batch of the training split. */
  batch: number;
  /** What dropout draws from. */
  generator: GeneratorState;
  /** Of the losses since the last row of metrics.csv: those that are finite, and their sum. */
  losses: { sum: number; count: number };
  /** The last evaluation, and the best one. */
  val: MetricsRow | null;
  best: { step: number; loss: number } | null;
  /** The loss that the next one must beat by `earlyStop.delta`, and evaluations since it was reached. */
  mark: number | null;
  sinceBest: number;
  /** Steps that changed nothing, being not finite. */
  skipped: number;
}

export interface CheckpointState extends TrainingState {
  format: 1;
  /** Of attn-vk and Node. */
  version: string;
  node: string;
  place: Place;
  config: RunConfig;
  optimizer: { name: string; groups: Record<string, unknown>[] };
  /** What modules carry beside parameters, by their number in the model. */
  modules: Record<number, unknown>;
  files: Record<string, { bytes: number; sha256: string }>;
}

export interface Saved {
  model: GPT;
  optimizer: Optimizer;
  tokenizer: Tokenizer | null;
  state: Omit<CheckpointState, 'format' | 'files' | 'optimizer' | 'modules'>;
}

const STATE = 'state.json';
const OPTIMIZER = 'optimizer.safetensors';

/**
 * Writes into a folder beside, makes it durable and gives it its name; one of that name is replaced.
 * @throws StorageError; then nothing is left of it
 */
export async function writeCheckpoint(
  folder: string,
  { model, optimizer, tokenizer, state }: Saved,
): Promise<void> {
  const partial = partialOf(folder);
  try {
    mkdirSync(partial, { recursive: true });
    await saveModel(partial, model, { tokenizer });
    const groups = await scope(async () => {
      const { groups, tensors } = optimizer.stateDict();
      const sources = Object.entries(tensors).map(([name, t]) => [
        name,
        { dtype: t.dtype, shape: t.shape, read: () => t.data() },
      ]);
      await streamSafetensors(join(partial, OPTIMIZER), Object.fromEntries(sources));
      return groups;
    });
    const files: CheckpointState['files'] = {};
    for (const name of readdirSync(partial).sort()) files[name] = await digestOf(join(partial, name));
    const whole: CheckpointState = {
      format: 1,
      ...state,
      optimizer: { name: optimizer.name, groups },
      modules: await carriedBy(model),
      files,
    };
    writeAtomic(join(partial, STATE), sealed(whole));
    replace(folder, partial);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    throw storageError(folder, error);
  }
}

const partialOf = (folder: string): string =>
  join(dirname(folder), `.${basename(folder)}.${process.pid}.tmp`);

async function carriedBy(model: GPT): Promise<CheckpointState['modules']> {
  const states = await Promise.all([...model.modules()].map((m) => m.carried()));
  return Object.fromEntries(states.flatMap((state, i) => (state === undefined ? [] : [[i, state]])));
}

/** What a process that was killed while it wrote has left: of which checkpoint, and whether it is the one to be replaced. */
export function partialNamed(name: string): { checkpoint: string; replaced: boolean } | null {
  const [, checkpoint, end] = /^\.(step-\d+)\.\d+\.(tmp|old)$/.exec(name) ?? [];
  return checkpoint === undefined ? null : { checkpoint, replaced: end === 'old' };
}

function replace(folder: string, by: string): void {
  const old = by.replace(/tmp$/, 'old');
  rmSync(old, { recursive: true, force: true });
  if (existsSync(folder)) renameSync(folder, old);
  renameSync(by, folder);
  syncFolder(dirname(folder));
  rmSync(old, { recursive: true, force: true });
}

async function digestOf(path: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 2 ** 20 }), hash);
  return { bytes: statSync(path).size, sha256: hash.digest('hex') };
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** The state, and what it must hash to. */
function sealed(state: CheckpointState): string {
  return `${JSON.stringify({ ...state, sha256: sha256(JSON.stringify(state)) }, null, 2)}\n`;
}

/**
 * The state of a checkpoint, every file of which is as it was written.
 * @param without files that are not read, and may be missing
 * @throws CheckpointError for what is missing, truncated or changed
 */
export async function readCheckpoint(
  folder: string,
  {
    without = [],
    hint = 'resume from another checkpoint',
  }: { without?: readonly string[]; hint?: string } = {},
): Promise<CheckpointState> {
  const refuse = (why: string): never => {
    throw new CheckpointError(`${folder}: ${why}`, { hint });
  };
  const path = join(folder, STATE);
  if (!existsSync(path)) refuse(`there is no ${STATE}`);
  let read: CheckpointState & { sha256?: string };
  try {
    read = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    return refuse(`${STATE} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  if (typeof read !== 'object' || read === null || read.format !== 1)
    refuse(`${STATE} is of format ${read?.format}, and 1 is expected`);
  const { sha256: seal, ...state } = read;
  if (seal !== sha256(JSON.stringify(state))) refuse(`${STATE} is not what was written: its SHA-256 differs`);
  for (const [name, { bytes, sha256 }] of Object.entries(state.files)) {
    if (without.includes(name)) continue;
    const file = join(folder, name);
    if (!existsSync(file)) refuse(`there is no ${name}`);
    const got = statSync(file).size;
    if (got !== bytes) refuse(`${name} has ${got} bytes and had ${bytes}`);
    if ((await digestOf(file)).sha256 !== sha256)
      refuse(`${name} is not what was written: its SHA-256 differs`);
  }
  // JSON has no NaN.
  const { val } = state;
  return {
    ...state,
    val: val && { ...val, loss: val.loss ?? Number.NaN, perplexity: val.perplexity ?? Number.NaN },
  };
}

/**
 * Puts parameters and moments of a checkpoint, which `readCheckpoint` has approved of, into a model and its optimiser.
 * @throws CheckpointError where they do not fit
 */
export async function restore(
  folder: string,
  state: CheckpointState,
  model: GPT,
  optimizer: Optimizer,
): Promise<void> {
  await fitting(folder, () => loadWeights(folder, model));
  [...model.modules()].forEach((m, i) => {
    if (i in state.modules) m.carry(state.modules[i]);
  });
  await fitting(folder, () =>
    scope(async () => {
      const { tensors } = readSafetensors(join(folder, OPTIMIZER));
      optimizer.loadStateDict({ groups: state.optimizer.groups, tensors: fromHost(tensors) });
    }),
  );
}

/**
 * The model of a folder; that of a checkpoint once its files are known to be as they were written.
 * @throws CheckpointError, and what `loadModel` does
 */
export async function openModel(folder: string): ReturnType<typeof loadModel> {
  await checkModel(folder);
  return loadModel(folder);
}

async function checkModel(folder: string): Promise<void> {
  const hint = `take another checkpoint; one that was changed on purpose is a model, without its ${STATE}`;
  if (existsSync(join(folder, STATE))) await readCheckpoint(folder, { without: [OPTIMIZER], hint });
}

/** Weights of a model folder into a model alike. @throws CheckpointError */
export async function initialise(folder: string, model: GPT): Promise<void> {
  if (!existsSync(folder))
    throw new CheckpointError(`train.init: there is no ${folder}`, {
      hint: 'where it is a checkpoint of another run, train that one first; else name the folder of a model',
    });
  await checkModel(folder);
  await fitting(folder, () => loadWeights(folder, model));
}

async function fitting(folder: string, fn: () => void | Promise<void>): Promise<void> {
  try {
    await fn();
  } catch (error) {
    if (!(error instanceof AttnError) || error instanceof StorageError || error instanceof CheckpointError)
      throw error;
    const what = error instanceof StateDictError ? 'is of another model' : 'cannot be used';
    throw new CheckpointError(`${folder} ${what}: ${error.what}`, { hint: error.hint, cause: error });
  }
}

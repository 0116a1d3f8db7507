/** Where things that are named on the command line lie. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { closest, distance } from 'fastest-levenshtein';
import { hasWeights } from '../io/weights.js';
import { CheckpointError, ConfigError } from '../runtime/errors.js';
import { packageRoot } from '../runtime/load.js';
import { say } from './output.js';

const isConfig = (name: string) => /\.ya?ml$/.test(name);

/** 'configs/copy.flash.yaml' for each that the package brings; those in base are parts of others. */
export function packagedConfigs(): string[] {
  const folder = join(packageRoot(), 'configs');
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => isConfig(name) && !/^base[\\/]/.test(name))
    .map((name) => `configs/${name.replaceAll('\\', '/')}`)
    .sort();
}

/**
 * The file of a configuration: the path itself, else the one of that name that the package brings, which is told.
 * @throws ConfigError where neither is there, with the nearest name
 */
export function findConfig(path: string): string {
  if (existsSync(path)) return path;
  const packaged = packagedConfigs();
  const wanted = path.replace(/^\.\//, '');
  const found = packaged.find((c) =>
    [c, c.slice('configs/'.length)].some((n) => n === wanted || n === `${wanted}.yaml`),
  );
  if (found) {
    const file = join(packageRoot(), found);
    say(`attn-vk: no ${path} in this folder; using the one of the package, ${file}`);
    return file;
  }
  const near =
    packaged.length > 0
      ? closest(
          basename(path),
          packaged.map((c) => basename(c)),
        )
      : undefined;
  const close = near !== undefined && distance(near, basename(path)) <= 4;
  const error = new ConfigError(`${path} is not there`, {
    hint: close
      ? `did you mean 'configs/${near}', which the package brings?`
      : 'give the path of a YAML file; attn-vk config list names those that the package brings',
  });
  error.file = path;
  throw error;
}

/** What a path of a model names. */
export interface Place {
  kind: 'run' | 'checkpoint' | 'model' | 'file';
  /** As it was named. */
  path: string;
  /** The run that it is or belongs to. */
  run: string | null;
  /** The folder with config.json and weights; null for a run that has no checkpoint yet, and for a file. */
  model: string | null;
}

/** Of a run: the checkpoint of the best validation loss, else the latest. */
export type Which = 'best' | 'latest';

/**
 * @throws CheckpointError for a path that is not there, and for a folder that is neither a run, a checkpoint nor a model
 */
export function locate(path: string, which: Which = 'best'): Place {
  const refuse = (what: string, hint: string): never => {
    throw new CheckpointError(what, { hint });
  };
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return refuse(`${path} is not there`, nearby(path));
  if (stat.isFile()) {
    if (path.endsWith('.safetensors')) return { kind: 'file', path, run: null, model: null };
    return refuse(`${path} is a file`, `name the folder of a run, ${wanted}, or a .safetensors file`);
  }
  const has = (name: string) => existsSync(join(path, name));
  if (hasWeights(path) && has('config.json')) {
    if (!has('state.json')) return { kind: 'model', path, run: null, model: path };
    return { kind: 'checkpoint', path, run: runOf(path), model: path };
  }
  if (isRun(path)) return { kind: 'run', path, run: path, model: checkpointOf(path, which) };
  // runs/x/checkpoints: the folder that holds them.
  if (isRun(dirname(resolve(path)))) return locate(dirname(resolve(path)), which);
  return refuse(
    `${path} is neither a run nor ${wanted}`,
    'a run has config.yaml and checkpoints, a model config.json and model.safetensors',
  );
}

const wanted = 'a checkpoint or a folder of a model';

/** Has a run begun in this folder? */
export const isRun = (folder: string): boolean =>
  existsSync(join(folder, 'config.yaml')) && existsSync(join(folder, 'run.json'));

/** The run that a checkpoint lies in: runs/x of runs/x/checkpoints/step-00000100. */
function runOf(checkpoint: string): string | null {
  const run = dirname(dirname(resolve(checkpoint)));
  return isRun(run) ? run : null;
}

/** The same of a run; a best one is not there before the first evaluation. */
function checkpointOf(run: string, which: Which): string | null {
  for (const name of which === 'best' ? ['best', 'latest'] : ['latest']) {
    const file = join(run, 'checkpoints', name);
    if (!existsSync(file)) continue;
    const folder = join(run, 'checkpoints', readFileSync(file, 'utf8').trim());
    if (existsSync(folder)) return folder;
  }
  return null;
}

/** The nearest name in the same folder. */
function nearby(path: string): string {
  const folder = dirname(path);
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const near = names.length > 0 ? closest(basename(path), names) : undefined;
  if (near !== undefined && distance(near, basename(path)) <= 4) return `did you mean ${join(folder, near)}?`;
  return `name the folder of a run, ${wanted}`;
}

/** What has to be there to use a model. @throws CheckpointError as `locate`, and for a run without checkpoints */
export function locateModel(path: string, which: Which = 'best'): Place & { model: string } {
  const place = locate(path, which);
  if (place.model !== null) return { ...place, model: place.model };
  // model.safetensors of a folder that is complete names that folder.
  if (place.kind === 'file' && existsSync(join(dirname(path), 'config.json')))
    return locateModel(dirname(path), which);
  throw new CheckpointError(
    place.kind === 'run'
      ? `${path} names no checkpoint that is there`
      : `there is no config.json beside ${path}`,
    {
      hint:
        place.kind === 'run'
          ? `go on with it: attn-vk train --resume ${path}, which finds any checkpoint that is whole; or name one`
          : 'a model needs its config.json',
    },
  );
}

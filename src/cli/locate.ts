/** Where things that are named on the command line lie. */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { closest, distance } from 'fastest-levenshtein';
import { ConfigError } from '../runtime/errors.js';
import { packageRoot } from '../runtime/load.js';
import { say } from './output.js';

const isConfig = (name: string) => /\.ya?ml$/.test(name);

/** 'configs/copy.flash.yaml' for each that the package brings. */
export function packagedConfigs(): string[] {
  const folder = join(packageRoot(), 'configs');
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(isConfig)
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
      : 'give the path of a YAML file; attn-vk config lists those that the package brings',
  });
  error.file = path;
  throw error;
}

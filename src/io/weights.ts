/** The weights of a model folder: one safetensors file, or several with an index that says which tensor lies where. */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { CheckpointError, FormatError } from '../runtime/errors.js';
import { readBytes } from '../runtime/files.js';
import type { DType } from '../tensor/dtype.js';
import type { HostTensor } from './host.js';
import { isObject, parseObject } from './json.js';
import { SafetensorsFile } from './safetensors.js';

export const WEIGHTS = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';

export const hasWeights = (folder: string): boolean =>
  [WEIGHTS, INDEX].some((name) => existsSync(join(folder, name)));

/** Tensors by name, each read when it is asked for. */
export class Weights {
  readonly #files: readonly SafetensorsFile[];
  readonly #byName = new Map<string, SafetensorsFile>();

  /**
   * @throws CheckpointError where the folder has no weights, FormatError for files that break their format or do not
   * belong together
   */
  constructor(readonly folder: string) {
    const whole = join(folder, WEIGHTS);
    const index = join(folder, INDEX);
    if (existsSync(whole)) this.#files = [new SafetensorsFile(whole)];
    else if (existsSync(index)) this.#files = shards(index);
    else
      throw new CheckpointError(`there is neither ${WEIGHTS} nor ${INDEX} in ${folder}`, {
        hint: existsSync(join(folder, 'pytorch_model.bin'))
          ? 'pytorch_model.bin runs code when it is read: save it as safetensors'
          : 'name the folder of a model',
      });
    for (const file of this.#files) for (const name of file.names) this.#byName.set(name, file);
  }

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  describe(name: string): { dtype: DType; shape: readonly number[] } | undefined {
    return this.#byName.get(name)?.describe(name);
  }

  read(name: string): HostTensor {
    return this.#byName.get(name)!.read(name);
  }

  /** The file in which a tensor lies. */
  pathOf(name: string): string {
    return this.#byName.get(name)!.path;
  }

  close(): void {
    for (const file of this.#files) file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** The files that an index names, which hold just what it says. */
function shards(index: string): SafetensorsFile[] {
  const fail = (what: string, hint: string): never => {
    throw new FormatError(`${index} ${what}`, { hint });
  };
  const { weight_map: map } = parseObject(readBytes(index), index);
  if (!isObject(map)) return fail('has no weight_map', 'it is an object of file names by tensor');
  const files = new Map<string, SafetensorsFile>();
  try {
    for (const [name, file] of Object.entries(map)) {
      if (typeof file !== 'string' || basename(file) !== file || !file.endsWith('.safetensors'))
        return fail(`says that '${name}' lies in ${JSON.stringify(file)}`, 'it is a file beside the index');
      if (!files.has(file)) files.set(file, new SafetensorsFile(join(index, '..', file)));
      if (!files.get(file)!.describe(name))
        return fail(
          `says that '${name}' lies in ${file}, where it is not`,
          'files of several models may be mixed up',
        );
    }
    for (const [file, { names }] of files)
      for (const name of names)
        if (map[name] !== file)
          return fail(
            `does not say that '${name}' lies in ${file}`,
            'files of several models may be mixed up',
          );
  } catch (error) {
    for (const file of files.values()) file.close();
    throw error;
  }
  return [...files.values()];
}

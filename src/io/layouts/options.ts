/** The values of a config.json, checked one by one. */
import { ConfigError, FormatError } from '../../runtime/errors.js';
import { isObject, type JsonObject } from '../json.js';

export class ConfigReader {
  constructor(
    readonly json: JsonObject,
    readonly path: string,
    /** Of keys, where the object is a part of another: 'rope_scaling.'. */
    readonly prefix = '',
  ) {}

  /** An object within this one. */
  inner(key: string): ConfigReader {
    const value = this.json[key];
    if (isObject(value)) return new ConfigReader(value, this.path, `${key}.`);
    throw new FormatError(`${this.path}: ${key} is ${JSON.stringify(value)}`, { hint: 'it is an object' });
  }

  /** An integer of 1 or more. null stands for nothing. @param fallback where the key is not there; none: it must be */
  size(key: string, fallback?: number): number {
    return this.#value(
      key,
      fallback,
      (x) => Number.isSafeInteger(x) && (x as number) >= 1,
      'an integer, 1 or more',
    );
  }

  number(key: string, fallback?: number): number {
    return this.#value(key, fallback, (x) => Number.isFinite(x) && (x as number) >= 0, 'a number, 0 or more');
  }

  flag(key: string, fallback: boolean): boolean {
    return this.#value(key, fallback, (x) => typeof x === 'boolean', 'true or false');
  }

  text(key: string, fallback: string): string {
    return this.#value(key, fallback, (x) => typeof x === 'string', 'a text');
  }

  /** An option that models here have in no other way. */
  only(key: string, wanted: unknown): void {
    const value = this.json[key];
    if (value !== undefined && value !== null && value !== wanted)
      this.refuse(key, value, `models here are of ${this.prefix}${key} ${JSON.stringify(wanted)}`);
  }

  /** @throws ConfigError naming file and key */
  refuse(key: string, value: unknown, hint: string): never {
    throw Object.assign(
      new ConfigError(`${this.path}: ${this.prefix}${key} is ${JSON.stringify(value)}`, { hint }),
      {
        path: this.prefix + key,
        file: this.path,
      },
    );
  }

  #value<T>(key: string, fallback: T | undefined, fits: (x: unknown) => boolean, what: string): T {
    const value = this.json[key] ?? fallback;
    if (fits(value)) return value as T;
    throw new FormatError(`${this.path}: ${this.prefix}${key} is ${JSON.stringify(value)}`, {
      hint: `it is ${what}`,
    });
  }
}

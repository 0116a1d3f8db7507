/** From a file, the files that it extends and what a command line sets, to one checked configuration. */
import { dirname, isAbsolute, join, normalize, resolve } from 'node:path';
import type { z } from 'zod';
import type { ConfigError } from '../runtime/errors.js';
import { problemsOf, show } from './schema.js';
import { setAll } from './set.js';
import { configError, type Entry, errorAt, merge, type Origin, plain, type Tree, treeOf } from './tree.js';
import { absent, at, child, discriminatorOf } from './walk.js';
import { readYaml } from './yaml.js';

/** The key by which a file names those that it builds upon. */
export const EXTENDS = 'extends';

export interface LoadOptions {
  /** 'a.b=c', of a command line: c is YAML. */
  sets?: readonly string[];
  /** What stands where neither the file nor those that it extends say something. */
  usual?: Record<string, unknown>;
}

/**
 * The configuration of a file, every default filled in. Later files of `extends` are laid upon earlier ones, the file
 * itself upon them, and `sets` upon all.
 * @throws ConfigError with file, line and column of the first problem
 */
export function load<S extends z.ZodType>(schema: S, file: string, options: LoadOptions = {}): z.output<S> {
  const { sets = [], usual = {} } = options;
  const read = readAll(file, schema);
  const whole = merge(treeOf(usual, read.at), read, schema);
  const tree = setAll(whole, sets, schema);
  return parse(schema, plain(tree), tree);
}

/** The same of a value that is there already. @throws ConfigError with the path of the first problem */
export function parse<S extends z.ZodType>(schema: S, value: unknown, tree?: Tree): z.output<S> {
  const whole = withNames(schema, value);
  const [wrong] = problemsOf(schema, whole);
  if (wrong) throw configError(wrong, tree);
  return schema.parse(whole);
}

/** Groups of options that leave out which kind they are, where there is one that stands for none. */
function withNames(schema: z.core.$ZodType, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item, i) => under(schema, i, item, value));
  if (typeof value !== 'object' || value === null) return value;
  const key = discriminatorOf(schema);
  const usual = key !== undefined ? at(absent(schema), key) : undefined;
  const named =
    key === undefined || usual === undefined || Object.hasOwn(value, key)
      ? value
      : { [key]: usual, ...value };
  return Object.fromEntries(
    Object.entries(named).map(([name, item]) => [name, under(schema, name, item, named)]),
  );
}

function under(schema: z.core.$ZodType, key: string | number, item: unknown, whole: unknown): unknown {
  const inside = child(schema, key, whole);
  return inside ? withNames(inside, item) : item;
}

/** A file upon those that it extends. `chain`: the files that led here. */
function readAll(file: string, schema: z.core.$ZodType, chain: readonly string[] = []): Tree {
  const tree = readYaml(file);
  const own = tree.value as Map<string, Entry>;
  const named = own.get(EXTENDS);
  if (!named) return tree;
  const here = [...chain, file];
  const rest = new Map(own);
  rest.delete(EXTENDS);
  const bases = Array.isArray(named.tree.value) ? named.tree.value : [named.tree];
  let below: Tree | undefined;
  for (const base of bases) {
    if (typeof base.value !== 'string')
      throw errorAt(base.at, `${EXTENDS} is ${show(plain(base))}, expected a file, or a list of files`, {
        path: EXTENDS,
        hint: 'relative to the file that names it: base/enwik8.yaml',
      });
    const path = isAbsolute(base.value) ? base.value : normalize(join(dirname(file), base.value));
    const first = here.findIndex((other) => resolve(other) === resolve(path));
    if (first >= 0)
      throw errorAt(base.at, `${EXTENDS} goes in a circle: ${[...here.slice(first), path].join(' → ')}`, {
        path: EXTENDS,
        hint: 'take one of them out',
      });
    const read = located(base.at, () => readAll(path, schema, here));
    below = below ? merge(below, read, schema) : read;
  }
  return below ? merge(below, { at: tree.at, value: rest }, schema) : { at: tree.at, value: rest };
}

/** A file that cannot be read is a fault of the line that names it. */
function located<T>(at: Origin, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { line, what, hint } = error as ConfigError;
    if (what === undefined || line !== undefined) throw error;
    throw errorAt(at, what, { hint, path: EXTENDS, cause: error });
  }
}

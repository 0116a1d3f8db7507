/** Configurations that remember where each key and value came from. */
import { ConfigError } from '../runtime/errors.js';
import type { Problem } from './schema.js';
import { absent, at, child, discriminatorOf, dotted, type Path } from './walk.js';

/** A place in a file, lines and columns from 1; or what a command line said. */
export type Origin = { file: string; line: number; column: number } | { set: string };

export interface Tree {
  /** Of the value. */
  at: Origin;
  value: Map<string, Entry> | Tree[] | Scalar;
}

export interface Entry {
  /** Of the key. */
  key: Origin;
  tree: Tree;
}

export type Scalar = string | number | boolean | null;

type Schema = Parameters<typeof child>[0];

/** Plain objects and lists. */
export function plain({ value }: Tree): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (!(value instanceof Map)) return value;
  // Not by assignment: that of '__proto__' would be lost.
  return Object.fromEntries([...value].map(([key, { tree }]) => [key, plain(tree)]));
}

/** A tree of which every part came from one place. */
export function treeOf(value: unknown, at: Origin): Tree {
  if (Array.isArray(value)) return { at, value: value.map((item) => treeOf(item, at)) };
  if (typeof value !== 'object' || value === null) return { at, value: value as Scalar };
  const entries = Object.entries(value).map(
    ([key, item]) => [key, { key: at, tree: treeOf(item, at) }] as const,
  );
  return { at, value: new Map(entries) };
}

/** `over` upon `base`: groups of options are merged, all else is replaced; so is a group that is of another kind. */
export function merge(base: Tree, over: Tree, schema: Schema | undefined): Tree {
  if (!(base.value instanceof Map) || !(over.value instanceof Map)) return over;
  const key = schema && discriminatorOf(schema);
  if (key !== undefined && over.value.has(key)) {
    const before = base.value.get(key)?.tree.value ?? at(absent(schema!), key);
    if (before !== undefined && before !== over.value.get(key)!.tree.value) return over;
  }
  // What lies under a key depends on the kind, which either may name.
  const all = { ...(plain(base) as object), ...(plain(over) as object) };
  const merged = new Map(base.value);
  for (const [name, entry] of over.value) {
    const below = base.value.get(name);
    const tree = below ? merge(below.tree, entry.tree, schema && child(schema, name, all)) : entry.tree;
    merged.set(name, { key: entry.key, tree });
  }
  return { at: over.at, value: merged };
}

/** Where a key or its value stands; where there is none, the group of options that it would stand in. */
export function locate(tree: Tree, path: Path, what: 'key' | 'value'): Origin {
  let here: Entry = { key: tree.at, tree };
  for (const name of path) {
    const { value } = here.tree;
    const next =
      value instanceof Map
        ? value.get(String(name))
        : Array.isArray(value)
          ? itemOf(value, Number(name))
          : undefined;
    if (!next) return here.key;
    here = next;
  }
  return what === 'key' ? here.key : here.tree.at;
}

const itemOf = (list: readonly Tree[], index: number): Entry | undefined =>
  list[index] && { key: list[index].at, tree: list[index] };

/** The error of a problem, with the place of what is at fault. */
export function configError(
  { path, message, hint, fault }: Problem,
  tree?: Tree,
  cause?: unknown,
): ConfigError {
  const origin = tree && locate(tree, path, fault === 'key' ? 'key' : 'value');
  return errorAt(origin, message, { hint, path: dotted(path), cause });
}

export function errorAt(
  origin: Origin | undefined,
  message: string,
  { hint, path = '', cause }: { hint?: string; path?: string; cause?: unknown } = {},
): ConfigError {
  const error = new ConfigError(origin ? `${showOrigin(origin)}: ${message}` : message, { hint, cause });
  error.path = path;
  if (origin && 'file' in origin) {
    error.file = origin.file;
    error.line = origin.line;
    error.column = origin.column;
  }
  return error;
}

const showOrigin = (origin: Origin): string =>
  'set' in origin ? `--set ${origin.set}` : `${origin.file}:${origin.line}:${origin.column}`;

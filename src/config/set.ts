/** `--set a.b=c`: values of a command line, laid upon a configuration. */
import type { z } from 'zod';
import { didYouMean, nearestPath } from './schema.js';
import { type Entry, errorAt, merge, type Origin, plain, type Tree, treeOf } from './tree.js';
import { absent, child, discriminatorOf, dotted, type Path, schemaAt, typeOf } from './walk.js';
import { parseYaml } from './yaml.js';

interface Assignment {
  path: Path;
  tree: Tree;
  origin: Origin;
}

/** Which member of a union is meant comes before what it takes, in whatever order both were said. */
export function setAll(tree: Tree, sets: readonly string[], schema: z.core.$ZodType): Tree {
  const parsed = sets.map(assignment);
  const names = ({ path }: Assignment) => {
    const above = schemaAt(schema, path.slice(0, -1), plain(tree));
    return above !== undefined && discriminatorOf(above) === path.at(-1);
  };
  const ordered = [...parsed.filter(names), ...parsed.filter((set) => !names(set))];
  return ordered.reduce((now, set) => assign(now, set, schema), tree);
}

function assignment(set: string): Assignment {
  const origin: Origin = { set };
  const [, name, text] = /^([^=]*)=(.*)$/s.exec(set) ?? [];
  const path = name?.trim().split('.') ?? [];
  if (text === undefined || path.some((key) => key === ''))
    throw errorAt(origin, 'this is no assignment', { hint: 'such as --set train.steps=100' });
  return { path, tree: parseYaml(text, () => origin), origin };
}

function assign(tree: Tree, { path, tree: value, origin }: Assignment, schema: z.core.$ZodType): Tree {
  const whole = plain(tree);
  if (!schemaAt(schema, path, whole))
    throw errorAt(origin, `${dotted(path)} does not exist`, {
      path: dotted(path),
      hint: didYouMean(dotted(nearestPath(path, schema, whole))),
    });
  return put(tree, path, value, origin, schema);

  function put(
    here: Tree,
    [step, ...rest]: Path,
    value: Tree,
    origin: Origin,
    schema: z.core.$ZodType,
  ): Tree {
    if (step === undefined) return value;
    const given =
      here.value instanceof Map || Array.isArray(here.value)
        ? here
        : treeOf(absent(schema) ?? (isList(schema) ? [] : {}), origin);
    const inside = child(schema, step, plain(given))!;
    if (Array.isArray(given.value)) {
      const index = Number(step);
      if (index > given.value.length)
        throw errorAt(origin, `${dotted(path)} is beyond the end of a list of ${given.value.length}`, {
          path: dotted(path),
          hint: 'the first entry is 0',
        });
      const items = [...given.value];
      items[index] = put(items[index] ?? treeOf(absent(inside) ?? null, origin), rest, value, origin, inside);
      return { at: given.at, value: items };
    }
    const before = given.value as Map<string, Entry>;
    const name = String(step);
    const old = before.get(name);
    const under = old?.tree ?? treeOf(absent(inside) ?? null, origin);
    const made = put(under, rest, value, origin, inside);
    const entry = { key: old && made.at !== origin ? old.key : origin, tree: made };
    const over: Tree = { at: given.at, value: new Map([[name, entry]]) };
    // Another kind leaves nothing of the one before.
    if (rest.length === 0 && discriminatorOf(schema) === name) {
      const merged = merge(given, over, schema);
      return merged === over ? { ...over, at: origin } : merged;
    }
    return { at: given.at, value: new Map([...before, [name, entry]]) };
  }
}

const isList = (schema: z.core.$ZodType) => ['array', 'tuple'].includes(typeOf(schema));

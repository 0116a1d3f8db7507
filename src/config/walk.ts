/** Ways through a zod schema: what lies under a key, which member of a union a value is, which names there are. */
import { z } from 'zod';

export type Path = readonly (string | number)[];

type Schema = z.core.$ZodType;
type Union = z.core.$ZodUnionDef & { discriminator?: string };

const def = (schema: Schema) => schema._zod.def as z.core.$ZodTypeDef & Record<string, unknown>;

/** What a wrapper such as `.optional()`, `.default(…)` or a pipe wraps. */
function inner(schema: Schema): Schema | undefined {
  const d = def(schema);
  if (d.type === 'pipe') return d.in as Schema;
  if (d.type === 'lazy') return (d.getter as () => Schema)();
  return d.innerType as Schema | undefined;
}

/** The schema under its wrappers. */
export function bare(schema: Schema): Schema {
  const under = inner(schema);
  return under ? bare(under) : schema;
}

export const typeOf = (schema: Schema): string => def(bare(schema)).type;

/** The first description, from the outside in. */
export function describe(schema: Schema | undefined): string | undefined {
  if (!schema) return undefined;
  return (schema as z.ZodType).description ?? describe(inner(schema));
}

/** What stands where nothing is given: undefined where something must be. */
export function absent(schema: Schema): unknown {
  const d = def(schema);
  if (d.type === 'default' || d.type === 'prefault') return d.defaultValue;
  const under = inner(schema);
  return under && absent(under);
}

/** The key by which the members of a union are told apart. */
export function discriminatorOf(schema: Schema): string | undefined {
  const d = def(bare(schema));
  return d.type === 'union' ? (d as unknown as Union).discriminator : undefined;
}

export const membersOf = (schema: Schema): readonly Schema[] =>
  typeOf(schema) === 'union' ? (def(bare(schema)) as unknown as Union).options : [];

/** The member of a discriminated union that a value names, or that stands where it names none; else the schema itself. */
export function memberFor(schema: Schema, value: unknown): Schema {
  const key = discriminatorOf(schema);
  if (key === undefined) return bare(schema);
  const named = at(value, key) ?? at(absent(schema), key);
  return (
    membersOf(schema).find((member) => member._zod.propValues?.[key]?.has(named as string)) ?? bare(schema)
  );
}

/** Names to schemas of an object; of a union without a member chosen, those of all members. */
export function shapeOf(schema: Schema, value?: unknown): Readonly<Record<string, Schema>> {
  const chosen = memberFor(schema, value);
  const d = def(chosen);
  if (d.type === 'object') return d.shape as Record<string, Schema>;
  if (d.type !== 'union') return {};
  const key = discriminatorOf(chosen);
  if (key === undefined) return Object.assign({}, ...membersOf(chosen).map((member) => shapeOf(member)));
  // Without a member chosen nothing is known but what tells members apart.
  return { [key]: z.enum(namesOf(chosen)) };
}

/** The values of the key that tells the members of a union apart. */
export const namesOf = (schema: Schema): string[] => {
  const key = discriminatorOf(schema)!;
  return membersOf(schema).flatMap((member) => [...(member._zod.propValues?.[key] ?? [])].map(String));
};

/** The schema of one entry; undefined where there is no such key. */
export function child(schema: Schema, key: string | number, value?: unknown): Schema | undefined {
  const d = def(memberFor(schema, value));
  if (d.type === 'array') return isIndex(key) ? (d.element as Schema) : undefined;
  if (d.type === 'tuple') return isIndex(key) ? (d.items as Schema[])[Number(key)] : undefined;
  if (d.type === 'record') return d.valueType as Schema;
  const shape = shapeOf(schema, value);
  return Object.hasOwn(shape, key) ? shape[key] : undefined;
}

export const isIndex = (key: string | number): boolean => /^(0|[1-9][0-9]*)$/.test(String(key));

/** The schema at a path, by the members that a value names. */
export function schemaAt(schema: Schema, path: Path, value: unknown): Schema | undefined {
  let found: Schema | undefined = schema;
  let here = value;
  for (const key of path) {
    found = found && child(found, key, here);
    here = at(here, key);
  }
  return found;
}

/** Every path that may be set, branches before what lies under them. */
export function* paths(schema: Schema, value: unknown, under: Path = []): Generator<Path> {
  for (const [key, entry] of Object.entries(shapeOf(schema, value))) {
    const path = [...under, key];
    yield path;
    yield* paths(entry, at(value, key), path);
  }
}

/** An entry of a plain object or list. */
export const at = (value: unknown, key: string | number): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;

export const valueAt = (value: unknown, path: Path): unknown => path.reduce<unknown>(at, value);

export const dotted = (path: Path): string => path.join('.');

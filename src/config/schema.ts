/** The one place where zod's issues become messages: what was got, what is accepted, and the nearest valid name. */
import { closest, distance } from 'fastest-levenshtein';
import { z } from 'zod';
import {
  at,
  bare,
  describe,
  discriminatorOf,
  dotted,
  membersOf,
  namesOf,
  type Path,
  paths,
  schemaAt,
  shapeOf,
  typeOf,
  valueAt,
} from './walk.js';

export interface Problem {
  path: Path;
  /** What was got and what is accepted; it names the path. */
  message: string;
  hint: string | undefined;
  /** What is at fault: the name of the key, its value, or that there is none. */
  fault: 'key' | 'value' | 'absence';
}

type Issue = z.core.$ZodIssue;

/** The problems of a value, in the order of zod; none where it is valid. */
export function problemsOf(schema: z.core.$ZodType, value: unknown): Problem[] {
  const result = z.safeParse(schema, value);
  if (result.success) return [];
  const problems = result.error.issues.flatMap(single).map((issue) => explain(issue, value, schema));
  // A name that is misspelt is often missing too: the slip is what to mend.
  return [
    ...problems.filter(({ fault }) => fault === 'key'),
    ...problems.filter(({ fault }) => fault !== 'key'),
  ];
}

/** Unknown keys are an issue each. */
const single = (issue: Issue): Issue[] =>
  issue.code === 'unrecognized_keys' ? issue.keys.map((key) => ({ ...issue, keys: [key] })) : [issue];

/** What an issue says to a person. `value` and `schema` are those that were parsed: the whole, not the part at fault. */
export function explain(issue: Issue, value: unknown, schema: z.core.$ZodType): Problem {
  const inside = innerIssue(issue);
  if (inside) return explain(inside, value, schema);
  const path = issue.path.map((key) => (typeof key === 'number' ? key : String(key)));
  if (issue.code === 'unrecognized_keys') return unknownKey(issue.keys[0]!, path, value, schema);
  if (issue.code === 'custom' && issue.params) {
    const { what, hint } = issue.params as Refusal;
    return { path, message: `${dotted(path)}${/^\w/.test(what) ? ' ' : ''}${what}`, hint, fault: 'value' };
  }
  const option = schemaAt(schema, path, value);
  const got = valueAt(value, path);
  const slip =
    got === undefined && issue.code === 'invalid_union' ? strangers(path, value, schema)[0] : undefined;
  if (slip !== undefined) return unknownKey(slip, path.slice(0, -1), value, schema);
  const own = ['custom', 'invalid_format'].includes(issue.code) ? issue.message : undefined;
  const expected = own ?? (option ? accepts(option) : issue.message);
  return {
    path,
    message: `${path.length > 0 ? dotted(path) : 'the configuration'} is ${show(got)}, expected ${expected}`,
    hint: [option && nearestValue(got, option), about(path, value, schema)].filter(Boolean).join(' '),
    fault: got === undefined ? 'absence' : 'value',
  };
}

/** What the nearest option that has a description says of itself. */
function about(path: Path, value: unknown, schema: z.core.$ZodType): string {
  for (let end = path.length; end > 0; end--) {
    const doc = describe(schemaAt(schema, path.slice(0, end), value));
    if (doc) return `${path[end - 1]}: ${doc}`;
  }
  return `Options: ${Object.keys(shapeOf(schema, value)).join(', ')}`;
}

/** Where no member of a union is named: keys beside the name's place that none of the members has. */
function strangers(path: Path, value: unknown, schema: z.core.$ZodType): string[] {
  const above = path.slice(0, -1);
  const union = schemaAt(schema, above, value);
  if (!union || discriminatorOf(union) === undefined) return [];
  const known = new Set(membersOf(union).flatMap((member) => Object.keys(shapeOf(member))));
  const given = valueAt(value, above);
  return typeof given === 'object' && given !== null
    ? Object.keys(given).filter((key) => !known.has(key))
    : [];
}

/** What is wrong with values that are fine by themselves: `what` completes a sentence that begins with the path. */
interface Refusal {
  what: string;
  hint?: string;
}

/** Adds an issue that says in its own words what does not go together: of `superRefine`. */
export const refused = (context: z.RefinementCtx, path: Path, params: Refusal): void =>
  context.addIssue({ code: 'custom', path: [...path], message: params.what, params: { ...params } });

function unknownKey(key: string, under: Path, value: unknown, schema: z.core.$ZodType): Problem {
  const parent = schemaAt(schema, under, value);
  const known = parent ? Object.keys(shapeOf(parent, valueAt(value, under))) : [];
  const path = [...under, key];
  const options = `Options${parent ? owner(parent, valueAt(value, under), under) : ''}: ${known.join(', ')}`;
  return {
    path,
    message: `${dotted(path)} is unknown`,
    hint:
      known.length > 0
        ? `${didYouMean(beside(under, nearestPath(path, schema, value)))} ${options}`
        : 'it takes no options',
    fault: 'key',
  };
}

/** A path as it is called beside another of the same group: by its last name. */
const beside = (under: Path, path: Path): string =>
  path.length === under.length + 1 && under.every((key, i) => key === path[i])
    ? String(path.at(-1))
    : dotted(path);

/** As many letters as a slip of the fingers changes. */
const slip = (name: string) => Math.min(2, Math.floor(name.length / 2));

/**
 * The valid path nearest to one that is none: of the same group, where the letters are nearly those; else one of the same
 * name elsewhere; else the nearest there is.
 */
export function nearestPath(path: Path, schema: z.core.$ZodType, value: unknown): Path {
  const above = path.slice(0, -1);
  const key = String(path.at(-1));
  const parent = schemaAt(schema, above, value);
  const names = parent ? Object.keys(shapeOf(parent, valueAt(value, above))) : [];
  const nearest = names.length > 0 ? closest(key, names) : undefined;
  if (nearest !== undefined && distance(key, nearest) <= slip(key)) return [...above, nearest];
  const all = [...paths(schema, value)];
  const namesakes = all.filter((other) => other.length > 1 && other.at(-1) === key);
  if (namesakes.length > 0) return closestPath(path, namesakes);
  return nearest === undefined ? closestPath(path, all) : [...above, nearest];
}

function closestPath(path: Path, known: readonly Path[]): Path {
  const name = closest(dotted(path), known.map(dotted));
  return known.find((other) => dotted(other) === name)!;
}

/** Whose options: the member of a union, or the key above. */
function owner(parent: z.core.$ZodType, value: unknown, under: Path): string {
  const key = discriminatorOf(parent);
  const member = key === undefined ? undefined : at(value, key);
  if (typeof member === 'string') return ` of '${member}'`;
  return under.length > 0 ? ` of ${dotted(under)}` : '';
}

export const didYouMean = (name: string): string => `did you mean '${name}'?`;

/** For a text where one of several texts belongs. */
function nearestValue(got: unknown, option: z.core.$ZodType): string | undefined {
  const known = literalsOf(option).filter((x) => typeof x === 'string');
  return typeof got === 'string' && known.length > 0 ? didYouMean(closest(got, known)) : undefined;
}

function literalsOf(schema: z.core.$ZodType): readonly unknown[] {
  const inside = bare(schema);
  const { type, values, entries } = inside._zod.def as unknown as {
    type: string;
    values: unknown[];
    entries: Record<string, string>;
  };
  if (type === 'literal') return values;
  if (type === 'enum') return Object.values(entries);
  return type === 'union' && !discriminatorOf(schema) ? membersOf(schema).flatMap(literalsOf) : [];
}

/** Of a union that is told apart by shape: the issue of the member that the value comes nearest to, if one is deep. */
function innerIssue(issue: Issue): Issue | undefined {
  if (issue.code !== 'invalid_union' || !('errors' in issue)) return undefined;
  const deep = issue.errors
    .map((issues) => issues[0]!)
    .filter((inside) => inside && (inside.path.length > 0 || inside.code === 'unrecognized_keys'));
  return deep.length === 1 ? { ...deep[0]!, path: [...issue.path, ...deep[0]!.path] } : undefined;
}

/** What a schema accepts, in words. */
export function accepts(schema: z.core.$ZodType): string {
  const literals = literalsOf(schema);
  switch (typeOf(schema)) {
    case 'number':
      return numbers(schema);
    case 'string':
      return 'text';
    case 'boolean':
      return 'true or false';
    case 'array':
      return list(schema);
    case 'tuple': {
      const items = (bare(schema)._zod.def as unknown as { items: z.core.$ZodType[] }).items.map(accepts);
      const same = items.every((item) => item === items[0]);
      return `a list of ${items.length}: ${same ? `each ${items[0]}` : items.join(', ')}`;
    }
    case 'literal':
    case 'enum':
      return alternatives(literals.map(show));
    case 'union':
      return discriminatorOf(schema) ? union(schema) : alternatives(membersOf(schema).map(accepts));
    default:
      return 'a group of options';
  }
}

function union(schema: z.core.$ZodType): string {
  const key = discriminatorOf(schema)!;
  return `a group of options whose ${key} is ${alternatives(namesOf(schema).map(show))}`;
}

interface Limit {
  value: number;
  inclusive: boolean;
}

/** What the checks of a schema say, by their names. */
function limits(schema: z.core.$ZodType) {
  const { checks = [], format } = bare(schema)._zod.def as unknown as {
    checks?: z.core.$ZodCheck[];
    format?: string;
  };
  const found = (check: string) =>
    checks
      .map(({ _zod }) => _zod.def as z.core.$ZodCheckDef & Record<string, unknown>)
      .find((d) => d.check === check);
  return {
    whole: format === 'safeint',
    low: found('greater_than') as Limit | undefined,
    high: found('less_than') as Limit | undefined,
    least: found('min_length')?.minimum as number | undefined,
    most: found('max_length')?.maximum as number | undefined,
  };
}

function numbers(schema: z.core.$ZodType): string {
  const { whole, low, high } = limits(schema);
  const bounds = [
    low && (low.inclusive ? ` of at least ${low.value}` : ` above ${low.value}`),
    high && (high.inclusive ? ` of at most ${high.value}` : ` below ${high.value}`),
  ];
  return `a ${whole ? 'whole ' : ''}number${bounds.filter(Boolean).join(' and')}`;
}

function list(schema: z.core.$ZodType): string {
  const { least = 0, most } = limits(schema);
  const count = most !== undefined ? ` of ${least} to ${most}` : least > 0 ? ` of at least ${least}` : '';
  return `a list${count}, each ${accepts((bare(schema) as unknown as z.ZodArray).element)}`;
}

const alternatives = (words: readonly string[]): string =>
  words.length > 1 ? `${words.slice(0, -1).join(', ')} or ${words.at(-1)}` : (words[0] ?? 'nothing');

/** A value as a message quotes it. */
export function show(value: unknown): string {
  if (value === undefined) return 'missing';
  if (typeof value === 'string') return cut(`'${value}'`);
  return typeof value === 'object' && value !== null ? cut(JSON.stringify(value)) : String(value);
}

const LONGEST = 60;
const cut = (text: string) => (text.length > LONGEST ? `${text.slice(0, LONGEST - 2)} …` : text);

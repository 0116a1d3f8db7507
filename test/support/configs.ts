/** Configurations that nobody thought of, from the schema itself. */
import fc from 'fast-check';
import type { z } from 'zod';
import { bare, discriminatorOf, membersOf } from '../../src/config/walk.js';

type Schema = z.core.$ZodType;

/** What goes together now and then: of options by these names, these alone. */
const likely: Record<string, readonly unknown[]> = {
  name: ['x', 'true', '1e3', '4_000', 'null', 'a.b-c'],
  length: [64, 128],
  segment: [8],
  pairs: [2, 8],
  keys: [64],
  queries: [1, 2],
  modulus: [undefined],
  dim: [32],
  heads: [4],
  kvHeads: [4],
  headDim: [8],
  rank: [1, 4],
  modes: [[4, 8]],
  ranks: [[1, 2, 1]],
  window: [0],
  alibi: [false],
  causal: [true],
  matchParams: [false],
  unitNorm: [undefined],
  minTile: [4],
  maxTile: [16],
  tileSize: [8],
  mlp: ['gelu', 'swiglu'],
  hidden: [undefined, 7],
  positions: ['learned', 'none'],
  objective: ['last', 'all', 'exit1'],
  schedule: [{ kind: 'wsd', decay: 1, floor: 0 }, { kind: 'linear', floor: 0.125 }, {}],
  patience: [0],
};

/** Values of a schema, each key that may be missing so now and then. Not every one goes together with the others. */
export function arbitraryOf(schema: Schema, name = ''): fc.Arbitrary<unknown> {
  const inside = bare(schema) as z.core.$ZodType & z.ZodType;
  const def = inside._zod.def as unknown as {
    type: string;
    shape: Record<string, Schema>;
    element: Schema;
    items: Schema[];
    values: unknown[];
    entries: Record<string, string>;
  };
  if (likely[name] && def.type !== 'literal') return fc.constantFrom(...likely[name]);
  switch (def.type) {
    case 'object':
      return record(def.shape);
    case 'union':
      return fc.oneof(...membersOf(inside).map((member) => arbitraryOf(member)));
    case 'array':
      return fc.array(arbitraryOf(def.element), { minLength: 1, maxLength: 3 });
    case 'tuple':
      return fc.tuple(...def.items.map((item) => arbitraryOf(item)));
    case 'literal':
      return fc.constantFrom(...def.values);
    case 'enum':
      return fc.constantFrom(...Object.values(def.entries));
    case 'boolean':
      return fc.boolean();
    case 'number':
      return number(inside as unknown as z.ZodNumber);
    case 'string':
      return fc.constantFrom('a', 'a file: of # text', "it's", '~', 'no', '1_000', '- x', 'ü\n');
    default:
      throw new Error(`no arbitrary of ${def.type}`);
  }
}

function record(shape: Record<string, Schema>): fc.Arbitrary<unknown> {
  const entries = Object.entries(shape).map(([key, schema]) => {
    const values = arbitraryOf(schema, key);
    const optional = schema._zod.optin === 'optional' && discriminatorOf(schema) === undefined;
    return [key, optional ? fc.option(values, { nil: undefined, freq: 1 }) : values] as const;
  });
  return fc
    .record(Object.fromEntries(entries))
    .map((value) => Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)));
}

function number({ minValue, maxValue, isInt }: z.ZodNumber): fc.Arbitrary<number> {
  const low = Math.max(minValue ?? 0, 0);
  if (isInt) return fc.integer({ min: low, max: Math.min(low + 40, maxValue ?? 40) });
  return fc.double({ min: low + 1e-6, max: Math.min(0.99, maxValue ?? 1), noNaN: true });
}

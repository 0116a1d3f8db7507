/** What `--set` may set, of every kind of data, model and optimiser: 'model.attention.kind=flash', 'train.steps='. */
import type { z } from 'zod';
import { jsonSchema } from '../config/json-schema.js';
import type { Candidate } from './complete.js';

interface Json {
  description?: string;
  properties?: Record<string, Json>;
  anyOf?: Json[];
  enum?: unknown[];
  const?: unknown;
  type?: string | string[];
}

export function settings(schema: z.ZodType): Candidate[] {
  const { extends: _, ...properties } = (jsonSchema(schema, '') as Json).properties!;
  const found = new Map<string, Candidate>();
  for (const candidate of within({ properties }, ''))
    if (!found.has(candidate.value)) found.set(candidate.value, candidate);
  return [...found.values()];
}

/** Values where they are few, else the name alone, for the value to follow. */
function* within(json: Json, path: string): Generator<Candidate> {
  for (const member of json.anyOf ?? []) yield* within({ description: json.description, ...member }, path);
  if (json.properties)
    for (const [key, inside] of Object.entries(json.properties))
      yield* within(inside, path ? `${path}.${key}` : key);
  else if (!json.anyOf) {
    const values =
      json.enum ?? ('const' in json ? [json.const] : json.type === 'boolean' ? [true, false] : ['']);
    for (const value of values) yield { value: `${path}=${value}`, doc: json.description };
  }
}

/** JSON Schema of configurations as files spell them: what editors complete YAML from and check it by. */
import { z } from 'zod';
import { EXTENDS } from './load.js';

type Json = Record<string, unknown>;

const file = { type: 'string', minLength: 1 };

/** Any key may come from a file that is extended, so none is required; that all are there is for `config check` to say. */
export function jsonSchema(schema: z.ZodType, title: string): Json {
  const { properties, ...whole } = z.toJSONSchema(schema, {
    io: 'input',
    override: ({ jsonSchema }) => asWritten(jsonSchema as Json),
  }) as Json;
  const bases = {
    anyOf: [file, { type: 'array', items: file, minItems: 1 }],
    description: 'files that this one builds upon, relative to it; later ones prevail, this one over all',
  };
  return { ...whole, title, properties: { [EXTENDS]: bases, ...(properties as Json) } };
}

function asWritten(json: Json): void {
  delete json.required;
  // Where the key that tells members apart is inherited, several of them fit.
  if (json.oneOf) {
    json.anyOf = json.oneOf;
    delete json.oneOf;
  }
  if (json.maximum === Number.MAX_SAFE_INTEGER) delete json.maximum;
  if (json.minimum === Number.MIN_SAFE_INTEGER) delete json.minimum;
  // 4_000_000 is text to JSON Schema, and a number to `readYaml`.
  if (json.type === 'integer')
    Object.assign(json, { type: ['integer', 'string'], pattern: '^[0-9]+(_[0-9]+)+$' });
}

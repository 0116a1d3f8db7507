/** JSON as formats want it: each key of an object once. */
import { FormatError } from '../runtime/errors.js';

export type JsonObject = { [key: string]: unknown };

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * @param what names the text in errors: a file, or a part of one
 * @throws FormatError for bytes that are no UTF-8, no JSON or no object, and for a key that stands twice
 */
export function parseObject(bytes: Uint8Array, what: string): JsonObject {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (error) {
    throw new FormatError(`${what} is not JSON: ${(error as Error).message}`, {
      hint: 'the file is damaged, or something else',
      cause: error,
    });
  }
  if (!isObject(value))
    throw new FormatError(`${what} is JSON, but no object`, { hint: 'it begins with { and ends with }' });
  const twice = repeatedKey(text);
  if (twice !== undefined)
    throw new FormatError(`${what} has the key ${JSON.stringify(twice)} twice`, {
      hint: 'which one holds cannot be told',
    });
  return value;
}

/** The first key that an object of a valid JSON text has twice. */
function repeatedKey(text: string): string | undefined {
  const open: (Set<string> | null)[] = []; // keys so far of each object around, null for arrays
  let previous = '';
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]/g)) {
    const keys = open.at(-1);
    if (token[0] === '"' && keys && (previous === '{' || previous === ',')) {
      const key = JSON.parse(token) as string;
      if (keys.has(key)) return key;
      keys.add(key);
    } else if (token === '{') open.push(new Set());
    else if (token === '[') open.push(null);
    else if (token === '}' || token === ']') open.pop();
    previous = token;
  }
  return undefined;
}

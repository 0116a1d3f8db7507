/** JSON as formats want it: each key of an object once. */
import { FormatError } from '../runtime/errors.js';

export type JsonObject = { [key: string]: unknown };

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * @param what names the text in errors: a file, or a part of one
 * @throws FormatError for bytes that are no UTF-8, no JSON or no object, for a key that stands twice, and for nesting that
 * whoever walks the value would not survive
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
  check(text, what);
  return value;
}

/** As deep as any format here goes, and far from the end of the stack. */
const DEEPEST = 100;

/** Reads a valid JSON text again, for what its value does not show. */
function check(text: string, what: string): void {
  const open: (Set<string> | null)[] = []; // keys so far of each object around, null for arrays
  let previous = '';
  for (let at = 0; at < text.length; at++) {
    const token = text[at]!;
    if (!'"{}[],:'.includes(token)) continue;
    if (token === '"') {
      const start = at++;
      for (; text[at] !== '"'; at++) if (text[at] === '\\') at++;
      const keys = open.at(-1);
      if (keys && (previous === '{' || previous === ',')) {
        const key = JSON.parse(text.slice(start, at + 1)) as string;
        if (keys.has(key))
          throw new FormatError(`${what} has the key ${JSON.stringify(key)} twice`, {
            hint: 'which one holds cannot be told',
          });
        keys.add(key);
      }
    } else if (token === '{') open.push(new Set());
    else if (token === '[') open.push(null);
    else if (token === '}' || token === ']') open.pop();
    if (open.length > DEEPEST)
      throw new FormatError(`${what} is nested more than ${DEEPEST} deep`, {
        hint: 'the file is damaged, or something else',
      });
    previous = token;
  }
}

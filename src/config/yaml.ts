/** YAML 1.2 to trees that know their lines, and back. Whole numbers may be written 4_000_000. */
import { isUtf8 } from 'node:buffer';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { closest } from 'fastest-levenshtein';
import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type ScalarTag,
  stringify,
  type Tags,
} from 'yaml';
import type { ConfigError } from '../runtime/errors.js';
import { type Entry, errorAt, type Origin, type Scalar, type Tree } from './tree.js';

const separated: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^[-+]?[0-9]+(_[0-9]+)+$/,
  resolve: (text) => Number(text.replaceAll('_', '')),
};
const options = { version: '1.2' as const, customTags: (tags: Tags) => [separated, ...tags] };

/** What `readYaml` reads again as an equal value. */
export const toYaml = (value: unknown): string => stringify(value, { ...options, lineWidth: 0 });

/**
 * The one document of a text.
 * @param place of a character of the text
 * @throws ConfigError for syntax, keys given twice, tabs, anchors and tags
 */
export function parseYaml(text: string, place: (offset: number) => Origin, lineCounter?: LineCounter): Tree {
  const document = parseDocument(text, { ...options, prettyErrors: false, lineCounter });
  const wrong = document.errors[0] ?? document.warnings[0];
  if (wrong) throw errorAt(place(wrong.pos[0]), ...worded(wrong.code, wrong.message));
  return document.contents ? treeFrom(document.contents, place) : { at: place(0), value: null };
}

/** @throws ConfigError for a file that is not there, is no text, or breaks YAML */
export function readYaml(file: string): Tree {
  const text = readText(file);
  const lines = new LineCounter();
  const place = (offset: number): Origin => {
    const { line, col } = lines.linePos(offset);
    return { file, line, column: col };
  };
  const tree = parseYaml(text, place, lines);
  if (tree.value === null)
    throw fileError(file, 'the file is empty', 'it is YAML: attn-vk config schema says of which keys');
  if (!(tree.value instanceof Map))
    throw errorAt(tree.at, 'the file is no group of options', { hint: 'it is YAML such as name: copy' });
  return tree;
}

function readText(file: string): string {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const what = {
      ENOENT: 'there is no such file',
      EISDIR: 'it is a folder, not a file',
      EACCES: 'it may not be read',
    };
    throw fileError(
      file,
      what[code as keyof typeof what] ?? message,
      nearestFile(file) ?? 'name a YAML file',
    );
  }
  if (!isUtf8(bytes) || bytes.includes(0))
    throw fileError(file, 'the file is no text', 'a configuration is YAML in UTF-8');
  return new TextDecoder().decode(bytes);
}

function nearestFile(file: string): string | undefined {
  try {
    const names = readdirSync(dirname(file), { withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && /\.ya?ml$/.test(entry.name))
      .map(({ name }) => name);
    return names.length > 0
      ? `did you mean '${join(dirname(file), closest(basename(file), names))}'?`
      : undefined;
  } catch {
    return undefined;
  }
}

function fileError(file: string, what: string, hint?: string): ConfigError {
  const error = errorAt(undefined, `${file}: ${what}`, { hint });
  error.file = file;
  return error;
}

type Worded = [message: string, details: { hint?: string }];

/** The parser's own words, or better ones. */
function worded(code: string, message: string): Worded {
  switch (code) {
    case 'DUPLICATE_KEY':
      return ['this key is given twice', { hint: 'keep one of them' }];
    case 'TAB_AS_INDENT':
      return ['a tab indents this line', { hint: 'YAML is indented by spaces' }];
    case 'MULTIPLE_DOCS':
      return [
        'the file holds several documents',
        { hint: 'one file, one configuration: leave out the line of ---' },
      ];
    default:
      return [
        `this is no YAML: ${message}`,
        { hint: 'it is lines of key: value; what belongs to a key is indented below it' },
      ];
  }
}

function treeFrom(node: Node, place: (offset: number) => Origin): Tree {
  const at = place(node.range?.[0] ?? 0);
  if (isAlias(node) || ('anchor' in node && node.anchor))
    throw errorAt(at, 'anchors and aliases are not read', { hint: 'share options by extends: <file>' });
  if (isSeq(node)) return { at, value: node.items.map((item) => treeFrom(item as Node, place)) };
  if (isMap(node)) {
    const entries = new Map<string, Entry>();
    for (const { key, value } of node.items) {
      const where = isNode(key) ? place(key.range?.[0] ?? 0) : at;
      if (!isScalar(key) || key.anchor || key.value === null || typeof key.value === 'object')
        throw errorAt(where, 'this key is no name', { hint: 'a key is a word: steps: 100' });
      // What stands for a value that was left out is at the end of its key.
      const tree = isNode(value) ? treeFrom(value, place) : { at: where, value: null };
      const name = String(key.source ?? key.value);
      if (entries.has(name)) throw errorAt(where, ...worded('DUPLICATE_KEY', ''));
      entries.set(name, { key: where, tree });
    }
    return { at, value: entries };
  }
  if (isScalar(node) && isPlain(node.value)) return { at, value: node.value };
  throw errorAt(at, `this is no value of a configuration`, {
    hint: 'text, numbers, true, false, lists and groups of options are',
  });
}

const isPlain = (value: unknown): value is Scalar =>
  value === null || ['string', 'number', 'boolean'].includes(typeof value);

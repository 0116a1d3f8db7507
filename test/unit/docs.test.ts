/** What the documents say of commands, settings and ops is what there is. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nativeSources, typescriptSources } from '../../scripts/sources.mjs';
import { kindDocument } from '../../src/report/kind-table.js';
import { opDocument } from '../../src/report/op-table.js';
import { packageRoot } from '../../src/runtime/load.js';

const root = packageRoot();
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const documents = ['README.md', 'CONTRIBUTING.md', 'ARCHITECTURE.md'].map(read).join('\n');

test('OPS.md is what the ops say: npm run docs writes it', () => {
  expect(read('OPS.md')).toBe(opDocument());
});

test('KINDS.md is what the attention kinds say', () => {
  expect(read('KINDS.md')).toBe(kindDocument());
});

test('every npm command that a document names exists', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const named = [...documents.matchAll(/npm run (?:-s )?([\w:]+)/g)].map((m) => m[1]!);
  expect(named.length).toBeGreaterThan(5);
  for (const name of named) expect(scripts, `npm run ${name}`).toHaveProperty([name]);
  for (const name of Object.keys(scripts).filter((n) => /^(bench|test|gate|docs|lint|format)/.test(n)))
    expect(documents, `a word about ${name}`).toMatch(new RegExp(`npm (run )?${name}\\b`));
});

test('every variable that the program reads is described, and every one described is read', () => {
  const used = new Set<string>();
  const sources = [...nativeSources(root), ...typescriptSources(root)].filter((f) => !f.includes('test/'));
  for (const file of [...sources, 'scripts/setup.mjs', 'test/conformance.test.ts'])
    for (const [, name] of read(file).matchAll(/(?:process\.env\.|getenv\("|env[A-Z]\w+\(')(ATTN_VK_\w+)/g))
      used.add(name!);
  const described = new Set(documents.match(/\bATTN_VK_[A-Z_]+\b/g));
  expect([...described].sort()).toEqual([...used].sort());
});

test('files that documents link to or name exist', () => {
  for (const [, file] of documents.matchAll(
    /(?:\]\(|`)((?:src|native|shaders|scripts|bench|test)\/[\w./-]+\.\w+|[A-Z]+\.md)[)`]/g,
  ))
    if (!file!.includes('<')) expect(() => read(file!), file).not.toThrow();
});

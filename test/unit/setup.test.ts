import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { describePackage, missing } from '../../scripts/packages.mjs';
import { isFresh, lockSatisfied } from '../../scripts/setup.mjs';
import { digest, nativeSources, typescriptSources } from '../../scripts/sources.mjs';

describe('what setup finds stale', () => {
  test('a product is fresh only with its stamp, its sources and its own mark unchanged', () => {
    const stamp = { sources: 'a', product: '10:1' };
    expect(isFresh(stamp, 'a', '10:1')).toBe(true);
    expect(isFresh(stamp, 'b', '10:1')).toBe(false);
    expect(isFresh(stamp, 'a', '10:2')).toBe(false);
    expect(isFresh(stamp, 'a', undefined)).toBe(false);
    expect(isFresh(null, 'a', '10:1')).toBe(false);
  });

  test('the digest follows content and names, not time', () => {
    const root = mkdtempSync(join(tmpdir(), 'attn-vk-setup-'));
    mkdirSync(join(root, 'native/cpu'), { recursive: true });
    writeFileSync(join(root, 'CMakeLists.txt'), 'x');
    mkdirSync(join(root, 'scripts'));
    writeFileSync(join(root, 'scripts/shaders.mjs'), '');
    writeFileSync(join(root, 'native/cpu/map.cc'), 'int a;');
    writeFileSync(join(root, 'native/notes.txt'), 'not a source');
    const sources = () => nativeSources(root);
    expect(sources()).toEqual(['CMakeLists.txt', 'native/cpu/map.cc', 'scripts/shaders.mjs']);
    const before = digest(root, sources());
    writeFileSync(join(root, 'native/cpu/map.cc'), 'int a;');
    expect(digest(root, sources())).toBe(before);
    writeFileSync(join(root, 'native/cpu/map.cc'), 'int b;');
    const edited = digest(root, sources());
    expect(edited).not.toBe(before);
    writeFileSync(join(root, 'native/cpu/map2.cc'), '');
    expect(digest(root, sources())).not.toBe(edited);
  });

  test("this checkout's own sources are found", () => {
    const root = new URL('../..', import.meta.url).pathname;
    expect(nativeSources(root)).toContain('native/engine/types.h');
    expect(nativeSources(root)).toContain('shaders/lib/head.glsl');
    expect(typescriptSources(root)).toContain('src/runtime/errors.ts');
  });
});

describe('node_modules against the lock file', () => {
  const lock = {
    packages: {
      '': { version: '1.0.0' },
      'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' },
      'node_modules/b-darwin': { version: '1.0.0', integrity: 'sha512-b', optional: true },
    },
  };
  const installed = (a: object) => ({ packages: { 'node_modules/a': a } });

  test('satisfied, optional packages of other platforms aside', () => {
    expect(lockSatisfied(lock, installed({ version: '1.0.0', integrity: 'sha512-a' }))).toBe(true);
  });
  test.each([
    ['no node_modules', null],
    ['no record', {}],
    ['a package lacking', { packages: {} }],
    ['another version', installed({ version: '1.0.1', integrity: 'sha512-a' })],
    ['other bytes', installed({ version: '1.0.0', integrity: 'sha512-c' })],
  ])('not satisfied: %s', (_, record) => {
    expect(lockSatisfied(lock, record)).toBe(false);
  });
});

test('a package that is nowhere is missing, one that stands in PATH by other means is not', () => {
  const absent = { apt: 'attn-vk-no-such-package', command: 'attn-vk-no-such-command' };
  const present = { apt: 'attn-vk-no-such-package-either', command: 'sh' };
  expect(missing([absent, present])).toEqual([absent]);
  expect(describePackage(absent)).toBe('command attn-vk-no-such-command');
});

import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { NativeLoadError } from '../../src/runtime/errors.js';
import { loadNative, packageRoot, remedy } from '../../src/runtime/load.js';

afterEach(() => vi.unstubAllEnvs());

function loadError(binary: string): NativeLoadError {
  vi.stubEnv('ATTN_VK_BINARY', binary);
  try {
    loadNative();
  } catch (error) {
    if (error instanceof NativeLoadError) return error;
    throw error;
  }
  throw new Error('loaded, though it should not have');
}

describe('ATTN_VK_BINARY', () => {
  test('naming a missing file fails, names the file, and tries nothing else', () => {
    const path = join(tmpdir(), 'attn-vk-no-such-file.node');
    const error = loadError(path);
    expect(error.code).toBe('ATTN_NATIVE_LOAD');
    expect(error.attempts).toEqual([{ path, reason: 'no such file' }]);
    expect(error.message).toContain(path);
    expect(error.hint).toContain('unset it');
  });

  test('naming a text file fails with the reason of the system and says how to build', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'attn-vk-load-')), 'text.node');
    writeFileSync(
      path,
      'this is no shared library, though it is long enough to hold an ELF header'.repeat(4),
    );
    const error = loadError(path);
    expect(error.attempts).toHaveLength(1);
    expect(error.attempts[0]!.reason).toMatch(/invalid ELF header/);
    expect(error.hint).toContain('npm run build:native');
    expect(error.hint).toContain('ATTN_VK_BINARY');
  });
});

describe('the remedy fits the reason', () => {
  const path = '/p/attn_vk.node';
  test.each([
    ['libdnnl.so.2: cannot open shared object file: No such file or directory', 'apt-get install libdnnl2'],
    ['libodd.so.7: cannot open shared object file: No such file or directory', 'libodd.so.7 is missing'],
    ["/lib/libc.so.6: version `GLIBC_2.38' not found (required by x)", 'it wants GLIBC_2.38'],
    ['wrong ELF class: ELFCLASS32', `no binary for ${process.platform}-${process.arch}`],
    ['undefined symbol: napi_odd', 'npm run build:native'],
    ['no such file', 'nothing is built yet'],
  ])('%s', (reason, advice) => {
    expect(remedy([{ path, reason }])).toContain(advice);
  });

  test('a file that is missing does not hide why another one failed', () => {
    const attempts = [
      { path: '/a', reason: 'no such file' },
      { path: '/b', reason: 'wrong ELF class: ELFCLASS32' },
    ];
    expect(remedy(attempts)).toContain('/b');
  });
});

test('the package root is the folder of its package.json', () => {
  expect(existsSync(join(packageRoot(), 'CMakeLists.txt'))).toBe(true);
});

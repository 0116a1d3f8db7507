/** The compiled command line, as a user runs it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/load.js';

const cli = join(packageRoot(), 'dist/src/cli/index.js');
const folder = mkdtempSync(join(tmpdir(), 'attn-vk-cli-'));

function attnVk(args: string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ATTN_VK_CACHE: folder, ...env },
  });
  return { status, stdout, stderr };
}

/** Both names of the variable: loaders before 1.3.207 know the second alone. */
const drivers = (file: string) => ({ VK_DRIVER_FILES: file, VK_ICD_FILENAMES: file });

describe('usage', () => {
  test('--help and --version end with 0, on stdout', () => {
    const help = attnVk(['--help']);
    expect(help.status).toBe(0);
    expect(help.stdout).toContain('doctor');
    expect(attnVk(['--version']).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
  test.each([[['nonsense']], [['doctor', '--nonsense']], [[]]])('wrong usage ends with 2: %j', (args) => {
    const { status, stdout, stderr } = attnVk(args);
    expect(status).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).not.toBe('');
  });
});

describe('doctor', () => {
  test('--json is JSON, and names the addon, the CPU and the loader', () => {
    const { status, stdout } = attnVk(['doctor', '--json']);
    expect(status).toBe(0);
    const d = JSON.parse(stdout);
    expect(d.addon.path).toMatch(/\.node$/);
    expect(d.cpu.cores).toBeGreaterThan(0);
    expect(d.cpu.kernels).not.toEqual([]);
    expect(d.vulkan).toHaveProperty('loader');
    expect(d.crash).toBeNull();
    expect(d.cache.folder).toBe(folder);
  });

  test('no driver: says so, says what to do, and is an error only with --require-gpu', () => {
    const none = drivers(join(folder, 'no-such-driver.json'));
    const { status, stdout } = attnVk(['doctor'], none);
    expect(status).toBe(0);
    expect(stdout).toContain('No usable Vulkan device: ops run on the CPU.');
    expect(attnVk(['doctor', '--require-gpu'], none).status).toBe(3);
  });

  test('a driver that kills the process is reported, with the CPU facts all the same', () => {
    // A "driver" whose constructor raises SIGABRT as it is loaded.
    const source = join(folder, 'crash.c');
    const library = join(folder, 'crash.so');
    const manifest = join(folder, 'crash.json');
    writeFileSync(
      source,
      '#include <stdlib.h>\n__attribute__((constructor)) static void boom(void) { abort(); }\n',
    );
    expect(spawnSync('cc', ['-shared', '-fPIC', '-o', library, source]).status).toBe(0);
    const icd = { file_format_version: '1.0.0', ICD: { library_path: library, api_version: '1.2.0' } };
    writeFileSync(manifest, JSON.stringify(icd));
    const { status, stdout } = attnVk(['doctor', '--json'], drivers(manifest));
    const d = JSON.parse(stdout);
    expect(status).toBe(0);
    expect(d.crash).toContain('SIGABRT');
    expect(d.cpu.cores).toBeGreaterThan(0);
  });

  test('an addon that does not load ends with 1, and stdout tells what mends it', () => {
    const text = join(folder, 'text.node');
    writeFileSync(text, 'no addon '.repeat(20));
    const { status, stdout } = attnVk(['doctor'], { ATTN_VK_BINARY: text });
    expect(status).toBe(1);
    expect(stdout).toContain(text);
    expect(stdout).toContain('npm run build:native');
  });
});

describe('route', () => {
  const none = drivers(join(folder, 'no-such-driver.json'));

  test('--json gives, for every op and size, both estimates, the choice and the reason', () => {
    const { status, stdout } = attnVk(['route', 'add', 'matmul', '--sizes', '8,32', '--json']);
    expect(status).toBe(0);
    const { choices } = JSON.parse(stdout);
    expect(choices.map((c: { op: string }) => c.op)).toEqual(['add', 'add', 'matmul', 'matmul']);
    for (const c of choices) {
      expect(['cpu', 'gpu']).toContain(c.side);
      expect(c.cpu).toBeGreaterThan(0);
      expect(c.reason).not.toBe('');
    }
  });

  test('without a device everything stays on the CPU, said on stderr; --require-gpu makes it an error', () => {
    const { status, stdout, stderr } = attnVk(['route', 'add', '--sizes', '8', '--json'], none);
    expect(status).toBe(0);
    expect(JSON.parse(stdout).choices.map((c: { side: string }) => c.side)).toEqual(['cpu']);
    expect(stderr).toContain('no usable Vulkan device');
    expect(attnVk(['route', 'add', '--sizes', '8', '--require-gpu'], none).status).toBe(3);
  });

  test.each([[['nonsense']], [['fill']], [['add', '--sizes', '0']], [['add', '--dtype', 'float12']]])(
    'wrong usage ends with 2: %j',
    (args) => {
      const { status, stderr } = attnVk(['route', ...args], none);
      expect(status).toBe(2);
      expect(stderr).toMatch(/nonsense|fill|sizes|float12/);
    },
  );
});

describe('test:vulkan', () => {
  const walk = (args: string[], env: Record<string, string> = {}) =>
    spawnSync(process.execPath, [join(packageRoot(), 'dist/test/vulkan.js'), ...args], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
    });

  test.each([[['--nonsense']], [['--ops', 'nonsense']]])('wrong usage ends with 2: %j', (args) => {
    const { status, stderr } = walk(args);
    expect(status).toBe(2);
    expect(stderr).toContain('nonsense');
  });

  test('no device is an error only with --require-gpu', () => {
    const none = drivers(join(folder, 'no-such-driver.json'));
    expect(walk([], none).status).toBe(0);
    const { status, stdout } = walk(['--require-gpu'], none);
    expect(status).toBe(3);
    expect(stdout).toContain('no usable Vulkan device');
  });
});

/**
 * cmake-js and node-gyp each build the addon from a clean copy of the checkout, with an empty home folder and no
 * network, and the addon loads. Minutes long: `npm run test:builds`.
 */
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/load.js';

const root = packageRoot();
const scratch = mkdtempSync(join(tmpdir(), 'attn-vk-builds-'));
const tree = join(scratch, 'tree');
const addon = join(tree, 'build/Release/attn_vk.node');

/** A namespace without network where the system lets us have one; elsewhere proxies that lead nowhere. */
const offline = spawnSync('unshare', ['-rn', 'true']).status === 0 ? ['unshare', '-rn'] : ['env'];
const nowhere = 'http://127.0.0.1:9';

/** A compiler cache that the caller uses stays in use. */
const compilerCache = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => name.startsWith('CCACHE_') || name.startsWith('CMAKE_CXX_COMPILER'),
  ),
);

function run(...command: string[]): string {
  const [file, ...args] = [...offline, ...command];
  const home = join(scratch, 'home');
  mkdirSync(home, { recursive: true });
  const env = {
    PATH: process.env.PATH,
    ...compilerCache,
    HOME: home,
    http_proxy: nowhere,
    https_proxy: nowhere,
  };
  const { status, stdout, stderr } = spawnSync(file!, args, {
    cwd: tree,
    encoding: 'utf8',
    env,
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(`${command.join(' ')} failed:\n${stdout}\n${stderr}`);
  return stdout + stderr;
}

beforeAll(() => {
  const list = spawnSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
    cwd: root,
    encoding: 'utf8',
  });
  for (const file of list.stdout.split('\0').filter((f) => f && existsSync(join(root, f)))) {
    mkdirSync(dirname(join(tree, file)), { recursive: true });
    cpSync(join(root, file), join(tree, file));
  }
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
});

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const load = () => run(process.execPath, '-p', `require(${JSON.stringify(addon)}).cpuInfo().cores`);

describe('from a clean copy, offline', () => {
  test('npm run build:native (cmake-js)', () => {
    run('npm', 'run', '-s', 'build:native');
    expect(Number(load())).toBeGreaterThan(0);
    expect(run('ldd', addon)).not.toMatch(/libvulkan|not found/);
  });

  test('npm run build:gyp (node-gyp), and again after an edit', () => {
    rmSync(join(tree, 'build'), { recursive: true, force: true });
    run('npm', 'run', '-s', 'build:gyp');
    expect(Number(load())).toBeGreaterThan(0);
    expect(run('ldd', addon)).not.toMatch(/libvulkan|not found/);

    const gyp = () => run(process.execPath, 'node_modules/node-gyp/bin/node-gyp.js', 'build');
    const built = () => statSync(addon).mtimeMs;
    const first = built();
    gyp();
    expect(built()).toBe(first);
    appendFileSync(
      join(tree, 'native/addon.cc'),
      '\nextern const int attn_edited;\nconst int attn_edited = 1;\n',
    );
    gyp();
    expect(built()).toBeGreaterThan(first);
  });
});

/** The package as it is installed: in an empty folder, with its dependencies and nothing of this checkout. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { scratch } from '../support/folders.js';
import { exec, pack, unpack } from '../support/package.js';

const folder = scratch();
beforeAll(() => unpack(pack(folder), folder));

const env = { ...process.env, ATTN_VK_ROUTE: 'cpu', ATTN_VK_CACHE: join(folder, 'cache') };
const npx = (...args: string[]) => exec('npx', ['--no-install', 'attn-vk', ...args], folder, env);

test('npx attn-vk train finds the configurations of the package, says so, and trains', () => {
  const { status, stderr } = npx(
    'train',
    'configs/copy.flash.yaml',
    '--set',
    'train.steps=2',
    '--set',
    'train.schedule.warmup=0',
  );
  expect(stderr).toContain('using the one of the package');
  expect(status, stderr).toBe(0);
  expect(readdirSync(join(folder, 'runs'))).toEqual(['copy.flash']);
  expect(existsSync(join(folder, 'runs/copy.flash/checkpoints/step-00000002/model.safetensors'))).toBe(true);
});

test('commands that need what a clone has say so', () => {
  const { status, stderr } = npx('bench', 'train');
  expect(status).toBe(3);
  expect(stderr).toContain('in a clone of attn-vk: npm run bench:train');
});

test('the package is what its exports say, types included', () => {
  const { status, stdout, stderr } = exec(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      "import { GPT, Trainer } from 'attn-vk'; console.log(typeof GPT, typeof Trainer)",
    ],
    folder,
    env,
  );
  expect(status, stderr).toBe(0);
  expect(stdout).toBe('function function\n');
  expect(existsSync(join(folder, 'node_modules/attn-vk/dist/src/index.d.ts'))).toBe(true);
});

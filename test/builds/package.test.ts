/**
 * What a user does: npm pack, npm install of the tarball in an empty folder, the native build where the machine has no
 * prebuilt one, and a run. The dependencies come from npm's cache or the registry. Minutes long: `npm run test:builds`.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratch } from '../support/folders.js';
import { exec, pack } from '../support/package.js';

const folder = scratch();

/** Ends the test with what was said. */
function must(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = exec(command, args, folder);
  if (status !== 0)
    throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${stdout}\n${stderr}`);
  return stdout + stderr;
}

test('npm install <tarball>, build, npx attn-vk train configs/copy.flash.yaml', () => {
  const tarball = pack(folder);
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  must('npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', tarball);

  // Nothing is built yet, and the command that is told builds it.
  const none = exec('npx', ['--no-install', 'attn-vk', 'train', 'configs/copy.flash.yaml'], folder);
  expect(none.status, none.stderr).toBe(1);
  const script = join(folder, 'node_modules/attn-vk/scripts/build-native.mjs');
  expect(none.stderr).toContain(`nothing is built yet: node ${script}`);
  must(process.execPath, script);

  const short = ['train.steps=4', 'train.schedule.warmup=0'].flatMap((set) => ['--set', set]);
  const told = must('npx', '--no-install', 'attn-vk', 'train', 'configs/copy.flash.yaml', ...short);
  expect(told).toContain('using the one of the package');
  expect(told).toContain('done: 4 steps');
  expect(existsSync(join(folder, 'runs/copy.flash/checkpoints/step-00000004/model.safetensors'))).toBe(true);
  expect(must('npx', '--no-install', 'attn-vk', 'sample', 'runs/copy.flash', '--tokens', '3')).toMatch(
    /^0( \d+){3}\n/,
  );
});

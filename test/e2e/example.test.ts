/** The examples as they are run, for a few steps on a text made up here. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/load.js';

const run = (...args: string[]) =>
  spawnSync(process.execPath, [join(packageRoot(), 'dist/examples/train-shakespeare.js'), ...args], {
    encoding: 'utf8',
    env: { ...process.env, ATTN_VK_ROUTE: 'cpu' },
  });

test('train-shakespeare learns, tells how it goes, and writes', () => {
  const path = join(mkdtempSync(join(tmpdir(), 'attn-vk-example-')), 'text.txt.gz');
  writeFileSync(path, gzipSync('ROMEO:\nBut, soft! what light through yonder window breaks?\n\n'.repeat(60)));
  const { status, stdout, stderr } = run(path, '12');
  expect(stderr).toBe('');
  expect(status).toBe(0);
  const start = Math.log(26); // about as many characters
  const loss = Number(stdout.match(/^step 12: loss (\d+\.\d+), \d+ characters\/s, 0 s left$/m)?.[1]);
  expect(loss).toBeLessThan(start);
  expect(Number(stdout.match(/^validation loss (\d+\.\d+) after \d+ s$/m)?.[1])).toBeLessThan(start);
  expect(stdout).toContain('\nROMEO:');
  expect(run(path, '12').stdout.split('\nROMEO:')[1]).toBe(stdout.split('\nROMEO:')[1]);
});

test('train-shakespeare says what it lacks', () => {
  expect(run().stderr).toContain('give the path of a .txt or .txt.gz file');
});

/** The examples as they are run, for a few steps on a text made up here. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { GPT, makeTokenizer, saveModel } from '../../src/index.js';
import { packageRoot } from '../../src/runtime/load.js';

const folder = mkdtempSync(join(tmpdir(), 'attn-vk-example-'));
const example = (name: string, ...args: string[]) =>
  spawnSync(process.execPath, [join(packageRoot(), `dist/examples/${name}.js`), ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, ATTN_VK_ROUTE: 'cpu' },
  });
const run = (...args: string[]) => example('train-shakespeare', ...args);

test('train-shakespeare learns, tells how it goes, and writes', () => {
  const path = join(folder, 'text.txt.gz');
  writeFileSync(path, gzipSync('ROMEO:\nBut, soft! what light through yonder window breaks?\n\n'.repeat(60)));
  const { status, stdout, stderr } = run(path, '12');
  expect(stderr).toBe('');
  expect(status).toBe(0);
  const start = Math.log(26); // about as many characters
  const loss = Number(stdout.match(/^step 12: loss (\d+\.\d+), \d+ characters\/s$/m)?.[1]);
  expect(loss).toBeLessThan(start);
  expect(Number(stdout.match(/^validation loss (\d+\.\d+)$/m)?.[1])).toBeLessThan(start);
  expect(stdout).toContain('\nROMEO:');
  expect(run(path, '12').stdout.split('\nROMEO:')[1]).toBe(stdout.split('\nROMEO:')[1]);
});

test('train-shakespeare says what it lacks', () => {
  expect(run().stderr).toContain('give the path of a .txt or .txt.gz file');
});

test('custom-hook ends training when the loss is low enough, and leaves a run', () => {
  const { status, stdout, stderr } = example('custom-hook', '3');
  expect(status, stderr).toBe(0);
  expect(stdout).toMatch(/^step 20: val loss 2\.\d+$/m);
  expect(stdout).toMatch(/^ended after step 20: a loss of 2\.\d+ is enough$/m);
  expect(existsSync(join(folder, 'runs/custom-hook/checkpoints/step-00000020'))).toBe(true);
});

test("import-gpt2 writes with a model of Hugging Face's layout", async () => {
  const tokenizer = makeTokenizer({ kind: 'character' }, Buffer.from('abcdefgh '));
  using model = new GPT({
    vocab: tokenizer.vocab,
    layers: 1,
    dim: 16,
    heads: 2,
    length: 16,
    mlp: 'gelu_tanh',
  });
  await saveModel(join(folder, 'gpt2'), model, { tokenizer, layout: 'gpt2' });
  const { status, stdout, stderr } = example('import-gpt2', join(folder, 'gpt2'), 'abc', '20');
  expect(status, stderr).toBe(0);
  expect(stderr).toBe('gpt2: 1 layers × 16, 9 tokens\n');
  expect(stdout).toMatch(/^abc[a-h ]{20}\n$/);
  expect(example('import-gpt2').stderr).toContain('which model?');
});

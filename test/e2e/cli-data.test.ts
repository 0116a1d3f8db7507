/** `attn-vk data`: what a data set has, as a person and as a program read it. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { escaped } from '../../src/cli/data.js';
import { dataKinds } from '../../src/data/registry.js';
import { attnVk } from '../support/cli.js';
import { countingText, temporary } from '../support/data.js';

const folder = temporary({
  'a.txt': `\u001b[2J\u0007${countingText(600)}`,
  'run.yaml':
    'data:\n  name: text\n  path: a.txt\n  length: 32\n  batch: 4\nmodel: {layers: 1, dim: 8, heads: 2}\ntrain:\n  steps: 1\n',
});
const env = { ATTN_VK_DATA: folder };

test('info tells sizes, splits and origin, and shows a row that cannot steer the terminal', () => {
  const { status, stdout, stderr } = attnVk(
    ['data', 'info', 'text', '--set', 'path=a.txt', '--set', 'data.length=400'],
    { env },
  );
  expect(stderr).toBe('');
  expect(status).toBe(0);
  for (const part of [/^text: any file/m, /^vocab +256, tokenizer byte/m, /^sha256 +[0-9a-f]{64}$/m])
    expect(stdout).toMatch(part);
  expect(stdout).toMatch(/^split +rows +batches +tokens +bytes +bytes\/token$/m);
  expect(stdout).toMatch(/^val +\d+ .* 1\.0000$/m);
  expect(stdout.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
  expect(escaped('\u001b[2J\u0007\u009b\u202e\n"ß')).toBe('"\\u001b[2J\\u0007\\u009b\\u202e\\n\\"ß"');
});

test('info reads the data of a run, and prints JSON', () => {
  const args = ['data', 'info', join(folder, 'run.yaml'), '--set', 'data.batch=3', '--json'];
  const { status, stdout, stderr } = attnVk(args, { env });
  expect(stderr).toBe('');
  expect(status).toBe(0);
  const report = JSON.parse(stdout);
  expect(report).toMatchObject({ name: 'text', vocab: 256, tokenizer: 'byte', length: 32, batch: 3 });
  expect(report.splits.val.batches).toBe(Math.ceil(report.splits.val.rows / 3));
  expect(report.sample.ids).toHaveLength(32);
  expect(Buffer.from(report.sample.ids).toString()).toBe(report.sample.text);
});

test('what is wrong ends with its status and one message', () => {
  const wrong = (...args: string[]) => attnVk(['data', 'info', ...args], { env });
  for (const [args, status, says] of [
    [['text', '--set', 'pth=a'], 2, /data\.pth does not exist\n {2}hint: did you mean 'data\.path'/],
    [['text', '--set', 'path=a.txt', '--set', 'length=5000'], 3, /length 5000 needs 5001 tokens of the/],
  ] as const) {
    const ran = wrong(...args);
    expect(ran.stderr).toMatch(says);
    expect(ran.stdout).toBe('');
    expect(ran.status, ran.stderr).toBe(status);
  }
});

test('list names every set and its options', () => {
  const { status, stdout } = attnVk(['data', 'list', '--json']);
  expect(status).toBe(0);
  const listed = JSON.parse(stdout) as { name: string; options: object }[];
  expect(listed.map(({ name }) => name)).toEqual(dataKinds.map(({ name }) => name));
  for (const [i, kind] of dataKinds.entries())
    expect(Object.keys(listed[i]!.options)).toEqual(
      expect.arrayContaining([...Object.keys(kind.options), 'length']),
    );
});

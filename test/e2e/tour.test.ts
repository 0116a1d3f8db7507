/** Every command of the README's tour, with fewer steps and on a text that is made here. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, expect, test } from 'vitest';
import { cut, shorten, stepsOf, withOutputs } from '../../bench/lib/tour.js';
import { packageRoot } from '../../src/runtime/load.js';
import { inProcess } from '../support/cli.js';
import { memory, scratch } from '../support/folders.js';

const readme = readFileSync(join(packageRoot(), 'README.md'), 'utf8');
const steps = stepsOf(cut(readme));
const folder = scratch(memory);

beforeAll(() => {
  const text = Array.from({ length: 300 }, (_, i) => `ROMEO: ${i}\nJULIET: ${i * i}, THE MOON!\n`).join('');
  writeFileSync(join(folder, 'tinyshakespeare.txt.gz'), gzipSync(text));
});

/** The words behind `npx attn-vk`, with what makes training short. */
function words(command: string): string[] | null {
  const line = /^(?:timeout --signal INT \d+ )?npx attn-vk (.*)$/.exec(command)?.[1];
  if (!line) return null;
  const given = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare!);
  const resumes = given.includes('--resume');
  const short = {
    train: [
      '--set',
      `train.steps=${resumes ? 4 : 2}`,
      ...(resumes ? [] : ['--set', 'train.schedule.warmup=0']),
    ],
    eval: ['--batches', '1'],
    sample: ['--tokens', '5'],
  }[given[0]!];
  return [...given, ...(short ?? [])];
}

const commands = steps.map((step) => step.command);

test('every step shows what it prints, and is a command of attn-vk or Python', () => {
  expect(steps.length).toBeGreaterThan(8);
  for (const { command, shown } of steps) {
    expect(shown, command).toMatch(/\S/);
    expect(words(command) ?? command).toSatisfy(
      (w: string | string[]) => Array.isArray(w) || w.startsWith('python3 '),
    );
  }
});

test.each(commands.filter((c) => words(c)).map((c) => [c]))('%s', async (command) => {
  const { status, stdout, stderr } = await inProcess(words(command)!, {
    cwd: folder,
    env: { ATTN_VK_ROUTE: 'cpu', ATTN_VK_DATA: '' },
  });
  expect(status, stderr).toBe(command.includes('tripel') ? 2 : 0);
  expect(stdout + stderr).toMatch(/\S/);
});

test('what was printed before is replaced, and nothing else', () => {
  const again = withOutputs(cut(readme), ({ shown }) => shown!);
  expect(again).toBe(readme);
  expect(withOutputs(cut(readme), () => 'new\n').length).toBeLessThan(readme.length);
  expect(shorten('a\nb\nc\nd\n', 1, 1)).toBe('a\n…\nd\n');
  expect(shorten('a\nb\nc\n', 1, 1)).toBe('a\nb\nc\n');
});

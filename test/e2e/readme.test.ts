/** The program in the README prints what the README says it prints. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/load.js';

test("the README's program runs inside the checkout and prints the output shown", () => {
  const readme = readFileSync(join(packageRoot(), 'README.md'), 'utf8');
  const [, program, output] = /```js\n([\s\S]*?)```\s*```text\n([\s\S]*?)```/.exec(readme)!;
  const file = join(packageRoot(), 'build/readme/program.mjs');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, program!);
  expect(execFileSync(process.execPath, [file], { encoding: 'utf8' })).toBe(output);
});

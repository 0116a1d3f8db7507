/** The command line: compiled, as a user runs it, or in this process. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { vi } from 'vitest';
import { main } from '../../src/cli/main.js';
import { packageRoot } from '../../src/runtime/load.js';
import { scratch } from './folders.js';

export const cli = join(packageRoot(), 'dist/src/cli/index.js');

/** Of all runs of a test file. */
const cache = scratch();

export interface Ran {
  status: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

export function attnVk(
  args: readonly string[],
  { env = {}, cwd }: { env?: Record<string, string | undefined>; cwd?: string } = {},
): Ran {
  if (!existsSync(cli)) throw new Error(`${cli} is not there: npm run build:ts`);
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [cli, ...args], {
    cwd,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    env: { ...process.env, ATTN_VK_CACHE: cache, ...env } as NodeJS.ProcessEnv,
  });
  return { status, signal, stdout, stderr };
}

/**
 * The same in this process, which is a hundred times as fast: what a command prints and what it would end with. One at
 * a time.
 */
export async function inProcess(
  args: readonly string[],
  { env = {}, cwd = process.cwd() }: { env?: Record<string, string | undefined>; cwd?: string } = {},
): Promise<Omit<Ran, 'signal'>> {
  const before = { env: process.env, cwd: process.cwd(), exitCode: process.exitCode };
  const streams = { stdout: '', stderr: '' };
  const written = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((chunk) => {
      streams[name] += chunk;
      return true;
    }),
  );
  process.env = { ...before.env, ATTN_VK_CACHE: cache, ...env } as NodeJS.ProcessEnv;
  process.chdir(cwd);
  process.exitCode = 0;
  try {
    await main(args);
    return { status: Number(process.exitCode), ...streams };
  } finally {
    for (const spy of written) spy.mockRestore();
    process.exitCode = before.exitCode;
    process.chdir(before.cwd);
    process.env = before.env;
  }
}

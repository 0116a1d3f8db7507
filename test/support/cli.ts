/** The compiled command line, as a user runs it. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../src/runtime/load.js';

export const cli = join(packageRoot(), 'dist/src/cli/index.js');

/** A folder of its own for each test file; cache folders of runs among them. */
export const scratch = (): string => mkdtempSync(join(tmpdir(), 'attn-vk-cli-'));
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

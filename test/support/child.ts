/** Scripts in Node processes of their own, on the compiled package, for what one process cannot show. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '../../src/runtime/load.js';

const entry = join(packageRoot(), 'dist/src/index.js');

/** URL of the package's compiled entry, for scripts that import it themselves. */
export const entryUrl = pathToFileURL(entry).href;

export interface Ended {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
  /** What the script printed last, read as JSON. */
  json: () => unknown;
}

export interface ChildOptions {
  env?: Record<string, string | undefined>;
  /** Flags of node itself. */
  flags?: readonly string[];
  /** Leave the import of attn-vk (as `attn`) to the script. */
  bare?: boolean;
}

/** Runs an ES module script; the package is there as `attn`. Nothing is kept in the user's cache folder. */
export function child(
  script: string,
  { env = {}, flags = [], bare = false }: ChildOptions = {},
): Promise<Ended> {
  if (!existsSync(entry)) throw new Error(`${entry} is not there: npm run build:ts`);
  const source = bare ? script : `import * as attn from ${JSON.stringify(entryUrl)};\n${script}`;
  const folder = mkdtempSync(join(tmpdir(), 'attn-vk-child-'));
  const started = spawn(process.execPath, [...flags, '--input-type=module', '-e', source], {
    env: { ...process.env, ATTN_VK_CACHE: folder, ATTN_VK_CALIBRATE: '0', ...env } as NodeJS.ProcessEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 30_000,
    killSignal: 'SIGKILL',
  });
  let stdout = '';
  let stderr = '';
  started.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
  started.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  return new Promise((resolve, reject) => {
    started.on('error', reject);
    started.on('close', (code, signal) => {
      rmSync(folder, { recursive: true, force: true });
      const json = () => {
        try {
          return JSON.parse(stdout.trim().split('\n').at(-1)!);
        } catch {
          throw new Error(
            `the child ended with ${code ?? signal} and printed no JSON:\n${stdout}\n${stderr}`,
          );
        }
      };
      resolve({ code, signal, stdout, stderr, json });
    });
  });
}

/** The package as npm packs it, in the node_modules of a folder that has nothing else. */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../src/runtime/load.js';

const root = packageRoot();

export function exec(
  command: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = process.env,
) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env,
    maxBuffer: 2 ** 28,
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** The tarball's path. */
export function pack(into: string): string {
  const { status, stdout, stderr } = exec(
    'npm',
    ['pack', '--json', '--ignore-scripts', '--pack-destination', into],
    root,
  );
  if (status !== 0) throw new Error(`npm pack failed:\n${stderr}`);
  return join(into, JSON.parse(stdout)[0].filename);
}

/**
 * What `npm install <tarball>` leaves, without npm: the files of the tarball, the dependencies (links to those of this
 * checkout, and not those for development), the command, and the addon of this checkout where a build would put it.
 */
export function unpack(tarball: string, folder: string): void {
  const modules = join(folder, 'node_modules');
  const target = join(modules, 'attn-vk');
  mkdirSync(target, { recursive: true });
  const { status, stderr } = exec('tar', ['xzf', tarball, '-C', target, '--strip-components=1'], folder);
  if (status !== 0) throw new Error(`tar failed:\n${stderr}`);
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  for (const [path, { dev }] of Object.entries<{ dev?: boolean }>(packages)) {
    // Those that lie in another one come with it.
    if (!/^node_modules\/(@[^/]+\/)?[^/]+$/.test(path) || dev || !existsSync(join(root, path))) continue;
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    symlinkSync(join(root, path), join(folder, path));
  }
  cpSync(join(root, 'build/Release/attn_vk.node'), join(target, 'build/Release/attn_vk.node'));
  const { bin } = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8'));
  mkdirSync(join(modules, '.bin'));
  for (const [name, file] of Object.entries<string>(bin)) {
    chmodSync(join(target, file), 0o755);
    symlinkSync(join(target, file), join(modules, '.bin', name));
  }
}

/**
 * Finds and loads the native addon: the binary that ATTN_VK_BINARY names, else the local build, else a prebuilt
 * one for this platform. A failure tells every path tried, why each failed, and the command that mends it.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NativeLoadError } from './errors.js';

interface Attempt {
  path: string;
  reason: string;
}

const require = createRequire(import.meta.url);
const platform = `${process.platform}-${process.arch}`;

/** The file that was loaded: for `attn-vk doctor`. */
export let loadedFrom: string | undefined;

/** The addon's exports. Throws NativeLoadError. */
export function loadNative(): unknown {
  const override = process.env.ATTN_VK_BINARY;
  const attempts: Attempt[] = [];
  for (const path of override ? [resolve(override)] : candidates()) {
    const result = tryLoad(path);
    if ('addon' in result) {
      // An existing build that does not load is a fault, not a reason to use another one silently.
      const broken = attempts.filter((a) => existsSync(a.path));
      for (const { path: bad, reason } of broken)
        process.emitWarning(`${bad} does not load (${reason}); using ${path}`, { code: 'ATTN_NATIVE_LOAD' });
      loadedFrom = path;
      return result.addon;
    }
    attempts.push({ path, reason: result.reason });
  }
  throw failure(attempts, override);
}

function candidates(): string[] {
  const root = packageRoot();
  return [join(root, 'build/Release/attn_vk.node'), join(root, 'prebuilds', platform, 'attn_vk.node')];
}

/** The folder of attn-vk's package.json, from src/ or from dist/src/ alike. */
export function packageRoot(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).name === 'attn-vk') return folder;
    if (folder === dirname(folder))
      throw new NativeLoadError(`no package.json of attn-vk above ${import.meta.url}`);
  }
}

export const packageVersion = (): string =>
  JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).version;

/**
 * libgomp reads how long an idle thread of a team spins when it is loaded, which is with the addon. Its own default
 * (milliseconds) starves whatever shares the machine, this process's JavaScript included; about 30 µs bridge the gap
 * between two ops. The variable is taken back so that child processes do not inherit it.
 */
function boundedSpin<T>(load: () => T): T {
  if (process.env.GOMP_SPINCOUNT || process.env.OMP_WAIT_POLICY) return load();
  process.env.GOMP_SPINCOUNT = '10000';
  try {
    return load();
  } finally {
    delete process.env.GOMP_SPINCOUNT;
  }
}

function tryLoad(path: string): { addon: unknown } | { reason: string } {
  if (!existsSync(path)) return { reason: 'no such file' };
  try {
    return { addon: boundedSpin(() => require(path)) };
  } catch (error) {
    // dlopen repeats the path in front of what it has to say.
    const text = error instanceof Error ? error.message : String(error);
    return { reason: text.replace(`${path}: `, '').trim() };
  }
}

function failure(attempts: Attempt[], override: string | undefined): NativeLoadError {
  const tried = attempts.map((a) => `\n  - ${a.path}\n    ${a.reason}`).join('');
  const source = override ? ' (ATTN_VK_BINARY is set, so nothing else was tried)' : '';
  const error = new NativeLoadError(
    `could not load the native addon of attn-vk for ${platform}, Node ${process.version}${source}; tried:${tried}`,
    { hint: remedy(attempts, override) },
  );
  error.attempts = attempts;
  return error;
}

/** Debian and Ubuntu packages of the libraries that the addon links. */
const libraryPackages: Record<string, string> = {
  'libdnnl.so.2': 'libdnnl2',
  'libhwy.so.1': 'libhwy1',
  'libgomp.so.1': 'libgomp1',
  'libstdc++.so.6': 'libstdc++6',
};

/** What to do, from the reasons of the attempts; the first one that says more than "no such file" decides. */
export function remedy(attempts: readonly Attempt[], override?: string): string {
  const telling = attempts.find((a) => a.reason !== 'no such file');
  if (!telling)
    return override
      ? `ATTN_VK_BINARY=${override} names no file: correct it, or unset it to use the package's own build`
      : `nothing is built yet: ${rebuild()}`;

  const { path, reason } = telling;
  const library = /(\S+\.so[.\d]*): cannot open shared object file/.exec(reason)?.[1];
  if (library) {
    const name = libraryPackages[library];
    return name
      ? `install the shared library ${library}: sudo apt-get install ${name}`
      : `the shared library ${library} is missing: install the package that holds it, or ${rebuild()}`;
  }
  const version = /version [`'](\S+)' not found/.exec(reason)?.[1];
  if (version) return `the binary was built on a newer system (it wants ${version}): ${rebuild()}`;
  if (/wrong ELF class|invalid ELF header|Exec format error|file too short|not a mach-o file/i.test(reason))
    return `${path} is no binary for ${platform}: ${override ? 'correct ATTN_VK_BINARY, or ' : ''}${rebuild()}`;
  if (/ENOENT|EACCES|Permission denied/i.test(reason)) return `make ${path} readable, or ${rebuild()}`;
  return `build it for this machine: ${rebuild()}`;
}

/** An installed package has no development dependencies: there, the plain cmake route builds. */
function rebuild(): string {
  const root = packageRoot();
  const installed = root.includes(`${sep}node_modules${sep}`);
  return installed ? `node ${join(root, 'scripts/build-native.mjs')}` : `cd ${root} && npm run build:native`;
}

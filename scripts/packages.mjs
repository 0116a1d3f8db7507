// What the build and the tests need from the system: the Debian/Ubuntu package, and a probe that recognises
// the same thing installed some other way (another distribution, a build from source).
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

export const packages = [
  { apt: 'cmake', command: 'cmake' },
  { apt: 'ninja-build', command: 'ninja' },
  { apt: 'g++', command: 'g++' },
  { apt: 'libvulkan-dev', header: 'vulkan/vulkan_raii.hpp' },
  { apt: 'glslang-tools', command: 'glslangValidator' },
  { apt: 'spirv-tools', command: 'spirv-val' },
  { apt: 'mesa-vulkan-drivers', vulkan: 'icd.d', file: /^lvp_icd/ },
  { apt: 'vulkan-validationlayers', vulkan: 'explicit_layer.d', file: /khronos_validation/ },
  { apt: 'libdnnl-dev', header: 'dnnl.hpp' },
  { apt: 'libhwy-dev', header: 'hwy/highway.h' },
  { apt: 'libeigen3-dev', header: 'eigen3/Eigen/Core' },
  { apt: 'fonts-dejavu-core', font: /DejaVuSans\.ttf$/ },
  { apt: 'doctest-dev', header: 'doctest/doctest.h' },
  { apt: 'clang-format', command: 'clang-format' },
];

/** What `node-gyp` needs beyond that: only `npm run test:builds` and `npm run build:gyp` use it. */
export const gypPackages = [
  { apt: 'make', command: 'make' },
  { apt: 'python3', command: 'python3' },
];

/** The entries that are neither installed as packages nor found by their probes. */
export function missing(wanted) {
  const installed = aptInstalled(wanted);
  return wanted.filter((p) => !installed.has(p.apt) && !probe(p));
}

export const onDebian = () => onPath('apt-get') && onPath('dpkg-query');

/** How commands are run as root: [] as root, ['sudo', '-n'] where sudo asks for no password, else null. */
export function asRoot() {
  if (process.getuid?.() === 0) return [];
  if (onPath('sudo') && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0)
    return ['sudo', '-n'];
  return null;
}

/** Names a missing thing where there is no apt: the command, header or file that was looked for. */
export function describePackage(p) {
  if (p.command) return `command ${p.command}`;
  if (p.header) return `header <${p.header}>`;
  if (p.vulkan)
    return `Vulkan ${p.vulkan === 'icd.d' ? 'software driver (Mesa lavapipe)' : 'validation layer'}`;
  return 'font DejaVu Sans';
}

/** Have the package lists been fetched? A container image often comes without. */
export function aptListsPresent() {
  try {
    return readdirSync('/var/lib/apt/lists').some((f) => /_Packages/.test(f));
  } catch {
    return false;
  }
}

function aptInstalled(wanted) {
  if (!onPath('dpkg-query')) return new Set();
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own fields
  const query = ['-W', '-f', '${Package} ${db:Status-Status}\\n', ...wanted.map((p) => p.apt)];
  const { stdout } = spawnSync('dpkg-query', query, { encoding: 'utf8' });
  const lines = (stdout ?? '').split('\n').filter((l) => l.endsWith(' installed'));
  return new Set(lines.map((l) => l.split(' ')[0]));
}

function probe(p) {
  if (p.command) return onPath(p.command);
  if (p.header) return includeFolders().some((folder) => existsSync(join(folder, p.header)));
  if (p.vulkan) return dataFolders().some((folder) => contains(join(folder, 'vulkan', p.vulkan), p.file, 0));
  return dataFolders().some((folder) => contains(join(folder, 'fonts'), p.font, 4));
}

function onPath(command) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder || '.', command), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

const includeFolders = () => [
  ...(process.env.CPLUS_INCLUDE_PATH ?? '').split(delimiter).filter(Boolean),
  ...(process.env.CPATH ?? '').split(delimiter).filter(Boolean),
  '/usr/local/include',
  '/usr/include',
];

const dataFolders = () => ['/usr/local/share', '/usr/share', '/etc', join(homedir(), '.local/share')];

function contains(folder, name, depth) {
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return false;
  }
  return entries.some((e) =>
    e.isDirectory() ? depth > 0 && contains(join(folder, e.name), name, depth - 1) : name.test(e.name),
  );
}

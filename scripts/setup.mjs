// Makes a checkout ready: system packages, npm packages, the native build, the TypeScript build.
// npm's `pre` hooks run it before every test and benchmark, so it does only what is missing or stale and is
// silent otherwise. It has no dependencies: it must run where nothing is installed yet.
//   node scripts/setup.mjs [--gyp]     --gyp: also what node-gyp needs
//   ATTN_VK_NO_SETUP=1                 do nothing: for a machine that was given a finished build
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import {
  aptListsPresent,
  asRoot,
  describePackage,
  gypPackages,
  missing,
  onDebian,
  packages,
} from './packages.mjs';
import { digest, nativeSources, typescriptSources } from './sources.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** The npm that runs this, if one does. */
const cli = process.env.npm_execpath;
const npm = cli?.endsWith('npm-cli.js') ? [process.execPath, cli] : ['npm'];

function main() {
  if (process.env.ATTN_VK_NO_SETUP === '1') return;
  systemPackages(process.argv.includes('--gyp') ? [...packages, ...gypPackages] : packages);
  npmPackages();
  native();
  typescript();
}

function systemPackages(wanted) {
  const lacking = missing(wanted);
  if (lacking.length === 0) return;
  if (!onDebian())
    stop(
      `missing on this system: ${lacking.map(describePackage).join(', ')}`,
      `install them with the system's package manager (Debian and Ubuntu call them ${names(lacking)}), then run this again`,
    );
  const prefix = asRoot();
  if (!prefix) stop(`missing packages: ${names(lacking)}`, `sudo apt-get install -y ${names(lacking)}`);

  const apt = (...args) => [...prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-q', ...args];
  const update = () => step('apt-get update', apt('update'), 'check the network and the apt sources');
  const install = apt('install', '-y', '--no-install-recommends', ...lacking.map((p) => p.apt));
  if (!aptListsPresent()) update();
  // Lists that are out of date name versions that are gone: fetch them once and try again.
  else if (step(`apt-get install ${names(lacking)}`, install, null)) return;
  else update();
  step(`apt-get install ${names(lacking)}`, install, `run it by hand: apt-get install ${names(lacking)}`);
}

function npmPackages() {
  const lock = readJson('package-lock.json');
  if (lock && lockSatisfied(lock, readJson('node_modules/.package-lock.json'))) return;
  step(
    'npm ci',
    [...npm, 'ci', '--include=dev', '--no-audit', '--no-fund', '--ignore-scripts'],
    'check the network and the npm registry setting, then run: npm ci',
  );
}

function native() {
  build({
    what: 'native build',
    sources: digest(root, [...nativeSources(root), 'package-lock.json']),
    product: 'build/Release/attn_vk.node',
    stamp: 'build/.attn-vk-stamp.json',
    command: [...npm, 'run', '-s', 'build:native'],
    hint: 'mend what the compiler says above; to start afresh: rm -rf build && npm run build:native',
  });
}

function typescript() {
  build({
    what: 'TypeScript build',
    sources: digest(root, [...typescriptSources(root), 'package-lock.json']),
    product: 'dist/src/index.js',
    stamp: 'dist/.attn-vk-stamp.json',
    // Outputs of sources that are gone must not stay importable.
    before: () => rmSync(join(root, 'dist'), { recursive: true, force: true }),
    command: [...npm, 'run', '-s', 'build:ts'],
    hint: 'mend what tsc says above; to see it again: npm run build:ts',
  });
}

function build({ what, sources, product, stamp, before, command, hint }) {
  if (isFresh(readJson(stamp), sources, fileMark(product))) return;
  before?.();
  step(what, command, hint);
  const mark = fileMark(product);
  if (!mark) stop(`${what} ended well but wrote no ${product}`, hint);
  mkdirSync(dirname(join(root, stamp)), { recursive: true });
  writeFileSync(join(root, stamp), JSON.stringify({ sources, product: mark }));
}

/** Is the product there, made from these sources, and not replaced by another build since? */
export const isFresh = (stamp, sources, mark) =>
  Boolean(stamp && mark) && stamp.sources === sources && stamp.product === mark;

/**
 * Does node_modules hold what the lock file asks for? npm keeps its own record in node_modules, without the
 * optional packages that are meant for other platforms.
 */
export function lockSatisfied(lock, installed) {
  if (!installed?.packages) return false;
  return Object.entries(lock.packages).every(([path, wanted]) => {
    if (path === '' || wanted.link) return true;
    const found = installed.packages[path];
    if (!found) return Boolean(wanted.optional || wanted.devOptional);
    return found.version === wanted.version && found.integrity === wanted.integrity;
  });
}

/** Runs a command and says so in one line. A failure ends the set-up, or gives false where `hint` is null. */
function step(what, command, hint) {
  process.stderr.write(`setup: ${what} ... `);
  const start = performance.now();
  const { status, signal, stdout, stderr, error } = spawnSync(command[0], command.slice(1), {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { CMAKE_BUILD_PARALLEL_LEVEL: String(availableParallelism()), ...process.env },
  });
  const seconds = `${((performance.now() - start) / 1000).toFixed(1)} s`;
  if (status === 0) {
    process.stderr.write(`${seconds}\n`);
    return true;
  }
  process.stderr.write(`failed after ${seconds}\n`);
  if (hint === null) return false;
  const output = `${stdout ?? ''}${stderr ?? ''}`.trimEnd();
  stop(`${output}\n${command.join(' ')}: ${error?.message ?? signal ?? `exit status ${status}`}`, hint);
}

function stop(problem, hint) {
  process.stderr.write(`${problem}\nsetup: cannot go on. What to do:\n  ${hint}\n`);
  process.exit(1);
}

const names = (list) => list.map((p) => p.apt).join(' ');

function fileMark(path) {
  const stat = statSync(join(root, path), { throwIfNoEntry: false });
  return stat && `${stat.size}:${stat.mtimeMs}`;
}

/** A file that is missing or no JSON counts as absent: what depends on it is made anew. */
function readJson(path) {
  try {
    return JSON.parse(readFileSync(join(root, path), 'utf8'));
  } catch {
    return null;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main();

// The native build without cmake-js: what binding.gyp calls, and what mends an installed package whose
// prebuilt binary does not fit the machine. Needs cmake, ninja, a C++20 compiler and the runtime dependencies.
//   node scripts/build-native.mjs            cmake into build/cmake, the addon into build/Release
//   node scripts/build-native.mjs --inputs   prints the sources, for binding.gyp
//   node scripts/build-native.mjs --gyp      the same build through node-gyp
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nativeSources } from './sources.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

if (process.argv.includes('--inputs')) console.log(nativeSources(root).join('\n'));
else if (process.argv.includes('--gyp')) gyp();
else cmake();

function cmake() {
  const folder = join(root, 'build/cmake');
  const out = join(root, 'build/Release');
  const configure = ['-S', root, '-B', folder, '-G', 'Ninja', '-DCMAKE_BUILD_TYPE=Release'];
  run('cmake', [...configure, `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${out}`, `-DNODE=${process.execPath}`]);
  run('cmake', ['--build', folder, '--target', 'attn_vk', '--parallel', String(availableParallelism())]);
}

/** node-gyp wants Node's headers even though this build does not: take those beside the running node. */
function gyp() {
  const prefix = dirname(dirname(process.execPath));
  const local = existsSync(join(prefix, 'include/node/node_version.h'));
  const cli = join(root, 'node_modules/node-gyp/bin/node-gyp.js');
  if (!local) console.error(`build: no Node headers under ${prefix}: node-gyp will fetch them`);
  run(process.execPath, [cli, 'rebuild', ...(local ? [`--nodedir=${prefix}`] : [])]);
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) console.error(`${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

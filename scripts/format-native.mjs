// clang-format over native/ and the C++ anchors. --check: changes nothing, fails where a file would change.
// Versions of clang-format differ in small things, so the check is made with the one that the code is kept with.
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nativeSources } from './sources.mjs';

const VERSION = '14';
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const files = nativeSources(root).filter((f) => /\.(cc|h)$/.test(f));
const check = process.argv.includes('--check');

const command = ['clang-format-14', 'clang-format'].find((c) => spawnSync(c, ['--version']).status === 0);
const version =
  command && /version (\d+)/.exec(spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout)?.[1];
if (!command || (check && version !== VERSION)) {
  const found = command ? `clang-format is version ${version}` : 'clang-format is not installed';
  console.error(`format-native: SKIPPED ${files.length} files: ${found}, the code is kept with ${VERSION}`);
} else {
  const mode = check ? ['--dry-run', '--Werror'] : ['-i'];
  const { status } = spawnSync(command, [...mode, ...files], { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(1);
  console.log(`format-native: ${files.length} files ${check ? 'checked' : 'formatted'}`);
}

// clang-format over native/ and the C++ anchors. --check: changes nothing, fails where a file would change.
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nativeSources } from './sources.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const files = nativeSources(root).filter((f) => /\.(cc|h)$/.test(f));
const mode = process.argv.includes('--check') ? ['--dry-run', '--Werror'] : ['-i'];
const { status, error } = spawnSync('clang-format', [...mode, ...files], { cwd: root, stdio: 'inherit' });
if (error?.code === 'ENOENT') {
  console.error(
    `format-native: SKIPPED ${files.length} files: clang-format is not installed (apt-get install clang-format)`,
  );
} else {
  if (error) console.error(error.message);
  if (status !== 0) process.exit(1);
  console.log(
    `format-native: ${files.length} files ${process.argv.includes('--check') ? 'checked' : 'formatted'}`,
  );
}

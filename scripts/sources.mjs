// What the two builds read, and a digest of it. Files are compared by content: a checkout, a copy or a
// touched file with the same bytes builds nothing.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const native = [
  { path: 'CMakeLists.txt' },
  { path: 'native', ending: /\.(cc|h)$/ },
  { path: 'shaders', ending: /\.(comp|glsl)$/ },
  { path: 'scripts/shaders.mjs' },
  { path: 'bench/anchors', ending: /\.(cc|h)$/ },
];
const typescript = [
  { path: 'tsconfig.json' },
  { path: 'tsconfig.build.json' },
  { path: 'src', ending: /\.ts$/ },
  { path: 'bench', ending: /\.ts$/ },
  { path: 'examples', ending: /\.ts$/ },
  { path: 'test/support', ending: /\.ts$/ },
  { path: 'test/vulkan.ts' },
];

export const nativeSources = (root) => list(root, native);
export const typescriptSources = (root) => list(root, typescript);

/** Digest of the names and contents of files, in the order given. */
export function digest(root, files) {
  const hash = createHash('sha256');
  for (const file of files) {
    const content = readFileSync(join(root, file));
    hash.update(`${file}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

/** Paths relative to the root, sorted; a folder is walked, what does not exist is left out. */
function list(root, entries) {
  const files = entries.flatMap(({ path, ending }) => (ending ? walk(root, path, ending) : [path]));
  return files.sort();
}

function walk(root, folder, ending) {
  let entries;
  try {
    entries = readdirSync(join(root, folder), { withFileTypes: true });
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
  return entries.flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return walk(root, path, ending);
    return ending.test(entry.name) ? [path] : [];
  });
}

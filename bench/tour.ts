/**
 * `npm run docs:tour -- folder`: takes the tour of README.md and writes down what each of its commands prints here. The
 * folder has the text that the tour trains on, tinyshakespeare.txt.gz; with ATTN_VK_TORCH_PYTHON the step in Python runs
 * too.
 */
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeAtomic } from '../src/runtime/files.js';
import { packageRoot } from '../src/runtime/load.js';
import { cut, runStep, shorten, withOutputs } from './lib/tour.js';

const text = 'tinyshakespeare.txt.gz';
/** Done; wrong usage, which the tour shows; what `timeout` stopped. */
const expected = new Set<number | null>([0, 2, 124]);
const from = process.argv[2] ?? process.env.ATTN_VK_DATA;
if (!from || !existsSync(join(from, text))) {
  process.stderr.write(`which folder has ${text}? npm run docs:tour -- folder, or ATTN_VK_DATA\n`);
  process.exit(2);
}

const path = join(packageRoot(), 'README.md');
const folder = mkdtempSync(join(tmpdir(), 'attn-vk-tour-'));
try {
  copyFileSync(join(from, text), join(folder, text));
  const written = withOutputs(cut(readFileSync(path, 'utf8')), (step) => {
    process.stderr.write(`$ ${step.command}\n`);
    const { status, output } = runStep(step, folder);
    if (!expected.has(status)) throw new Error(`ended with ${status}:\n${output}`);
    return shorten(output).replaceAll(`${folder}/`, '').replaceAll(packageRoot(), 'node_modules/attn-vk');
  });
  writeAtomic(path, written);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

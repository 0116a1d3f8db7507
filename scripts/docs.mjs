// Writes the documents that the code itself can tell. Run after the TypeScript build: `npm run docs`.
import { fileURLToPath } from 'node:url';
import { kindDocument } from '../dist/src/report/kind-table.js';
import { opDocument } from '../dist/src/report/op-table.js';
import { writeAtomic } from '../dist/src/runtime/files.js';

const write = (file, text) => writeAtomic(fileURLToPath(new URL(`../${file}`, import.meta.url)), text);
write('OPS.md', opDocument());
write('KINDS.md', kindDocument());

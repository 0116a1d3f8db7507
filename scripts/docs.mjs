// Writes the documents that the code itself can tell. Run after the TypeScript build: `npm run docs`.
import { fileURLToPath } from 'node:url';
import { writeAtomic } from '../dist/src/report/files.js';
import { opDocument } from '../dist/src/report/op-table.js';

writeAtomic(fileURLToPath(new URL('../OPS.md', import.meta.url)), opDocument());

/**
 * `npm run bench:readme`: writes what bench/results/*.json hold of bounded figures between the markers of README.md,
 * so that no figure there was typed by hand.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Report } from '../src/report/json.js';
import { markdownTable } from '../src/report/table.js';
import { writeAtomic } from '../src/runtime/files.js';
import { packageRoot } from '../src/runtime/load.js';
import { judge } from './lib/bounds.js';

const begin = '<!-- bench:begin -->';
const end = '<!-- bench:end -->';
const results = join(packageRoot(), 'bench/results');

const sections = readdirSync(results)
  .filter((file) => file.endsWith('.json'))
  .sort()
  .map((file) => {
    const { machine, cases } = JSON.parse(readFileSync(join(results, file), 'utf8')) as Report;
    const where = [`${machine.cores} cores ${machine.cpu}`, ...machine.devices].join('; ');
    return `\`bench/results/${file}\` (${where}):\n\n${markdownTable(judge(cases))}`;
  });

const path = join(packageRoot(), 'README.md');
const text = readFileSync(path, 'utf8');
const from = text.indexOf(begin);
const to = text.indexOf(end);
if (from < 0 || to < from) throw new Error(`README.md lacks ${begin} … ${end}`);
writeAtomic(path, `${text.slice(0, from + begin.length)}\n\n${sections.join('\n\n')}\n\n${text.slice(to)}`);

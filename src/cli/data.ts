/** `attn-vk data`: the data sets there are, and what one of them has to train on. */
import type { Command } from 'commander';
import { z } from 'zod';
import { parse } from '../config/load.js';
import { accepts } from '../config/schema.js';
import { setAll } from '../config/set.js';
import { plain, treeOf } from '../config/tree.js';
import { type AnyDataConfig, commonOptions, type Split, splits } from '../data/data.js';
import { type DataInfo, openLoader } from '../data/loader.js';
import { dataKind, dataKinds, dataSchema } from '../data/registry.js';
import { textTable } from '../report/table.js';
import { loadRunConfig } from '../train/run-config.js';
import { findConfig } from './locate.js';
import { setOption } from './options.js';
import { facts, print, printJson } from './output.js';

/** Tokens of the sample, at most. */
const SHOWN = 256;

export function dataCommand(program: Command): void {
  const data = program.command('data').description('list data sets, and show what one of them has');
  data
    .command('list')
    .description('list the data sets and their options')
    .option('--json', 'print them as JSON')
    .action(({ json }: { json?: boolean }) => {
      const all = dataKinds.map(({ name, doc, source, options }) => ({
        name,
        doc,
        source,
        options: Object.fromEntries(
          Object.entries({ ...options, ...commonOptions }).map(([key, option]) => [
            key,
            { accepts: accepts(option), doc: option.description },
          ]),
        ),
      }));
      if (json) return printJson(all);
      for (const { name, doc, options } of all) {
        print(`${name}: ${doc}`);
        const own = Object.keys(options).filter((key) => !(key in commonOptions));
        print(
          facts(
            own.map((key) => [key, `${options[key]!.doc} (${options[key]!.accepts})`]),
            '  ',
          ),
        );
      }
      print('every set:');
      print(
        facts(
          Object.entries(commonOptions).map(([key, { description = '' }]) => [key, description]),
          '  ',
        ),
      );
    });
  data
    .command('info')
    .description('show sizes, splits, vocabulary and origin of a data set, and a row of it')
    .argument('<data>', 'the name of a data set, or the YAML file of a run')
    .addOption(setOption())
    .option('--json', 'print everything as JSON')
    .action(async (what: string, { set = [], json }: { set?: string[]; json?: boolean }) => {
      const { config, seed } = configOf(what, set);
      const report = await look(config, seed);
      if (json) printJson(report);
      else print(format(report));
    });
}

/**
 * A name takes the options of the set, 'path=…' or 'data.path=…'; a file those of a run.
 * @throws ConfigError
 */
function configOf(what: string, sets: readonly string[]): { config: AnyDataConfig; seed: number } {
  const named = dataKinds.some(({ name }) => name === what);
  if (!named && /[./\\]/.test(what)) {
    const { data, seed } = loadRunConfig(findConfig(what), { sets });
    return { config: data, seed };
  }
  const schema = z.strictObject({ data: dataSchema(dataKind(what)) });
  const usual = treeOf({ data: { name: what, length: SHOWN, batch: 1 } }, { file: what, line: 1, column: 1 });
  const within = sets.map((set) => (set.startsWith('data.') ? set : `data.${set}`));
  const tree = setAll(usual, within, schema);
  return { config: parse(schema, plain(tree)).data as AnyDataConfig, seed: 0 };
}

interface Report {
  name: string;
  doc: string;
  source: string;
  vocab: number;
  tokenizer: string | null;
  length: number;
  batch: number;
  splits: Record<Split, { rows: number; batches: number; bytesPerToken: number | null }>;
  facts: DataInfo['facts'];
  /** The beginning of the first row that is trained on. */
  sample: { ids: number[]; text: string | null };
}

async function look(config: AnyDataConfig, seed: number): Promise<Report> {
  const loader = await openLoader(config, { seed, ahead: 0 });
  const { info } = loader;
  const { ids } = await loader.batch('train', 0);
  const shown = ids.subarray(0, Math.min(SHOWN, config.length));
  const { name, doc, source } = dataKind(config.name);
  const of = (split: Split) => ({
    rows: info.rows[split],
    batches: loader.batches(split),
    bytesPerToken: info.bytesPerToken?.[split] ?? null,
  });
  const report: Report = {
    name,
    doc,
    source,
    vocab: info.vocab,
    tokenizer: info.tokenizer?.kind ?? null,
    length: config.length,
    batch: config.batch,
    splits: { train: of('train'), val: of('val'), test: of('test') },
    facts: info.facts,
    sample: { ids: [...shown], text: info.tokenizer?.decode(shown) ?? null },
  };
  await loader.close();
  return report;
}

function format(report: Report): string {
  const { name, doc, source, vocab, tokenizer, length, batch, sample } = report;
  const table = splits.map((split) => {
    const { rows, batches, bytesPerToken } = report.splits[split];
    const { [`${split}Bytes`]: bytes, [`${split}Tokens`]: tokens } = report.facts;
    return {
      split,
      rows: grouped(rows),
      batches: grouped(batches),
      tokens: grouped(tokens),
      bytes: grouped(bytes),
      'bytes/token': bytesPerToken === null ? '' : bytesPerToken.toFixed(4),
    };
  });
  const columns = ['rows', 'batches', 'tokens', 'bytes', 'bytes/token'].filter((column) =>
    table.some((row) => row[column as keyof typeof row] !== ''),
  );
  const ofSplit = splits.flatMap((split) => [`${split}Bytes`, `${split}Tokens`]);
  const others = Object.entries(report.facts).filter(([key]) => !ofSplit.includes(key));
  return [
    `${name}: ${doc}`,
    facts([
      ['source', source],
      ['vocab', `${vocab}${tokenizer ? `, tokenizer ${tokenizer}` : ''}`],
      ['rows', `${length} tokens, ${batch} to a batch`],
      ...others.filter(([key]) => key !== 'tokenizer').map(([key, value]) => [key, String(value)] as const),
    ]),
    '',
    textTable(table, ['split', ...columns.map((key) => ({ key, align: 'right' as const }))]),
    '',
    `${tokenizer ? 'text' : 'ids'} of the first row of training:`,
    sample.text === null ? sample.ids.slice(0, 64).join(' ') : escaped(sample.text),
  ].join('\n');
}

const grouped = (value: unknown): string =>
  value === Number.POSITIVE_INFINITY
    ? 'endless'
    : typeof value === 'number'
      ? value.toLocaleString('en')
      : '';

/** Nothing of a text may steer a terminal: controls of C0 and C1, of the direction of writing, and separators. */
export const escaped = (text: string): string =>
  JSON.stringify(text).replaceAll(
    /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** Rows of objects to a CSV file: the columns are the keys, in the order in which the rows first show them. */
import { writeToString } from 'fast-csv';
import { writeAtomic } from './files.js';

export type Cell = string | number | boolean | null | undefined;

/** Absent and null cells are empty. */
export async function toCsv(rows: readonly Record<string, Cell>[]): Promise<string> {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const table = rows.map((row) => columns.map((c) => row[c] ?? ''));
  return writeToString([columns, ...table], { includeEndRowDelimiter: true });
}

export async function writeCsv(path: string, rows: readonly Record<string, Cell>[]): Promise<void> {
  writeAtomic(path, await toCsv(rows));
}

/** Rows of objects to a CSV file: the columns are the keys, in the order in which the rows first show them. */
import { parseString, writeToString } from 'fast-csv';
import { FormatError } from '../runtime/errors.js';
import { readBytes, writeAtomic } from '../runtime/files.js';

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

/**
 * Rows of a CSV file whose first line names the columns; cells are texts. What follows the last line end is a row that
 * was being written, and is left out.
 * @throws StorageError where it cannot be read, FormatError for a row that has not as many cells as there are columns
 */
export async function readCsv(path: string): Promise<Record<string, string>[]> {
  const text = new TextDecoder().decode(readBytes(path));
  const fail = (what: string, cause?: unknown): never => {
    throw new FormatError(`${path} is no table: ${what}`, {
      hint: 'the file is damaged, or something else',
      cause,
    });
  };
  const table: string[][] = [];
  try {
    for await (const row of parseString(text.slice(0, text.lastIndexOf('\n') + 1))) table.push(row);
  } catch (error) {
    fail((error as Error).message, error);
  }
  const [columns = [], ...rows] = table;
  return rows.map((row, i) => {
    if (row.length !== columns.length) fail(`row ${i + 1} has ${row.length} of ${columns.length} cells`);
    return Object.fromEntries(columns.map((column, c) => [column, row[c]!]));
  });
}

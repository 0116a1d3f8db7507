/** A CSV file that grows while a run goes on, and goes on rightly after it. */
import { appendFileSync, existsSync } from 'node:fs';
import { writeToString } from 'fast-csv';
import type { Cell } from '../io/csv.js';
import { StorageError } from '../runtime/errors.js';
import { readBytes, storageError, writeAtomic } from '../runtime/files.js';

/** Columns, of which the first is `step`; rows come in the order of their steps. */
export class CsvLog {
  /**
   * Opens the file for a run that has taken `step` updates: rows of later ones, which a run that ended before its next
   * checkpoint left, are cut off.
   * @throws StorageError where it cannot be written, or has other columns
   */
  constructor(
    readonly path: string,
    readonly columns: readonly string[],
    step: number,
  ) {
    const header = columns.join(',');
    const lines = existsSync(path) ? new TextDecoder().decode(readBytes(path)).split('\n') : [];
    if (step > 0 && lines.length > 1 && lines[0] !== header)
      throw new StorageError(`${path} has the columns ${lines[0]}, not ${header}`, {
        hint: 'move it away: rows of both would not fit',
      });
    // A line that no line end follows was being written when the process ended.
    const kept = step > 0 ? lines.slice(1, -1).filter((line) => upTo(line, step)) : [];
    writeAtomic(path, [header, ...kept, ''].join('\n'));
  }

  async append(rows: readonly Record<string, Cell>[]): Promise<void> {
    if (rows.length === 0) return;
    const table = rows.map((row) => this.columns.map((c) => row[c] ?? ''));
    const text = await writeToString(table, { includeEndRowDelimiter: true });
    try {
      appendFileSync(this.path, text);
    } catch (error) {
      throw storageError(this.path, error);
    }
  }
}

const upTo = (line: string, step: number): boolean => {
  const [first] = line.split(',', 1);
  return first !== '' && Number(first) <= step;
};

/** A column of text of a Parquet file. */
import { closest } from 'fastest-levenshtein';
import {
  type AsyncBuffer,
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetRead,
  parquetSchema,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { DataError } from '../runtime/errors.js';
import { checkFile } from './files.js';

/**
 * The values of a column as bytes, in the order of the rows, a newline after each that has none; rows without a value
 * are left out. Row groups are read one after the other until there are `limit` bytes.
 * @throws DataError: no file, no Parquet, no such column, a column of something else than text
 */
export async function readColumn(
  path: string,
  column: string,
  limit = Number.POSITIVE_INFINITY,
): Promise<Uint8Array> {
  checkFile(path);
  const file = await asyncBufferFromFile(path);
  const { metadata, columns } = await described(file).catch((cause) => {
    throw new DataError(`${path} is no Parquet file: ${cause.message}`, {
      hint: 'plain text is read without the option column',
      cause,
    });
  });
  checkColumn(path, column, columns);
  const parts: Uint8Array[] = [];
  let have = 0;
  let rowStart = 0;
  for (const group of metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows);
    for (const value of await columnOf({ file, metadata, column, rowStart, rowEnd, path })) {
      const bytes = endsLine(value) ? [value] : [value, NEWLINE];
      parts.push(...bytes);
      have += value.length + bytes.length - 1;
    }
    if (have >= limit) break;
    rowStart = rowEnd;
  }
  if (have === 0)
    throw new DataError(`column '${column}' of ${path} is empty`, { hint: 'name another column' });
  return Buffer.concat(parts).subarray(0, limit);
}

async function described(file: AsyncBuffer) {
  const metadata = await parquetMetadataAsync(file);
  return { metadata, columns: parquetSchema(metadata).children };
}

const NEWLINE = Uint8Array.of(10);
const endsLine = (bytes: Uint8Array): boolean => bytes.at(-1) === 10;

type Source = Pick<Parameters<typeof parquetRead>[0], 'file' | 'metadata' | 'rowStart' | 'rowEnd'> & {
  path: string;
  column: string;
};

async function columnOf({ path, column, ...source }: Source): Promise<Uint8Array[]> {
  let rows: unknown[][] = [];
  try {
    await parquetRead({
      ...source,
      columns: [column],
      compressors,
      // Strings stay the bytes that the file has.
      utf8: false,
      parsers: { stringFromBytes: (bytes) => bytes },
      onComplete: (all) => {
        rows = all;
      },
    });
  } catch (cause) {
    throw new DataError(`${path} is corrupted: ${(cause as Error).message}`, { hint: 'get it again', cause });
  }
  return rows
    .map(([value]) => value)
    .filter((value) => value !== null && value !== undefined)
    .map(asBytes);

  function asBytes(value: unknown): Uint8Array {
    if (value instanceof Uint8Array) return value;
    if (typeof value === 'string') return new TextEncoder().encode(value);
    throw new DataError(`column '${column}' of ${path} holds values such as ${String(value)}, not text`, {
      hint: 'name a column of strings',
    });
  }
}

function checkColumn(path: string, column: string, columns: readonly { element: { name: string } }[]): void {
  const names = columns.map(({ element }) => element.name);
  if (names.includes(column)) return;
  throw new DataError(`${path} has no column '${column}'`, {
    hint: `did you mean '${closest(column, names)}'? Columns: ${names.join(', ')}`,
  });
}

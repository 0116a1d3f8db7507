/** Several files as one text. */
import { readText } from './files.js';

/**
 * The first `limit` bytes of files one after the other; of those for which `column` names one, a column of Parquet.
 * @throws DataError
 */
export async function readTexts(
  files: readonly string[],
  limit = Number.POSITIVE_INFINITY,
  column: (file: string) => string | undefined = () => undefined,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let left = limit;
  for (const file of files) {
    if (left === 0) break;
    const named = column(file);
    const part = named === undefined ? await readText(file, left) : await readParquet(file, named, left);
    parts.push(part);
    left -= part.length;
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

/** Loaded where there is Parquet: its decompressors take longer to load than most texts to read. */
async function readParquet(file: string, column: string, limit: number): Promise<Uint8Array> {
  const { readColumn } = await import('./parquet.js');
  return readColumn(file, column, limit);
}

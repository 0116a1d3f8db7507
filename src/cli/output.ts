/** Data goes to stdout, talk to stderr; colours only where the stream shows them, which NO_COLOR can refuse. */
import picocolors from 'picocolors';

/** Talk: one line to stderr. */
export const say = (text: string): void => void process.stderr.write(`${text}\n`);

/** Data: one or more lines to stdout. */
export const print = (text: string): void => void process.stdout.write(`${text}\n`);

/** Numbers that JSON has no word for, as Infinity, are null. */
export const printJson = (value: unknown): void => print(JSON.stringify(value, null, 2));

export const colors = (stream: NodeJS.WriteStream) => picocolors.createColors(stream.hasColors?.() ?? false);

/** '12.3 MiB' */
export function size(bytes: number): string {
  const unit = Math.min(4, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 2 ** (10 * unit);
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`;
}

/** '812', '52.5 thousand', '1.20 million' */
export function count(n: number): string {
  if (n < 1e4) return String(n);
  if (n < 1e6) return `${(n / 1e3).toFixed(n < 1e5 ? 1 : 0)} thousand`;
  return `${(n / 1e6).toFixed(n < 1e8 ? 2 : 0)} million`;
}

/** '45 s', '3 min 20 s', '2 h 05 min' */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const two = (n: number) => String(n).padStart(2, '0');
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
}

/** '  model   GPT …' for each pair: the names in a column. */
export function facts(pairs: readonly (readonly [name: string, value: string])[], indent = ''): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${indent}${name.padEnd(width)}  ${value}`).join('\n');
}

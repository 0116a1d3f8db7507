/** Rows of objects as text: aligned columns for a terminal, or a markdown table. Pure: no stream, no environment. */
import { stripVTControlCharacters } from 'node:util';
import type { Cell } from '../io/csv.js';

export interface Column {
  /** Property of the rows. */
  key: string;
  /** Heading. Default: the key. */
  title?: string;
  /** Default: right where every value is a number or absent, else left. */
  align?: 'left' | 'right';
  /** Default: `plain`. Absent and null cells are '-' and never come here. */
  format?: (value: NonNullable<Cell>) => string;
  /** Cells longer than this many columns end in '…'. Default: no limit. */
  max?: number;
}

export type Row = Readonly<Record<string, Cell>>;

export interface TextOptions {
  /** Bold headings. Callers pass `stream.hasColors?.()`, which honours NO_COLOR. Default: false. */
  color?: boolean;
  /** Put before every line. */
  indent?: string;
}

/** Columns padded to the widest cell, two spaces between them, no trailing spaces, no final newline; '' without columns. */
export function textTable(
  rows: readonly Row[],
  columns: readonly (string | Column)[] = keysOf(rows),
  { color = false, indent = '' }: TextOptions = {},
): string {
  const { aligns, head, body } = layOut(rows, columns, (text) => text);
  if (head.length === 0) return '';
  const widths = head.map((title, c) => Math.max(...[title, ...body.map((row) => row[c]!)].map(widthOf)));
  const line = (cells: readonly string[]) =>
    indent +
    cells
      .map((cell, c) => pad(cell, widths[c]!, aligns[c]!, c === cells.length - 1))
      .join('  ')
      .trimEnd();
  const heading = line(head);
  const rule = indent + widths.map((w) => '-'.repeat(w)).join('  ');
  return [color ? bold(heading) : heading, rule, ...body.map((row) => line(row))].join('\n');
}

/** A GitHub-flavoured table, padded so that its source reads well too; no final newline; '' without columns. */
export function markdownTable(
  rows: readonly Row[],
  columns: readonly (string | Column)[] = keysOf(rows),
): string {
  const { aligns, head, body } = layOut(rows, columns, (text) =>
    text.replace(/\\/g, '\\\\').replace(/\|/g, '\\|'),
  );
  if (head.length === 0) return '';
  const widths = head.map((title, c) => Math.max(3, ...[title, ...body.map((row) => row[c]!)].map(widthOf)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, c) => pad(cell, widths[c]!, aligns[c]!)).join(' | ')} |`;
  const rule = widths.map((w, c) => (aligns[c] === 'right' ? `${'-'.repeat(w - 1)}:` : '-'.repeat(w)));
  return [line(head), `| ${rule.join(' | ')} |`, ...body.map(line)].join('\n');
}

/** Numbers to four significant digits without an exponent where they are of common size; all else as it is. */
export function plain(value: NonNullable<Cell>): string {
  if (typeof value !== 'number' || !Number.isFinite(value) || Number.isInteger(value)) return String(value);
  return String(Math.abs(value) >= 1e4 ? Math.round(value) : Number(value.toPrecision(4)));
}

/** So many digits after the point, so that a column of numbers lines up. */
export const fixed =
  (digits: number) =>
  (value: NonNullable<Cell>): string =>
    typeof value === 'number' && Number.isFinite(value) ? value.toFixed(digits) : String(value);

/** Seconds in the unit that suits them: '735 µs', '2.33 ms', '1.2 s'; 'never' for what cannot run. */
export function duration(seconds: NonNullable<Cell>): string {
  if (typeof seconds !== 'number' || Number.isNaN(seconds)) return String(seconds);
  if (!Number.isFinite(seconds)) return 'never';
  const [factor, unit] = (
    [
      [1e9, 'ns'],
      [1e6, 'µs'],
      [1e3, 'ms'],
    ] as const
  ).find(([f]) => Math.abs(seconds) * f < 999.5) ?? [1, 's'];
  return seconds === 0 ? '0 s' : `${Number((seconds * factor).toPrecision(3))} ${unit}`;
}

/** A ratio: '4.57x', '15.3x', '120x'. */
export const times = (value: NonNullable<Cell>): string =>
  typeof value === 'number' && Number.isFinite(value)
    ? `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)}x`
    : String(value);

const keysOf = (rows: readonly Row[]): string[] => [...new Set(rows.flatMap((row) => Object.keys(row)))];

function layOut(rows: readonly Row[], given: readonly (string | Column)[], quote: (text: string) => string) {
  const columns = given.map((c): Column => (typeof c === 'string' ? { key: c } : c));
  const cell = (row: Row, { key, format = plain, max = Infinity }: Column): string => {
    const value = row[key];
    return value === undefined || value === null ? '-' : quote(shorten(oneLine(format(value)), max));
  };
  const numeric = ({ key }: Column) =>
    rows.length > 0 &&
    rows.every((row) => row[key] === undefined || row[key] === null || typeof row[key] === 'number');
  return {
    aligns: columns.map((c) => c.align ?? (numeric(c) ? 'right' : 'left')),
    head: columns.map((c) => quote(oneLine(c.title ?? c.key))),
    body: rows.map((row) => columns.map((c) => cell(row, c))),
  };
}

/** Messages of drivers hold line ends, tabs and escape sequences: none of them may break a table. */
const oneLine = (text: string): string =>
  stripVTControlCharacters(text)
    .replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .trim();

const clusters = new Intl.Segmenter('en', { granularity: 'grapheme' });
const wide =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\uff01-\uff60]/u;

/** Terminal columns that a text takes. */
function widthOf(text: string): number {
  let width = 0;
  for (const { segment } of clusters.segment(text)) width += wide.test(segment) ? 2 : 1;
  return width;
}

function shorten(text: string, max: number): string {
  if (widthOf(text) <= max) return text;
  let kept = '';
  for (const { segment } of clusters.segment(text)) {
    if (widthOf(kept + segment) > max - 1) break;
    kept += segment;
  }
  return `${kept}…`;
}

function pad(text: string, width: number, align: 'left' | 'right', last = false): string {
  const space = ' '.repeat(width - widthOf(text));
  return align === 'right' ? space + text : last ? text : text + space;
}

const bold = (text: string): string => `\u001b[1m${text}\u001b[22m`;

/** Text cut into the words that BPE merges within. Bytes that are no UTF-8 survive: no text is refused or changed. */

/**
 * Contractions; runs of letters, of numbers, of other marks, each with the space before it; white space, whose last
 * one goes with what follows. After GPT-2's pattern, in the syntax that JavaScript and Oniguruma read alike:
 * \s differs between them, White_Space does not.
 */
export const wordPattern =
  "'(?:s|t|re|ve|m|ll|d)| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+" +
  '|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+';

const CHUNK = 1 << 20;
/** A byte that is no UTF-8 stands in a word as this plus itself: half a surrogate pair, which no UTF-8 gives. */
const ESCAPE = 0xdc00;

/** Calls visit for each word, in order; wordBytes() gives what it stands for. */
export function eachWord(bytes: Uint8Array, visit: (word: string) => void): void {
  const pattern = new RegExp(wordPattern, 'gu');
  for (let start = 0; start < bytes.length; ) {
    const end = cut(bytes, start);
    for (const word of escaped(bytes.subarray(start, end)).match(pattern) ?? []) visit(word);
    start = end;
  }
}

const visible = (byte: number | undefined) => byte !== undefined && byte > 0x20 && byte < 0x7f;

/** Where a chunk may end: before a space between two visible characters, where every word ends. */
function cut(bytes: Uint8Array, start: number): number {
  for (let at = start + CHUNK; at < bytes.length; at++)
    if (bytes[at] === 0x20 && visible(bytes[at - 1]) && visible(bytes[at + 1])) return at;
  return bytes.length;
}

function escaped(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return decodeEscaped(bytes);
  }
}

/** UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
function decodeEscaped(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    if (length === 0) parts.push(String.fromCharCode(ESCAPE + bytes[at++]!));
    else {
      parts.push(Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString('utf8'));
      at += length;
    }
  }
  return parts.join('');
}

/** Bytes of the character that begins here; 0 where none does. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return 1;
  const length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  for (let i = 1; i < length; i++) if (((bytes[at + i] ?? 0) & 0xc0) !== 0x80) return 0;
  const second = bytes[at + 1]!;
  const outside =
    (lead === 0xe0 && second < 0xa0) ||
    (lead === 0xed && second > 0x9f) ||
    (lead === 0xf0 && second < 0x90) ||
    (lead === 0xf4 && second > 0x8f);
  return outside ? 0 : length;
}

/** The bytes of a word. */
export function wordBytes(word: string): Uint8Array {
  const out: number[] = [];
  for (const character of word) {
    const code = character.codePointAt(0)!;
    if (code < 0x80) out.push(code);
    else if (code >= ESCAPE && code < ESCAPE + 0x100) out.push(code - ESCAPE);
    else out.push(...Buffer.from(character, 'utf8'));
  }
  return Uint8Array.from(out);
}

/** UTF-8 both ways, and the alphabet in which Hugging Face's tokenizer.json writes bytes. */
import { ArgumentError, DataError } from '../runtime/errors.js';

/** The bytes of a text; half a surrogate pair becomes U+FFFD, as everywhere in UTF-8. */
export const bytesOf = (text: string | Uint8Array): Uint8Array =>
  typeof text === 'string' ? new TextEncoder().encode(text) : text;

/** @throws DataError where bytes are no UTF-8 */
export function textOf(text: string | Uint8Array): string {
  if (typeof text === 'string') return text;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(text);
  } catch (cause) {
    const at = validUpTo(text);
    const byte = `byte ${at} (0x${text[at]!.toString(16)})`;
    throw new DataError(`text of ${text.length} bytes is not UTF-8: ${byte} begins no character`, {
      hint: "tokenizer kinds 'byte' and 'bpe' take any bytes",
      cause,
    });
  }
}

/** Where the first bytes lie that are no character: behind those of the longest prefix that a decoder takes, by halving. */
function validUpTo(bytes: Uint8Array): number {
  const prefix = (length: number) =>
    new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, length), {
      stream: true,
    });
  let [good, bad] = [0, bytes.length + 1];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    try {
      prefix(middle);
      good = middle;
    } catch {
      bad = middle;
    }
  }
  // The prefix may end inside of a character.
  return Buffer.byteLength(prefix(good));
}

/** Bytes to text; what is no UTF-8 becomes U+FFFD. */
export const decodeBytes = (bytes: Uint8Array): string =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);

/** Text of tokens that come one by one, each given as its bytes; without bytes: the end, and what is left. */
export function byteStream(): (bytes?: Uint8Array) => string {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return (bytes) => decoder.decode(bytes, { stream: bytes !== undefined });
}

export function checkId(id: number, vocab: number): number {
  if (!Number.isInteger(id) || id < 0 || id >= vocab)
    throw new ArgumentError(`expected token ids from 0 to ${vocab - 1}, got ${id}`, { op: 'decode' });
  return id;
}

/**
 * The character that stands for each byte in tokenizer.json: itself where it is printable Latin-1, else the next from
 * U+0100 on (Radford et al. 2019, GPT-2).
 */
export const byteAlphabet: readonly string[] = (() => {
  let next = 0x100;
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
})();

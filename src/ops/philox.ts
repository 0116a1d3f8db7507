/**
 * The counter-based generator Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11), as
 * native/cpu/philox.h and shaders/lib/philox.glsl compute it too.
 */

/** The upper 32 bits of a b: products of 16-bit halves, none of which exceeds 2^32. */
function high(a: number, b: number): number {
  const al = a & 0xffff;
  const ah = a >>> 16;
  const bl = b & 0xffff;
  const bh = b >>> 16;
  const middle = ah * bl + ((al * bl) >>> 16);
  const carry = al * bh + (middle & 0xffff);
  return (ah * bh + (middle >>> 16) + (carry >>> 16)) >>> 0;
}

/** Writes the four words of counter {c0 … c3} under key {k0, k1} to out, from `at` on. */
export function philoxInto(
  out: Uint32Array,
  at: number,
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
): void {
  for (let round = 0; round < 10; round++) {
    const high0 = high(0xd2511f53, c0);
    const high1 = high(0xcd9e8d57, c2);
    const low0 = Math.imul(0xd2511f53, c0) >>> 0;
    const low1 = Math.imul(0xcd9e8d57, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  out[at] = c0;
  out[at + 1] = c1;
  out[at + 2] = c2;
  out[at + 3] = c3;
}

/** The four words of a counter under a key. */
export function philox(counter: readonly number[], key: readonly number[]): number[] {
  const words = new Uint32Array(4);
  const [c0, c1, c2, c3] = counter as [number, number, number, number];
  philoxInto(words, 0, c0, c1, c2, c3, key[0]!, key[1]!);
  return Array.from(words);
}

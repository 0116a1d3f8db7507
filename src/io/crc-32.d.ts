declare module 'crc-32/crc32c.js' {
  const crc32c: {
    /** Signed CRC-32C (Castagnoli). */
    buf(data: Uint8Array, seed?: number): number;
  };
  export default crc32c;
}

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11): four words from a counter and a key.
#ifndef ATTN_PHILOX
#define ATTN_PHILOX
uvec4 philox(uvec4 c, uvec2 key) {
  for (int round = 0; round < 10; round++) {
    uint high0, low0, high1, low1;
    umulExtended(0xD2511F53u, c.x, high0, low0);
    umulExtended(0xCD9E8D57u, c.z, high1, low1);
    c = uvec4(high1 ^ c.y ^ key.x, low1, high0 ^ c.w ^ key.y, low0);
    key += uvec2(0x9E3779B9u, 0xBB67AE85u);
  }
  return c;
}

// Counter first + i of 64 bits.
uvec2 counter_at(uvec2 first, uint i) {
  uint carry;
  const uint low = uaddCarry(first.x, i, carry);
  return uvec2(low, first.y + carry);
}
#endif

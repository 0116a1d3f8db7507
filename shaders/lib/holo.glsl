// What the kernels of holographic attention share: sizes, complex numbers, unit phasors.
#ifndef ATTN_HOLO
#define ATTN_HOLO
#include "storage.glsl"
#include "math.glsl"

const uint CHUNK = 32u;        // = src/ops/holo-attention.walk.ts
const float LEAST = 1e-6;      // likewise
const int TOTALS = 0, CARRY = 1, SCAN = 2;  // stages: = src/ops/holo-attention.gpu.ts
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int STAGE = 0;
layout(constant_id = 3) const uint COPIES = 1;
layout(constant_id = 4) const int DECAY = 0;
layout(constant_id = 5) const int KEEP = 0;
layout(constant_id = 6) const int STATE = 0;
PUSH(uint units; uint len; uint heads; uint freqs; uint chunks;);

vec2 times(vec2 a, vec2 b) { return vec2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
vec2 conj_times(vec2 a, vec2 b) { return vec2(a.x * b.x + a.y * b.y, a.x * b.y - a.y * b.x); }

float square_of(vec2 z) { return max(dot(z, z), LEAST * LEAST); }
vec2 phasor(vec2 z) { return z / sqrt(square_of(z)); }
// The gradient by z of what depends on phasor(z) by g.
vec2 phasor_back(vec2 z, vec2 g) {
  const float square = square_of(z), inverse = 1.0 / sqrt(square);
  const vec2 u = z * inverse;
  return (g - u * (square > LEAST * LEAST ? dot(u, g) : 0.0)) * inverse;
}

uint head_state() { return (2u * COPIES + 1u) * pc.freqs; }
uint row_size() { return (2u * COPIES + 1u) * pc.heads * 2u * pc.freqs; }

// Frequency f of head h of batch b, from token `first` up to `last`: an invocation's share.
struct Part {
  uint b, h, f, first, last;
  uint state;     // of n in [B, chunks, heads, state], less what lies before n
  uint product;   // in [B, chunks, heads, freqs]
};
Part part_of(uint unit) {
  Part p;
  p.f = unit % pc.freqs;
  const uint head = unit / pc.freqs, chunk = head / pc.heads % pc.chunks;
  p.h = head % pc.heads;
  p.b = head / pc.heads / pc.chunks;
  p.first = chunk * CHUNK;
  p.last = min(pc.len, p.first + CHUNK);
  p.state = head * head_state() + p.f;
  p.product = unit;
  return p;
}
// Real parts of token t in qkv and in o; the imaginary ones are `freqs` further on.
uint token_of(Part p, uint t) { return (p.b * pc.len + t) * row_size() + p.f; }
uint query_at(Part p, uint t, uint r) { return token_of(p, t) + (p.h * COPIES + r) * 2u * pc.freqs; }
uint key_at(Part p, uint t, uint r) { return query_at(p, t, r) + pc.heads * COPIES * 2u * pc.freqs; }
uint value_at(Part p, uint t) { return token_of(p, t) + (2u * COPIES * pc.heads + p.h) * 2u * pc.freqs; }
uint out_at(Part p, uint t) { return ((p.b * pc.len + t) * pc.heads + p.h) * 2u * pc.freqs + p.f; }
uint decay_at(Part p, uint t) { return ((p.b * pc.len + t) * pc.heads + p.h) * pc.freqs + p.f; }

#define PAIR(NAME, at) vec2(LOAD(NAME.words, DTYPE, at), LOAD(NAME.words, DTYPE, (at) + pc.freqs))
#define PUT_PAIR(NAME, at, z)                       \
  NAME.words[at] = floatBitsToUint((z).x);            \
  NAME.words[(at) + pc.freqs] = floatBitsToUint((z).y);
#define NUMBER(NAME, at) uintBitsToFloat(NAME.words[at])
#define COMPLEX(NAME, at) vec2(NUMBER(NAME, at), NUMBER(NAME, (at) + pc.freqs))
#define KEPT(NAME, p, t) (KEEP == 0 || LOAD_BITS(NAME.words, BOOL, p.b * pc.len + (t)) != 0u)
#define ALPHA(NAME, p, t) (DECAY == 0 ? 1.0 : exp_safe(NUMBER(NAME, decay_at(p, t))))
#endif

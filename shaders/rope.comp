#version 450
// Pairs of channels turned: (a, b) -> (a cos - b sin, b cos + a sin), pairs (2 i, 2 i + 1) or (i, i + rotary / 2) of the
// first `turned` heads; the rest is copied. An invocation makes four neighbours, or a word. A position outside the table
// leaves 0 and is told in the fault words. Spec constants: 1 dtype, 2 four at a time, 3 interleaved, 4 inverse, 5 where
// positions come from: the token's place, one list for all batches, a list for each.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/vectors.glsl"
#include "lib/fault.glsl"
const int NONE = 0, SHARED = 1, OWN = 2;  // = src/ops/rope.ts
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int FOURS = 0;
layout(constant_id = 3) const int INTERLEAVED = 0;
layout(constant_id = 4) const int INVERSE = 0;
layout(constant_id = 5) const int MODE = 0;
PUSH(uint units; uint size; uint len; uint heads; uint channels; uint turned; uint rotary; uint places;);
FLOATS(0, readonly, x)
layout(set = 0, binding = 1) readonly buffer Table { vec2 of[]; } table;
layout(set = 0, binding = 2) readonly buffer Positions { uint of[]; } positions;
FLOATS(3, writeonly, y)
layout(set = 0, binding = 4) buffer Fault { uint words[]; } fault;

// What happens to element e: nothing, or a turn by table.of[row + pair] with element `partner`; `second` of the pair.
struct Turn {
  bool copies, lost, second;
  uint pair, partner, row;
};

Turn turn_of(uint e) {
  Turn t = Turn(true, false, false, 0u, e, 0u);
  const uint head = e / pc.channels, d = e - head * pc.channels, token = head / pc.heads;
  if (head - token * pc.heads >= pc.turned || d >= pc.rotary) return t;
  const uint half_rotary = pc.rotary / 2u;
  const uint at = MODE == OWN ? token : token % pc.len, place = MODE == NONE ? at : positions.of[at];
  t.copies = false;
  t.lost = place >= pc.places;  // negative ones too
  if (t.lost) {
    REPORT_INDEX(fault.words, place, at)
  }
  t.row = place * half_rotary;
  t.second = INTERLEAVED != 0 ? (d & 1u) == 1u : d >= half_rotary;
  t.pair = INTERLEAVED != 0 ? d / 2u : t.second ? d - half_rotary : d;
  const uint apart = INTERLEAVED != 0 ? 1u : half_rotary;
  t.partner = t.second ? e - apart : e + apart;
  return t;
}

const float SIGN = INVERSE != 0 ? -1.0 : 1.0;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint u = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (u >= pc.units) return;
  if (FOURS != 0) {
    const Turn t = turn_of(4u * u);
    vec4 v = LOAD4(x, DTYPE, u);
    if (t.lost) {
      v = vec4(0.0);
    } else if (!t.copies && INTERLEAVED != 0) {
      const vec2 r = table.of[t.row + t.pair], s = table.of[t.row + t.pair + 1u];
      v = v * vec4(r.x, r.x, s.x, s.x) + v.yxwz * (SIGN * vec4(-r.y, r.y, -s.y, s.y));
    } else if (!t.copies) {
      const vec4 other = LOAD4(x, DTYPE, t.partner / 4u);
      const uint at = t.row + t.pair;
      const vec2 a = table.of[at], b = table.of[at + 1u], c = table.of[at + 2u], d = table.of[at + 3u];
      v = v * vec4(a.x, b.x, c.x, d.x) + other * ((t.second ? SIGN : -SIGN) * vec4(a.y, b.y, c.y, d.y));
    }
    STORE4(y, DTYPE, u, v)
    return;
  }
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    const uint e = u * per_word(DTYPE) + lane;
    if (e >= pc.size) break;
    const Turn t = turn_of(e);
    if (t.lost) continue;
    uint bits = LOAD_BITS(x.words, DTYPE, e);
    if (!t.copies) {
      const vec2 r = table.of[t.row + t.pair];
      const float other = LOAD(x.words, DTYPE, t.partner) * (t.second ? SIGN : -SIGN);
      bits = float_to_bits(bits_to_float(bits, DTYPE) * r.x + other * r.y, DTYPE);
    }
    word = insert_bits(word, bits, DTYPE, lane);
  }
  y.words[u] = word;
}

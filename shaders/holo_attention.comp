#version 450
// Holographic attention: S = alpha S + P(k) v, n = alpha^2 n + 1, o = conj(P(q)) S / sqrt(n). An invocation takes a
// frequency of a head over a chunk of tokens. Stages: what each chunk adds to the state and what it leaves of the one
// before; the states before each chunk, one after the other; the chunks again from those. Spec constants: 1 dtype,
// 2 stage, 3 copies, 4 to 6 whether there are decays, flags, and a first state.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/holo.glsl"
layout(set = 0, binding = 0) readonly buffer Qkv { uint words[]; } qkv;
layout(set = 0, binding = 1) readonly buffer Decay { uint words[]; } decay;
layout(set = 0, binding = 2) readonly buffer Keep { uint words[]; } keep;
layout(set = 0, binding = 3) readonly buffer State { uint words[]; } state;
layout(set = 0, binding = 4) buffer Starts { uint words[]; } starts;
layout(set = 0, binding = 5) buffer Products { uint words[]; } products;
layout(set = 0, binding = 6) buffer Out { uint words[]; } o;  // fp32, whatever the dtype
layout(set = 0, binding = 7) writeonly buffer Last { uint words[]; } last;

void scan(uint unit) {
  const Part p = part_of(unit);
  const uint count = p.state + 2u * COPIES * pc.freqs;
  for (uint r = 0u; r < COPIES; r++) {
    const uint own = p.state + 2u * r * pc.freqs;
    vec2 s = STAGE == SCAN ? COMPLEX(starts, own) : vec2(0.0);
    float n = STAGE == SCAN ? NUMBER(starts, count) : 0.0, product = 1.0;
    for (uint t = p.first; t < p.last; t++) {
      if (KEPT(keep, p, t)) {
        const float alpha = ALPHA(decay, p, t);
        s = alpha * s + times(phasor(PAIR(qkv, key_at(p, t, r))), PAIR(qkv, value_at(p, t)));
        n = alpha * alpha * n + 1.0;
        product *= alpha;
      }
      if (STAGE == SCAN) {
        const vec2 read = conj_times(PAIR(qkv, query_at(p, t, r)), s);
        const float square = n * square_of(PAIR(qkv, query_at(p, t, r)));
        const vec2 before = r == 0u ? vec2(0.0) : COMPLEX(o, out_at(p, t));
        const vec2 mine = n <= 0.0 ? vec2(0.0) : read / (sqrt(square) * float(COPIES));
        PUT_PAIR(o, out_at(p, t), before + mine)
      }
    }
    if (STAGE == TOTALS) {
      PUT_PAIR(starts, own, s)
      starts.words[count] = floatBitsToUint(n);
      products.words[p.product] = floatBitsToUint(product);
    }
  }
}

// A number of a head's state from chunk to chunk.
void carry(uint unit) {
  const uint j = unit % head_state(), head = unit / head_state(), b = head / pc.heads, h = head % pc.heads;
  const uint f = j % pc.freqs;
  float running = STATE != 0 ? NUMBER(state, unit) : 0.0;
  for (uint c = 0u; c < pc.chunks; c++) {
    const uint at = (b * pc.chunks + c) * pc.heads + h;
    const float added = NUMBER(starts, at * head_state() + j), left = NUMBER(products, at * pc.freqs + f);
    starts.words[at * head_state() + j] = floatBitsToUint(running);
    running = (j >= 2u * COPIES * pc.freqs ? left * left : left) * running + added;
  }
  last.words[unit] = floatBitsToUint(running);
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.units) return;
  if (STAGE == CARRY) carry(unit);
  else scan(unit);
}

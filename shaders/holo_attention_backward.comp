#version 450
// Gradients of holographic attention, with A and N those of S and n (src/ops/holo-attention.ts has the formulas). An
// invocation takes a frequency of a head over a chunk of tokens: forwards for the states, which it holds, then back.
// Stages: what each chunk adds to (A, N) and leaves of those behind it; (A, N) behind each chunk, the last first; the
// chunks again from those. Spec constants as in holo_attention.comp; 6 is whether the last state has a gradient.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/holo.glsl"
layout(set = 0, binding = 0) readonly buffer Dy { uint words[]; } dy;
layout(set = 0, binding = 1) readonly buffer Qkv { uint words[]; } qkv;  // in CARRY the last state's gradient
layout(set = 0, binding = 2) readonly buffer Decay { uint words[]; } decay;
layout(set = 0, binding = 3) readonly buffer Keep { uint words[]; } keep;
layout(set = 0, binding = 4) readonly buffer Starts { uint words[]; } starts;
layout(set = 0, binding = 5) buffer Grads { uint words[]; } grads;
layout(set = 0, binding = 6) buffer Dqkv { uint words[]; } dqkv;  // fp32; before SCAN the products of the decays
layout(set = 0, binding = 7) buffer Ddecay { uint words[]; } ddecay;  // in CARRY the first state's gradient

void scan(uint unit) {
  const Part p = part_of(unit);
  const uint count = p.state + 2u * COPIES * pc.freqs;
  float total_n = 0.0, product = 1.0;
  for (uint r = 0u; r < COPIES; r++) {
    const uint own = p.state + 2u * r * pc.freqs;
    vec2 before[CHUNK];
    float counts[CHUNK];
    vec2 s = COMPLEX(starts, own);
    float n = NUMBER(starts, count);
    for (uint t = p.first; t < p.last; t++) {
      before[t - p.first] = s;
      counts[t - p.first] = n;
      if (!KEPT(keep, p, t)) continue;
      const float alpha = ALPHA(decay, p, t);
      s = alpha * s + times(phasor(PAIR(qkv, key_at(p, t, r))), PAIR(qkv, value_at(p, t)));
      n = alpha * alpha * n + 1.0;
      if (r == 0u) product *= alpha;
    }
    // (A, N) behind the chunk; each copy has its own share of N, the first what comes from behind.
    vec2 a = STAGE == SCAN ? COMPLEX(grads, own) : vec2(0.0);
    float dn = STAGE == SCAN && r == 0u ? NUMBER(grads, count) : 0.0;
    for (uint t = p.last; t-- > p.first;) {
      const bool kept = KEPT(keep, p, t);
      const float alpha = kept ? ALPHA(decay, p, t) : 1.0, past = counts[t - p.first];
      const vec2 then = before[t - p.first];
      const vec2 q = PAIR(qkv, query_at(p, t, r)), k = PAIR(qkv, key_at(p, t, r)), v = PAIR(qkv, value_at(p, t));
      const vec2 u = phasor(k), w = phasor(q);
      n = kept ? alpha * alpha * past + 1.0 : past;
      s = kept ? alpha * then + times(u, v) : then;
      const float inverse = n <= 0.0 ? 0.0 : 1.0 / n;
      const vec2 g = PAIR(dy, out_at(p, t)) * (sqrt(inverse) / float(COPIES)), dw = conj_times(g, s);
      a += times(g, w);
      dn -= 0.5 * dot(w, dw) * inverse;
      const float less = alpha * alpha * dn;
      if (STAGE == SCAN) {
        PUT_PAIR(dqkv, query_at(p, t, r), phasor_back(q, dw))
        PUT_PAIR(dqkv, key_at(p, t, r), kept ? phasor_back(k, conj_times(v, a)) : vec2(0.0))
        const vec2 others = r == 0u ? vec2(0.0) : COMPLEX(dqkv, value_at(p, t));
        PUT_PAIR(dqkv, value_at(p, t), others + (kept ? conj_times(u, a) : vec2(0.0)))
        if (DECAY != 0) {
          const float rest = r == 0u ? 0.0 : NUMBER(ddecay, decay_at(p, t));
          const float mine = kept ? alpha * dot(a, then) + 2.0 * less * past : 0.0;
          ddecay.words[decay_at(p, t)] = floatBitsToUint(rest + mine);
        }
      }
      a *= alpha;
      dn = less;
    }
    if (STAGE == TOTALS) {
      PUT_PAIR(grads, own, a)
      total_n += dn;
    }
  }
  if (STAGE == TOTALS) {
    grads.words[count] = floatBitsToUint(total_n);
    dqkv.words[p.product] = floatBitsToUint(product);
  }
}

// A number of a head's state from chunk to chunk, backwards.
void carry(uint unit) {
  const uint j = unit % head_state(), head = unit / head_state(), b = head / pc.heads, h = head % pc.heads;
  const uint f = j % pc.freqs;
  float running = STATE != 0 ? NUMBER(qkv, unit) : 0.0;
  for (uint c = pc.chunks; c-- > 0u;) {
    const uint at = (b * pc.chunks + c) * pc.heads + h;
    const float added = NUMBER(grads, at * head_state() + j), left = NUMBER(dqkv, at * pc.freqs + f);
    grads.words[at * head_state() + j] = floatBitsToUint(running);
    running = (j >= 2u * COPIES * pc.freqs ? left * left : left) * running + added;
  }
  ddecay.words[unit] = floatBitsToUint(running);
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.units) return;
  if (STAGE == CARRY) carry(unit);
  else scan(unit);
}

// The loss and the log-sum-exp of rows of logits, a team to each. `skip` is where the first row begins in the window of
// the logits that is bound. Spec constants: 1 dtype, 2 rows are whole words, 3 smoothing is not 0.
#include "storage.glsl"
#include "math.glsl"
#include "softmax.glsl"
#include "fault.glsl"
#include "team.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int WORDS = 0;
layout(constant_id = 3) const int SMOOTH = 0;
PUSH(uint first; uint end; uint n; uint skip; uint ignored; float smoothing;);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 1) readonly buffer Labels { uint of[]; } labels;
layout(set = 0, binding = 2) writeonly buffer Losses { float of[]; } losses;
layout(set = 0, binding = 3) writeonly buffer Lse { float of[]; } lse;
layout(set = 0, binding = 4) buffer Fault { uint words[]; } fault;

// body(value) for the elements of this member.
#define EACH_ELEMENT(base, value, body)                                                     \
  if (WORDS != 0) {                                                                         \
    for (uint w = MEMBER; w < pc.n / per_word(DTYPE); w += MEMBERS) {                       \
      const uint word = x.words[(base) / per_word(DTYPE) + w];                              \
      [[unroll]] for (uint lane = 0u; lane < per_word(DTYPE); lane++) {                     \
        const float value = bits_to_float(extract_bits(word, DTYPE, lane), DTYPE);          \
        body                                                                                \
      }                                                                                     \
    }                                                                                       \
  } else {                                                                                  \
    for (uint k = MEMBER; k < pc.n; k += MEMBERS) {                                         \
      const float value = LOAD(x.words, DTYPE, (base) + k);                                 \
      body                                                                                  \
    }                                                                                       \
  }

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint row = pc.first + TEAM_INDEX;
  if (row >= pc.end) return;
  const uint label = labels.of[row];
  const bool counts = label != pc.ignored;
  if (!counts || label >= pc.n) {
    if (MEMBER == 0u) {
      if (counts) {
        REPORT_INDEX(fault.words, label, row)
      }
      losses.of[row] = 0.0;
      lse.of[row] = 0.0;
    }
    return;
  }
  const uint base = pc.skip + (row - pc.first) * pc.n;
  float most = LOWEST;
  EACH_ELEMENT(base, v, most = greater(most, v);)
  most = max_or_0(float_of(team_max(key_of(most))));
  float sum = 0.0, lost = 0.0, total = 0.0, total_lost = 0.0;
  EACH_ELEMENT(base, v, add_exactly(sum, lost, exp_below(v, most)); if (SMOOTH != 0) add_exactly(total, total_lost, v);)
  const float log_sum = log_safe(team_add(sum));
  if (SMOOTH != 0) total = team_add(total);
  if (MEMBER != 0u) return;
  float loss = log_sum + (most - LOAD(x.words, DTYPE, base + label));
  if (SMOOTH != 0)
    loss = (1.0 - pc.smoothing) * loss + pc.smoothing * (log_sum + (most - total / float(pc.n)));
  losses.of[row] = loss;
  lse.of[row] = most + log_sum;
}

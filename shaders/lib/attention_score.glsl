// The score of a query and a key, from what a sweep over their elements accumulates. SCORE names it; a new one states
// here its value and its slope, and every attention kernel has it.
#ifndef ATTN_ATTENTION_SCORE
#define ATTN_ATTENTION_SCORE

const int DOT = 0;  // = src/ops/attention.walk.ts

// From the inner product of query and key.
float score_of(float product) { return pc.scale * product; }

// d score / d product: what a gradient by the score is multiplied with on its way to queries and keys.
float score_slope(float product) { return pc.scale; }
#endif

// Lists of positions by row, as shaders/sort_ids.comp leaves them.
#ifndef ATTN_LISTS
#define ATTN_LISTS
const uint LISTS_BLOCK = 256u;  // = BLOCK of src/ops/embedding.gpu.ts
#define LIST_START(start, v, rows) (start[v] + start[(rows) + 1u + (v) / LISTS_BLOCK])
#endif

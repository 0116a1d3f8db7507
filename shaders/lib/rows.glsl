// Broadcasting by rows: along the innermost axis every operand moves or stands still, so an invocation finds its
// row once and then moves 16 bytes an access, `WIDTH` lanes abreast. Plan: src/ops/elementwise.ts, rows.
// Needs RANK (axes, the innermost included) and a push block with the fields of ROWS_PUSH.
#ifndef ATTN_ROWS
#define ATTN_ROWS

#define ROWS_PUSH uint rows; uint row_units; uint chunks; uint span; uint log_width; uint shape[5];

// Row, first unit and end of the units of this invocation; row is out of range where there is nothing to do.
#define FIND_ROW(row, unit, end)                                                     \
  uint row = GROUP_INDEX, unit = 0u;                                                 \
  if (pc.chunks > 1u) {                                                              \
    row = GROUP_INDEX / pc.chunks;                                                   \
    unit = (GROUP_INDEX - row * pc.chunks) * pc.span;                                \
  }                                                                                  \
  const uint end = min(unit + pc.span, pc.row_units);                                \
  row = row * (gl_WorkGroupSize.x >> pc.log_width) + (gl_LocalInvocationID.x >> pc.log_width); \
  unit += gl_LocalInvocationID.x & ((1u << pc.log_width) - 1u)

// fn(index, axis) for the outer axes of a row, the fastest first.
#define EACH_OUTER_AXIS(row, index, axis, body)                                     \
  {                                                                                  \
    uint rest = row;                                                                 \
    for (int axis = RANK - 2; axis >= 0; axis--) {                                   \
      const uint index = axis == 0 ? rest : rest % pc.shape[axis];                   \
      if (axis > 0) rest /= pc.shape[axis];                                          \
      body                                                                           \
    }                                                                                \
  }
#endif

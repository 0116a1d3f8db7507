#version 450
// A workgroup to a row, joined through shared memory.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/norm_rows.glsl"

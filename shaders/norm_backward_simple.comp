#version 450
// An invocation to a row.
#extension GL_GOOGLE_include_directive : enable
#define TEAM_LONE
#include "lib/head.glsl"
#include "lib/norm_backward_rows.glsl"

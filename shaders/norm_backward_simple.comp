#version 450
// An invocation to a row.
#extension GL_GOOGLE_include_directive : enable
#define TEAM_ALONE
#include "lib/head.glsl"
#include "lib/norm_backward_rows.glsl"

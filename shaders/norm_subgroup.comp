#version 450
// A subgroup to a row: no barriers.
#extension GL_GOOGLE_include_directive : enable
#extension GL_KHR_shader_subgroup_arithmetic : enable
#define TEAM_SUBGROUP
#include "lib/head.glsl"
#include "lib/norm_rows.glsl"

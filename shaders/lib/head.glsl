// Included first by every kernel. Conventions (native/vulkan/stream.cc is the other side of them):
//  * spec constant 0 is the workgroup size; kernels number their own from 1.
//  * every push-constant block begins with {base, count}: grids are one-dimensional, folded past the device's
//    limit and split over submits by the one dispatch function, so a kernel asks GROUP_INDEX and returns
//    when it is not below pc.count. 30 words (120 B) are left to the kernel.
//  * bindings 0..7 of set 0 are storage buffers, in the order of the plan's binds.
#ifndef ATTN_HEAD
#define ATTN_HEAD
#extension GL_EXT_control_flow_attributes : enable

layout(local_size_x_id = 0) in;

#define PUSH(fields) layout(push_constant) uniform Push { uint base; uint count; fields } pc

#define GROUP_INDEX (pc.base + gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x)
#endif

// oneDNN 2 (Debian 12, Ubuntu 22.04) and 3 (Debian 13, Ubuntu 24.04) under one face: version 3 dropped the
// operation descriptors, the scale of post-ops, and the memory setter that takes a stream.
#pragma once

#include <oneapi/dnnl/dnnl.hpp>

namespace attn::onednn {

using Desc = dnnl::memory::desc;

// act(a b + bias); `bias` null: none.
inline dnnl::matmul::primitive_desc matmul(const dnnl::engine& engine, const Desc& a, const Desc& b,
                                           const Desc* bias, const Desc& c,
                                           const dnnl::primitive_attr& attr = {}) {
#if DNNL_VERSION_MAJOR >= 3
  return bias ? dnnl::matmul::primitive_desc(engine, a, b, *bias, c, attr)
              : dnnl::matmul::primitive_desc(engine, a, b, c, attr);
#else
  const auto desc = bias ? dnnl::matmul::desc(a, b, *bias, c) : dnnl::matmul::desc(a, b, c);
  return {desc, attr, engine};
#endif
}

inline dnnl::memory::data_type type_of(const Desc& desc) {
#if DNNL_VERSION_MAJOR >= 3
  return desc.get_data_type();
#else
  return desc.data_type();
#endif
}

inline dnnl::memory::dims dims_of(const Desc& desc) {
#if DNNL_VERSION_MAJOR >= 3
  return desc.get_dims();
#else
  return desc.dims();
#endif
}

inline void append_eltwise(dnnl::post_ops& ops, dnnl::algorithm kind, float alpha) {
#if DNNL_VERSION_MAJOR >= 3
  ops.append_eltwise(kind, alpha, 0.0f);
#else
  ops.append_eltwise(1.0f, kind, alpha, 0.0f);
#endif
}

inline void set_address(dnnl_memory_t memory, void* address, dnnl_stream_t stream) {
#if DNNL_VERSION_MAJOR >= 3
  static_cast<void>(stream);
  dnnl_memory_set_data_handle(memory, address);
#else
  dnnl_memory_set_data_handle_v2(memory, address, stream);
#endif
}

}  // namespace attn::onednn

#include "product.h"

#include "team.h"

namespace attn::cpu {

using dnnl::memory;

dnnl::engine& onednn_engine() {
  static dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

memory::data_type onednn_type(DType t) {
  return t == DType::bf16  ? memory::data_type::bf16
         : t == DType::f16 ? memory::data_type::f16
                           : memory::data_type::f32;
}

bool onednn_multiplies(DType t) {
  if (t != DType::bf16) return t == DType::f32;
  static const bool works = [] {
    const memory::desc d({16, 16}, memory::data_type::bf16, memory::format_tag::ab);
    try {
      onednn::matmul(onednn_engine(), d, d, nullptr, d);
      return true;
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
      return false;
    }
  }();
  return works;
}

Call::Call() : stream_(onednn_engine()) {}

void Call::add(int argument, const memory::desc& desc) {
  memories_[count_] = memory(desc, onednn_engine(), nullptr);
  arguments_[count_] = {argument, memories_[count_].get()};
  ++count_;
}

// The C interface: the C++ one would build a hash map for each call.
void Call::run(std::initializer_list<const void*> addresses) {
  int i = 0;
  for (const void* address : addresses)
    onednn::set_address(arguments_[i++].memory, const_cast<void*>(address), stream_.get());
  const auto status = dnnl_primitive_execute(primitive_.get(), stream_.get(), count_, arguments_);
  if (status == dnnl_out_of_memory)
    throw Error("ATTN_OUT_OF_MEMORY", "oneDNN found no memory for its scratchpad");
  if (status != dnnl_success)
    throw Error("ATTN_INTERNAL", "oneDNN's matmul failed with status " + std::to_string(status));
}

namespace {

memory::desc matrix(int64_t rows, int64_t cols, bool transposed, DType t) {
  return {{rows, cols}, onednn_type(t), transposed ? memory::dims{1, rows} : memory::dims{cols, 1}};
}

// oneDNN shapes a primitive for the team of the thread that makes it.
class Alone {
 public:
  Alone() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~Alone() { omp_set_num_threads(before_); }
  Alone(const Alone&) = delete;

 private:
  int before_;
};

}  // namespace

BlockProduct::BlockProduct(const BlockProblem& p, const BlockProduct* like)
    : a_(matrix(p.m, p.k, p.transpose_a, p.in)),
      b_(matrix(p.k, p.n, p.transpose_b, p.in)),
      c_(matrix(p.m, p.n, false, p.out)) {
  const Alone alone;
  if (p.packed && like) b_ = like->b_;
  if (p.packed && !like) b_ = {{p.k, p.n}, onednn_type(p.in), memory::format_tag::any};
  if (p.bias) bias_ = {{1, p.n}, onednn_type(p.bias_dtype), memory::dims{p.n, 1}};
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (p.accumulate) {
    dnnl::post_ops ops;
    ops.append_sum();
    attr.set_post_ops(ops);
  }
  const auto chosen = onednn::matmul(onednn_engine(), a_, b_, p.bias ? &bias_ : nullptr, c_, attr);
  b_ = chosen.weights_desc();
  scratch_ = chosen.scratchpad_desc();
  primitive_ = dnnl::matmul(chosen);
}

Call BlockProduct::call() const {
  Call call;
  call.own(primitive_);
  call.add(DNNL_ARG_SRC, a_);
  call.add(DNNL_ARG_WEIGHTS, b_);
  call.add(DNNL_ARG_DST, c_);
  call.add(DNNL_ARG_SCRATCHPAD, scratch_);
  if (bias_.get_size() > 0) call.add(DNNL_ARG_BIAS, bias_);
  return call;
}

Packing::Packing(int64_t k, int64_t n, bool transposed, DType t, const BlockProduct& product)
    : bytes_(product.b().get_size()) {
  const auto from = matrix(k, n, transposed, t);
  call_.own(dnnl::reorder({onednn_engine(), from, onednn_engine(), product.b()}));
  call_.add(DNNL_ARG_FROM, from);
  call_.add(DNNL_ARG_TO, product.b());
}

}  // namespace attn::cpu

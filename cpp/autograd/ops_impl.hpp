// SPDX-License-Identifier: MIT
/// The operations by kind, each forward and back, for autograd/ops.cpp. Inputs were checked and
/// converted there; outputs are outside any graph.
#pragma once

#include "autograd/ops.hpp"

namespace schuss::ops {

/// What backward has: the operation, the gradient of its output, and what the forward pass saw.
struct BackwardContext {
  Op op;
  const OpAttributes& attributes;
  const std::vector<TensorPtr>& inputs;
  const TensorPtr& output;  // without history; null where backward does not read it
  const TensorPtr& d_output;

  bool wants(std::size_t i) const { return inputs[i] != nullptr && inputs[i]->requires_grad; }
};
using Gradients = std::vector<TensorPtr>;  // one for each input, null where not wanted

// ---- elementwise.cpp
TensorPtr map(const OpAttributes& attributes, const TensorPtr& x);
void map_backward(const BackwardContext& context, Gradients& d_inputs);
TensorPtr pair(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs);
void pair_backward(const BackwardContext& context, Gradients& d_inputs);
TensorPtr activation(const OpAttributes& attributes, const TensorPtr& x);
void activation_backward(const BackwardContext& context, Gradients& d_inputs);

// ---- compare.cpp: results that are chosen, not computed
TensorPtr compare(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs);
TensorPtr logical(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs);
TensorPtr where(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs);
void where_backward(const BackwardContext& context, Gradients& d_inputs);

// ---- functions.cpp
TensorPtr function(const OpAttributes& attributes, const TensorPtr& x);
void function_backward(const BackwardContext& context, Gradients& d_inputs);
TensorPtr division(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs);
void division_backward(const BackwardContext& context, Gradients& d_inputs);

// ---- reduce.cpp
TensorPtr sum_or_mean(Op op, const OpAttributes& attributes, const TensorPtr& x);
void sum_or_mean_backward(const BackwardContext& context, Gradients& d_inputs);
/// d summed over the dimensions along which `shape` was broadcast to d's shape.
TensorPtr sum_to_shape(const TensorPtr& d, const Dims& shape);
/// Shape after reducing the dimensions of `bits`.
Dims reduced_shape(const Dims& shape, std::uint8_t bits, bool keepdim);

/// A dimension of `size` elements among (outer, size, inner); all elements: (1, n, 1).
struct Reduced {
  index_t outer = 1;
  index_t size = 1;
  index_t inner = 1;

  /// Of the dimensions of `bits`: one, or all.
  Reduced(const Dims& shape, std::uint8_t bits);

  /// each(offset of the first element, number of the result).
  template <class F>
  void each(F&& f) const {
    for (index_t o = 0; o < outer; ++o) {
      for (index_t i = 0; i < inner; ++i) f(o * size * inner + i, o * inner + i);
    }
  }
};

// ---- scans.cpp: products, running sums and orders along a dimension
TensorPtr product(const OpAttributes& attributes, const TensorPtr& x);
void product_backward(const BackwardContext& context, Gradients& d_inputs);
TensorPtr running(const OpAttributes& attributes, const TensorPtr& x);
void running_backward(const BackwardContext& context, Gradients& d_inputs);
TensorPtr arg_sort(const OpAttributes& attributes, const TensorPtr& x);

// ---- extremes.cpp
TensorPtr extreme(Op op, const OpAttributes& attributes, const TensorPtr& x);
void extreme_backward(const BackwardContext& context, Gradients& d_inputs);

// ---- shape.cpp
TensorPtr reshape(const TensorPtr& x, const Dims& shape);
TensorPtr permute(const TensorPtr& x, const Dims& order);
TensorPtr expand(const TensorPtr& x, const Dims& shape);
TensorPtr cat(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs);
void shape_backward(const BackwardContext& context, Gradients& d_inputs);

// ---- index.cpp
TensorPtr index(const IndexSpec& spec, const TensorPtr& x);
TensorPtr gather(const IndexSpec& spec, const TensorPtr& x);
void index_backward(const BackwardContext& context, Gradients& d_inputs);
/// x[spec] = values (of x's dtype, broadcast), in place.
void assign(const IndexSpec& spec, Tensor& x, const Tensor& values);

// ---- matmul.cpp
TensorPtr matmul(const TensorPtr& a, const TensorPtr& b);
void matmul_backward(const BackwardContext& context, Gradients& d_inputs);
/// bias: (n,) or null.
TensorPtr linear(const TensorPtr& x, const TensorPtr& weight, const TensorPtr& bias);
void linear_backward(const BackwardContext& context, Gradients& d_inputs);

}  // namespace schuss::ops

// SPDX-License-Identifier: MIT
/// Parameters: leaf tensors whose storage stays theirs for life.
#pragma once

#include <memory>

#include "autograd/tensor.hpp"

namespace schuss {

/// How a parameter lies in memory: `rows` runs of `cols` elements, `ld` apart. Elements past `cols`
/// are padding; they are and stay +0. The gradient and the optimizer's state lie the same way, each
/// in a contiguous buffer of `extent()` elements.
struct Layout {
  index_t rows = 0;
  index_t cols = 0;
  index_t ld = 0;
  index_t extent() const { return rows * ld; }
};

/// A leaf tensor that optimizers update. Models hold it by shared pointer; nothing ever moves it.
struct Parameter : Tensor {
  Layout layout;

  TensorPtr make_grad() const override;
  bool grad_is_plain() const override { return false; }
  index_t extent() const override { return layout.extent(); }

  /// The gradient's elements in `layout` order, or null when .grad is None.
  template <class T>
  T* grad_data() const {
    return grad ? grad->ptr<T>() : nullptr;
  }
};
using ParameterPtr = std::shared_ptr<Parameter>;

/// A zeroed tensor shaped and laid out like `parameter` (a gradient, or optimizer state).
TensorPtr make_like(const Parameter& parameter);
/// The same, for elements and padding that will be written before they are read.
TensorPtr make_like(const Parameter& parameter, Uninitialized);

/// A parameter of any shape that no layer owns, zeroed, contiguous.
ParameterPtr make_parameter(DType dtype, const Dims& shape);

/// Weight and bias of a dense layer in one segment (weight | bias), zeroed.
struct LinearParameters {
  ParameterPtr weight;  // (n_out, n_in) to the user
  ParameterPtr bias;    // (n_out,), or null
};

/// Held [n_in, n_out padded], or [n_out, n_in padded] when the layer is narrow (kernels.hpp): the
/// strides of `weight` hide it. Throws ValueError when a size is not positive or memory would
/// overflow.
LinearParameters make_linear(DType dtype, index_t n_in, index_t n_out, bool bias);

/// The parameter that a tensor is, where its elements lie like a weight, or a bias, of `make_linear`;
/// null where they do not.
ParameterPtr as_layer_weight(const TensorPtr& tensor);
ParameterPtr as_layer_bias(const TensorPtr& tensor);

}  // namespace schuss

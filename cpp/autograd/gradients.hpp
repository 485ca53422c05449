// SPDX-License-Identifier: MIT
/// Gradients as a result, leaving every tensor's own as it was.
#pragma once

#include <functional>
#include <vector>

#include "autograd/tensor.hpp"

namespace schuss {

/// A node that adds to gradients of tensors that are not among its inputs.
class HasParameters {
 public:
  virtual void each_parameter(const std::function<void(const TensorPtr&)>& f) const = 0;

 protected:
  ~HasParameters() = default;
};

/// Gradients with respect to `inputs` of the sum of roots[i] * d_roots[i] (null: 1, for a single
/// element), one for each input, null for one that the roots do not depend on. No tensor's `grad`
/// changes. Throws as run_backward does.
std::vector<TensorPtr> gradients(const std::vector<TensorPtr>& roots,
                                 const std::vector<TensorPtr>& d_roots,
                                 const std::vector<TensorPtr>& inputs, bool retain_graph);

}  // namespace schuss

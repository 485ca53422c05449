// SPDX-License-Identifier: MIT
/// Which dtype an operation on operands of different dtypes works in: PyTorch's rules.
#pragma once

#include "autograd/ops.hpp"

namespace schuss {

/// Converts the inputs (kConvert nodes) to the dtype that the operation works in. Throws TypeError
/// for dtypes that it does not take.
void to_common_dtype(Op op, const OpAttributes& attributes, std::vector<TensorPtr>& inputs);

/// The common dtype of two tensors: bool < int64 < float32 < float64 among dimensioned tensors; a
/// tensor without dimensions counts only where it is of a higher kind (bool, integer, floating).
DType common_dtype(const Tensor& a, const Tensor& b);

}  // namespace schuss

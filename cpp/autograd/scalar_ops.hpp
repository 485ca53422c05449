// SPDX-License-Identifier: MIT
/// Arithmetic on tensors of one element: costs are added, weighted and combined.
#pragma once

#include "autograd/tensor.hpp"

namespace schuss {

enum class ScalarOp : std::uint8_t { kAdd, kSub, kMul, kDiv, kNeg };

/// One side of an operation: a tensor of one element, or a number.
struct ScalarOperand {
  TensorPtr tensor;  // null: `number`
  double number = 0.0;
};

/// left op right (kNeg: -left), computed in the tensors' dtype, a number rounded to it once. Records
/// history when `record` and an operand requires a gradient. Throws TypeError when both operands are
/// tensors of different dtypes.
TensorPtr scalar_op(ScalarOp op, const ScalarOperand& left, const ScalarOperand& right,
                    bool record);

}  // namespace schuss

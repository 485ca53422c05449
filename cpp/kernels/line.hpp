// SPDX-License-Identifier: MIT
/// The smallest model, many steps at a time: a straight line through a few points.
#pragma once

#include "base/types.hpp"

namespace schuss {

/// Full-batch steps of y = x*w + b on the squared error with plain SGD, without leaving the kernel:
/// at this size a call costs as much as the arithmetic. Every operation is the one that the forward,
/// loss, gradient and update kernels would do, in their order, so the bits are theirs.
template <class T>
struct LineRun {
  const T* x = nullptr;  // [rows], contiguous
  const T* target = nullptr;
  index_t rows = 0;  // 1..kChunkRows
  T* weight = nullptr;
  T* bias = nullptr;  // null: none
  double lr = 0.0;
  double divisor = 1.0;  // of the sum of squared errors
  index_t steps = 0;
  double* losses = nullptr;  // [steps], before each update, rounded to T
  // Where the last step that was done started.
  T previous_weight = T(0);
  T previous_bias = T(0);
};

/// Returns the steps done: fewer than asked for when a loss is not finite (its update is not done,
/// its value is in `losses`).
template <class T>
using LineKernel = index_t (*)(LineRun<T>& run) noexcept;

}  // namespace schuss

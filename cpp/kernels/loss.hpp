// SPDX-License-Identifier: MIT
/// Losses: which there are, their options, and the contract of their kernels.
#pragma once

#include "base/types.hpp"

namespace schuss {

enum class LossKind : std::uint8_t {
  kMSE,
  kL1,
  kHuber,              // delta
  kSmoothL1,           // beta (0: L1)
  kBCE,                // probabilities; each log is clamped at -100, as in PyTorch; weight
  kBCEWithLogits,      // pos_weight, weight
  kCrossEntropyIndex,  // logits, class indices; class weight, ignore_index, label_smoothing
  kCrossEntropyProbs,  // logits, class probabilities; class weight, label_smoothing
  kNLL,                // log-probabilities, class indices; class weight, ignore_index
};
inline constexpr int kLossCount = 9;

/// One call covers the rows of one block.
///
/// `loss` values and gradients follow PyTorch's namesakes before reduction; `scale` is the factor
/// that reduction and upstream gradient put on d_prediction: multiplied once, in dtype T.
template <class T>
struct LossBlock {
  const T* prediction = nullptr;  // [rows, cols], row-major, ld_prediction >= cols
  index_t ld_prediction = 0;
  const T* target = nullptr;  // [rows, cols], row-major (all but the index losses)
  index_t ld_target = 0;
  const std::int64_t* labels = nullptr;  // [rows] (index losses); in 0..cols-1 or ignore_index
  const T* weight = nullptr;             // [cols] or null: class weights, or BCE element weights
  const T* pos_weight = nullptr;         // [cols] or null (BCEWithLogits)
  index_t rows = 0;
  index_t cols = 0;
  double a = 1.0;  // delta of Huber, beta of SmoothL1
  double label_smoothing = 0.0;
  std::int64_t ignore_index = -100;

  double scale = 1.0;            // for d_prediction, rounded to T once
  const T* row_scale = nullptr;  // [rows] or null: a further factor a row (reduction "none")
  T* row_loss = nullptr;         // [rows] or null: the sum over columns (ignored rows: +0)
  T* element_loss = nullptr;     // [rows, cols], ld_element, or null; elementwise losses only
  index_t ld_element = 0;
  T* d_prediction = nullptr;  // [rows, cols], ld_d_prediction, or null; may be `prediction`
  index_t ld_d_prediction = 0;
  const T* element_scale = nullptr;  // [rows, cols], ld_element, or null (reduction "none")
};

/// Sums over columns run in lanes (kernels.hpp) and their tree. noexcept; rows, cols >= 0.
template <class T>
using LossKernel = void (*)(const LossBlock<T>& block) noexcept;

/// Class-index losses: adds to counts the weights of the rows that are not ignored, in row order,
/// float64. (The divisor of reduction "mean".)
constexpr bool takes_labels(LossKind kind) {
  return kind == LossKind::kCrossEntropyIndex || kind == LossKind::kNLL;
}

/// Losses whose value belongs to a row (not to an element): mean divides by rows, not by elements.
constexpr bool is_row_loss(LossKind kind) {
  return takes_labels(kind) || kind == LossKind::kCrossEntropyProbs;
}

}  // namespace schuss

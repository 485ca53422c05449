// SPDX-License-Identifier: MIT
/// A loss as the user asked for it, and its reduction.
#pragma once

#include <memory>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "kernels/kernels.hpp"

namespace schuss {

struct Program;  // nn/program.hpp
template <class T>
class BoundProgram;

enum class Reduction : std::uint8_t { kNone, kMean, kSum };

/// What `nn.<Loss>(...)` was given; checked by whoever builds it.
struct LossSpec {
  LossKind kind = LossKind::kMSE;
  Reduction reduction = Reduction::kMean;
  double a = 1.0;  // delta of Huber, beta of SmoothL1
  double label_smoothing = 0.0;
  std::int64_t ignore_index = -100;
  std::vector<double> weight;      // empty: none
  std::vector<double> pos_weight;  // empty: none
  /// A recorded loss, in place of all that is said above; kind is then kL1: rows of numbers are its
  /// targets.
  std::shared_ptr<const Program> program;
};

template <class T>
class LossCallback;

/// A loss bound to a dtype and a number of columns: weights rounded to T once.
template <class T>
class BoundLoss {
 public:
  BoundLoss(const LossSpec& spec, index_t cols);
  BoundLoss(BoundLoss&& other) noexcept;
  ~BoundLoss();

  const LossSpec& spec() const { return spec_; }
  bool by_labels() const { return takes_labels(spec_.kind); }
  /// The divisor of the mean depends on the labels (class weights, ignored rows), not only on how
  /// many rows there are.
  bool divisor_needs_labels() const { return by_labels() && spec_.reduction == Reduction::kMean; }
  /// Adds the weights of the rows that count, in row order; `counted` gets their number.
  void add_label_weights(const std::int64_t* labels, index_t n, double* sum,
                         index_t* counted) const;
  /// What the sum of row losses is divided by (of a program: the rows). label_weights: from
  /// `add_label_weights` over the whole batch (unused unless divisor_needs_labels()).
  double divisor(index_t rows, double label_weights) const;
  /// The loss of a batch, rounded to T: row losses of that sum, and that divisor.
  double value(double sum, double divisor) const;
  /// What `LossBlock::scale` has to be, for a gradient `upstream` of the loss.
  double scale(double divisor, double upstream = 1.0) const;
  /// A block with every option filled in; the caller adds pointers, sizes and scale.
  LossBlock<T> block() const;
  void run(const LossBlock<T>& block) const;

 private:
  friend class LossCallback<T>;

  LossSpec spec_;
  index_t cols_ = 0;
  AlignedBuffer<T> weight_;
  AlignedBuffer<T> pos_weight_;
  std::unique_ptr<const BoundProgram<T>> program_;
};

/// A loss for kernels that call it back with nothing but a block (NarrowPass): while this lives, a
/// program's kernel() runs that program in this thread. Not nested.
template <class T>
class LossCallback {
 public:
  explicit LossCallback(const BoundLoss<T>& loss);
  ~LossCallback();
  LossCallback(const LossCallback&) = delete;
  LossCallback& operator=(const LossCallback&) = delete;

  LossKernel<T> kernel() const;

 private:
  const BoundLoss<T>& loss_;
};

/// The block from row `at` on, as far as the data go; the caller sets predictions and rows.
template <class T>
LossBlock<T> rows_from(LossBlock<T> block, index_t at) {
  if (block.target != nullptr) block.target += at * block.ld_target;
  if (block.labels != nullptr) block.labels += at;
  if (block.row_loss != nullptr) block.row_loss += at;
  return block;
}

extern template class BoundLoss<float>;
extern template class BoundLoss<double>;
extern template class LossCallback<float>;
extern template class LossCallback<double>;

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// A loss recorded from tensor expressions, run over blocks of rows.
///
/// What can be recorded: every row of the prediction goes through elementwise operations, choices and
/// reductions along the row, together with its target and with constants; one sum or mean over all
/// of it; then products, quotients and sums with numbers. Values and gradients have the bits of the
/// expression evaluated at once (autograd/ops.hpp): the same kernels see the same elements, and the
/// contributions to a gradient are added in the order of the backward pass.
#pragma once

#include <memory>
#include <vector>

#include "autograd/ops.hpp"
#include "base/aligned_buffer.hpp"
#include "kernels/loss.hpp"

namespace schuss {

/// One value of a program: `width` elements for each row.
struct ProgramValue {
  enum class Place : std::uint8_t { kPrediction, kTarget, kComputed, kConstant };
  Place place = Place::kComputed;
  bool is_truth = false;  // of comparisons
  bool has_gradient = false;
  index_t width = 1;
  std::vector<double> numbers;  // kConstant: one, or `width` of them, the same for every row
};

/// One operation over rows. `attributes` as `Op` says; dims and indices count from the tensor, whose
/// first dimension is the rows.
struct ProgramStep {
  Op op = Op::kClone;
  OpAttributes attributes;
  std::vector<int> inputs;  // numbers of values; -1: attributes.number
  int output = -1;
  index_t first = 0;  // kIndex: the columns first, first+stride, ...
  index_t stride = 1;
};

/// An operation on the number that the sum gave.
struct ProgramTail {
  bool negates = false;
  Pair pair = Pair::kAdd;
  std::uint8_t number_side = 2;
  double number = 0.0;
  bool per_row = false;  // the number is to be multiplied by the number of rows
};

struct Program {
  DType dtype = DType::kFloat32;
  index_t cols = 1;            // of the prediction
  index_t target_cols = 1;     // of the target
  bool whole_targets = false;  // the target is compared as integers: no fractions, 2^24 at most
  std::vector<ProgramValue> values;
  std::vector<ProgramStep> steps;     // in order
  std::vector<std::size_t> backward;  // steps on the way from the prediction, in backward's order
  int summed = -1;                    // the value that is summed over rows and columns
  bool mean = false;
  std::vector<ProgramTail> tail;

  /// Elements of scratch that one row takes.
  index_t scratch_per_row() const;
};

/// Scratch that a program may use for one row; a wider one cannot be made.
inline constexpr index_t kMostProgramScratch = 4096;
inline constexpr std::size_t kMostProgramValues = 256;

template <class T>
class FlatProgram;

/// A program bound to its dtype: constants laid out, places in the scratch fixed. Runs in any number
/// of threads at once; scratch is on the stack, so nothing is allocated.
template <class T>
class BoundProgram {
 public:
  explicit BoundProgram(std::shared_ptr<const Program> program);
  ~BoundProgram();

  const Program& program() const { return *program_; }
  /// A LossKernel but for the program: prediction, target, row_loss and d_prediction as there, scale
  /// from `scale()`.
  void run(const LossBlock<T>& block) const noexcept;
  /// The loss of a batch of `rows` rows, whose row losses have that sum.
  double value(double sum, double rows) const;
  /// The gradient of every element that is summed; `upstream`: of the loss.
  double scale(double rows, double upstream) const;

 private:
  struct Rows;
  struct Operand;

  double divisor(double rows) const;
  T tail_number(const ProgramTail& tail, double rows) const;
  void forward(const ProgramStep& step, const Rows& rows) const noexcept;
  void pair(const ProgramStep& step, const Rows& rows) const noexcept;
  void backward(const ProgramStep& step, const Rows& rows, bool* started) const noexcept;
  void pair_backward(const ProgramStep& step, const Rows& rows, bool* started) const noexcept;
  void row_op_backward(const ProgramStep& step, const Rows& rows, T* to) const noexcept;
  void give(int value, const T* d, index_t width, const Rows& rows, bool* started) const noexcept;
  void sum_up(const Rows& rows, T* row_loss) const noexcept;
  Operand operand(int value, index_t width, const T* number, const Rows& rows) const noexcept;
  const ProgramValue& value_at(int i) const {
    return program_->values[static_cast<std::size_t>(i)];
  }

  std::shared_ptr<const Program> program_;
  std::unique_ptr<const FlatProgram<T>> flat_;  // null: it is not elementwise alone
  index_t block_rows_ = 1;
  std::vector<index_t> place_;     // of values: elements of scratch, or of constants_
  std::vector<index_t> gradient_;  // of values: elements of scratch; -1: none
  index_t spare_ = 0;              // two gradients that are not yet added up
  index_t widest_ = 1;
  AlignedBuffer<T> constants_;  // each for block_rows_ rows
};

extern template class BoundProgram<float>;
extern template class BoundProgram<double>;

}  // namespace schuss

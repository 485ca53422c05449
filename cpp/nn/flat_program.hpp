// SPDX-License-Identifier: MIT
/// Programs whose operations are all elementwise over values of one width: Huber's and quantile
/// losses, and most others. They run as a tape of short loops over a block that stays in L1.
#pragma once

#include <vector>

#include "base/aligned_buffer.hpp"
#include "kernels/loss.hpp"
#include "nn/program.hpp"

namespace schuss {

/// Where an operand lies: `offset` elements into one of the places below.
struct FlatOperand {
  enum class Place : std::uint8_t { kScratch, kConstants, kPrediction, kTarget };
  Place place = Place::kScratch;
  index_t offset = 0;
};

template <class T>
struct FlatPlaces {
  const T* base[4];
  T* scratch;

  const T* at(const FlatOperand& operand) const {
    return base[static_cast<std::size_t>(operand.place)] + operand.offset;
  }
};

/// One loop: y = f(a, b, c), or y = y + f(a, b, c). Truth is all bits set or none.
template <class T>
struct FlatStep {
  enum class Code : std::uint8_t {
    kCopy,  // of a alone
    kNeg,
    kAbs,
    kSquare,
    kNot,
    kNumber,  // truth as 1 and 0
    kAdd,     // of a and b
    kSub,
    kMul,
    kDiv,
    kMaximum,
    kMinimum,
    kEq,
    kNe,
    kLt,
    kLe,
    kGt,
    kGe,
    kAnd,
    kOr,
    kXor,
    kKeep,     // a ? b : 0
    kDrop,     // a ? 0 : b
    kAbsBack,  // b times the sign of a
    kSquareBack,
    kWhere,        // a ? b : c
    kMaximumBack,  // the part of c that goes to a; b is the other operand
    kMinimumBack,
    kMap,  // by kernel; these never add
    kMapBack,
    kPair,
    kPairBack,  // y, and y2 when there is one
    kActivation,
    kActivationBack,  // in place: y is the gradient
  };
  Code code = Code::kCopy;
  bool adds = false;
  FlatOperand a, b, c, d;
  index_t y = 0;
  index_t y2 = -1;
  const ProgramStep* of = nullptr;  // attributes of those by kernel
  /// Over n elements, a whole number of groups.
  void (*run)(const FlatStep& step, const FlatPlaces<T>& places, index_t n) noexcept = nullptr;
};

/// The tape of a program. Bits are those of `BoundProgram`'s general way: each element goes through
/// the same operations, and contributions to a gradient are added in the same order.
template <class T>
class FlatProgram {
 public:
  static bool fits(const Program& program);
  /// The program outlives it.
  explicit FlatProgram(const Program& program);

  /// As `BoundProgram::run`.
  void run(const LossBlock<T>& block) const noexcept;

 private:
  class Writer;

  const Program& program_;
  std::vector<FlatStep<T>> forward_;
  std::vector<FlatStep<T>> backward_;
  index_t width_ = 1;
  index_t slots_ = 0;  // of the scratch
  index_t slot_ = 0;   // elements in each
  index_t block_rows_ = 1;
  FlatOperand summed_;
  index_t scale_ = 0;   // the slot of the gradient of what is summed
  index_t result_ = 0;  // the slot of the prediction's gradient
  AlignedBuffer<T> constants_;
};

extern template class FlatProgram<float>;
extern template class FlatProgram<double>;

}  // namespace schuss

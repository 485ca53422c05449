// SPDX-License-Identifier: MIT
#include "nn/flat_program.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <type_traits>
#include <utility>

#include "kernels/dispatch.hpp"
#include "nn/program_rows.hpp"

namespace schuss {
namespace {

template <class T>
using CodeOf = typename FlatStep<T>::Code;
using Place = FlatOperand::Place;

/// Loops go over whole groups, which compilers unroll into registers.
constexpr index_t kGroup = 8;

constexpr index_t whole_groups(index_t n) { return (n + kGroup - 1) / kGroup * kGroup; }

// Truth is all bits set or none, and choices are made with bits: compilers then vectorise them without
// being told that comparisons do not trap.
template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

template <class T>
T told(bool holds) {
  return std::bit_cast<T>(holds ? Bits<T>(-1) : Bits<T>(0));
}

template <class T, class F>
T on_bits(T a, T b, F f) {
  return std::bit_cast<T>(
      static_cast<Bits<T>>(f(std::bit_cast<Bits<T>>(a), std::bit_cast<Bits<T>>(b))));
}

template <class T>
T keep(T truth, T x) {
  return on_bits(truth, x, [](Bits<T> m, Bits<T> v) { return m & v; });
}

template <class T>
T drop(T truth, T x) {
  return on_bits(truth, x, [](Bits<T> m, Bits<T> v) { return ~m & v; });
}

template <class T>
T choose(T truth, T yes, T no) {
  return on_bits(keep(truth, yes), drop(truth, no), [](Bits<T> p, Bits<T> q) { return p | q; });
}

/// The part of d that goes to the operand p, where q wins or not.
template <class T>
T share(T p, T q, T q_wins, T d) {
  return choose(told<T>(p == q), d * T(0.5), drop(q_wins, d));
}

/// f of one element; which of a, b, c it reads goes by the code.
template <class T, CodeOf<T> kCode>
T element(T a, T b, T c) {
  using Code = CodeOf<T>;
  using B = Bits<T>;
  if constexpr (kCode == Code::kCopy) return a;
  if constexpr (kCode == Code::kNeg) return -a;
  if constexpr (kCode == Code::kAbs) return drop(T(-0.0), a);
  if constexpr (kCode == Code::kSquare) return a * a;
  if constexpr (kCode == Code::kNot) return drop(a, told<T>(true));
  if constexpr (kCode == Code::kNumber) return keep(a, T(1));
  if constexpr (kCode == Code::kAdd) return a + b;
  if constexpr (kCode == Code::kSub) return a - b;
  if constexpr (kCode == Code::kMul) return a * b;
  if constexpr (kCode == Code::kDiv) return a / b;
  if constexpr (kCode == Code::kMaximum) return choose(told<T>(!(b == b) || a < b), b, a);
  if constexpr (kCode == Code::kMinimum) return choose(told<T>(!(b == b) || b < a), b, a);
  if constexpr (kCode == Code::kEq) return told<T>(a == b);
  if constexpr (kCode == Code::kNe) return told<T>(a != b);
  if constexpr (kCode == Code::kLt) return told<T>(a < b);
  if constexpr (kCode == Code::kLe) return told<T>(a <= b);
  if constexpr (kCode == Code::kGt) return told<T>(a > b);
  if constexpr (kCode == Code::kGe) return told<T>(a >= b);
  if constexpr (kCode == Code::kAnd || kCode == Code::kKeep) return keep(a, b);
  if constexpr (kCode == Code::kOr) return on_bits(a, b, [](B p, B q) { return p | q; });
  if constexpr (kCode == Code::kXor) return on_bits(a, b, [](B p, B q) { return p ^ q; });
  if constexpr (kCode == Code::kDrop) return drop(a, b);
  if constexpr (kCode == Code::kAbsBack) {
    const T known = choose(told<T>(T(0) < a), b, keep(told<T>(a < T(0)), -b));
    return choose(told<T>(a == a), known, a);
  }
  if constexpr (kCode == Code::kSquareBack) return b * (a + a);
  if constexpr (kCode == Code::kWhere) return choose(a, b, c);
  if constexpr (kCode == Code::kMaximumBack) return share(a, b, told<T>(a < b), c);
  if constexpr (kCode == Code::kMinimumBack) return share(a, b, told<T>(b < a), c);
}

constexpr index_t operands_of(int code, int binary, int ternary) {
  return code >= ternary ? 3 : code >= binary ? 2 : 1;
}

template <class T, CodeOf<T> kCode, bool kAdds>
void run_loop(const T* __restrict a, const T* __restrict b, const T* __restrict c, T* __restrict y,
              index_t n) noexcept {
  constexpr index_t kOperands =
      operands_of(static_cast<int>(kCode), static_cast<int>(CodeOf<T>::kAdd),
                  static_cast<int>(CodeOf<T>::kWhere));
  for (index_t i = 0; i < n; i += kGroup) {
    for (index_t j = 0; j < kGroup; ++j) {
      const T left = a[i + j];
      const T right = kOperands > 1 ? b[i + j] : left;
      const T third = kOperands > 2 ? c[i + j] : left;
      const T value = element<T, kCode>(left, right, third);
      y[i + j] = kAdds ? y[i + j] + value : value;
    }
  }
}

template <class T, CodeOf<T> kCode, bool kAdds>
void loop(const FlatStep<T>& step, const FlatPlaces<T>& places, index_t n) noexcept {
  run_loop<T, kCode, kAdds>(places.at(step.a), places.at(step.b), places.at(step.c),
                            places.scratch + step.y, n);
}

template <class T>
void by_kernel(const FlatStep<T>& step, const FlatPlaces<T>& places, index_t n) noexcept {
  using Code = CodeOf<T>;
  const Kernels<T>& k = kernels<T>();
  const OpAttributes& of = step.of->attributes;
  const T* a = places.at(step.a);
  const T* b = places.at(step.b);
  const T* c = places.at(step.c);
  T* y = step.y < 0 ? nullptr : places.scratch + step.y;
  switch (step.code) {
    case Code::kMap:
      return k.map[static_cast<int>(of.map)](a, y, n, of.options);
    case Code::kMapBack:
      return k.map_backward[static_cast<int>(of.map)](a, b, c, y, n, of.options);
    case Code::kPair:
      return k.pair[static_cast<int>(of.pair)]({a, 1}, {b, 1}, y, n);
    case Code::kPairBack: {
      T* y2 = step.y2 < 0 ? nullptr : places.scratch + step.y2;
      return k.pair_backward[static_cast<int>(of.pair)]({a, 1}, {b, 1}, c, places.at(step.d), y, y2,
                                                        n);
    }
    case Code::kActivation:
      return k.activation[static_cast<int>(of.activation)](a, n, y, n, 1, n, of.activation_options);
    default:  // kActivationBack
      return k.activation_backward[static_cast<int>(of.activation)](a, n, b, n, y, n, 1, n,
                                                                    of.activation_options);
  }
}

/// How the steps run, by code.
template <class T>
struct Loops {
  using Run = decltype(FlatStep<T>::run);
  static constexpr auto kOwn = static_cast<std::size_t>(CodeOf<T>::kMap);

  template <bool kAdds, std::size_t... kCodes>
  static constexpr std::array<Run, kOwn> make(std::index_sequence<kCodes...>) {
    return {&loop<T, static_cast<CodeOf<T>>(kCodes), kAdds>...};
  }
  static constexpr std::array<Run, kOwn> kStores = make<false>(std::make_index_sequence<kOwn>{});
  static constexpr std::array<Run, kOwn> kAdds = make<true>(std::make_index_sequence<kOwn>{});

  static Run of(const FlatStep<T>& step) {
    const auto code = static_cast<std::size_t>(step.code);
    if (code >= kOwn) return &by_kernel<T>;
    return step.adds ? kAdds[code] : kStores[code];
  }
};

/// The code of a step that is a loop of ours; kMap and what follows: by kernel.
template <class T>
CodeOf<T> code_of(const ProgramStep& step, bool from_truth) {
  using Code = CodeOf<T>;
  switch (step.op) {
    case Op::kMap:
      switch (step.attributes.map) {
        case Map::kNeg:
          return Code::kNeg;
        case Map::kAbs:
          return Code::kAbs;
        case Map::kSquare:
          return Code::kSquare;
        default:
          return Code::kMap;
      }
    case Op::kPair:
      switch (step.attributes.pair) {
        case Pair::kAdd:
          return Code::kAdd;
        case Pair::kSub:
          return Code::kSub;
        case Pair::kMul:
          return Code::kMul;
        case Pair::kDiv:
          return Code::kDiv;
        case Pair::kMaximum:
          return Code::kMaximum;
        case Pair::kMinimum:
          return Code::kMinimum;
        case Pair::kPow:
          return Code::kPair;
      }
      return Code::kPair;
    case Op::kCompare:
      return static_cast<Code>(static_cast<int>(Code::kEq) +
                               static_cast<int>(step.attributes.compare));
    case Op::kLogical:
      if (step.attributes.logical == Logical::kNot) return Code::kNot;
      return static_cast<Code>(static_cast<int>(Code::kAnd) +
                               static_cast<int>(step.attributes.logical));
    case Op::kWhere:
      return Code::kWhere;
    case Op::kActivation:
      return Code::kActivation;
    case Op::kConvert:
      return from_truth ? Code::kNumber : Code::kCopy;
    default:  // kReshape, kClone
      return Code::kCopy;
  }
}

bool elementwise(const ProgramStep& step) {
  switch (step.op) {
    case Op::kMap:
    case Op::kPair:
    case Op::kCompare:
    case Op::kLogical:
    case Op::kWhere:
    case Op::kConvert:
    case Op::kReshape:
    case Op::kClone:
      return true;
    case Op::kActivation:
      return step.attributes.activation < Activation::kSoftmax;
    default:
      return false;
  }
}

}  // namespace

template <class T>
bool FlatProgram<T>::fits(const Program& program) {
  const index_t width = program.values[0].width;
  index_t slots = 3;
  for (const ProgramValue& value : program.values) {
    const bool constant = value.place == ProgramValue::Place::kConstant;
    if (value.width != width && !(constant && value.width == 1)) return false;
    slots += constant ? 0 : value.has_gradient ? 4 : 1;  // at most; two are of a kernel's results
  }
  return slots * whole_groups(width) <= kMostProgramScratch &&
         std::all_of(program.steps.begin(), program.steps.end(), elementwise);
}

// ---- from steps to the tape ----------------------------------------------------------------------

/// Slots are counted here, in units of a slot; `close` makes them elements.
template <class T>
class FlatProgram<T>::Writer {
 public:
  explicit Writer(FlatProgram& to) : to_(to), program_(to.program_) {
    place_.resize(program_.values.size());
    gradient_.assign(program_.values.size(), kNone);
  }

  void write() {
    using From = ProgramValue::Place;
    for (std::size_t v = 0; v < place_.size(); ++v) {
      const ProgramValue& value = program_.values[v];
      const bool constant = value.place == From::kConstant;
      place_[v] = value.place == From::kPrediction ? FlatOperand{Place::kPrediction, 0}
                  : value.place == From::kTarget   ? FlatOperand{Place::kTarget, 0}
                  : constant
                      ? FlatOperand{Place::kConstants, add_constant(value.numbers, value.is_truth)}
                      : FlatOperand{Place::kScratch, take()};
    }
    for (const ProgramStep& step : program_.steps) forward(step);
    to_.summed_ = at(program_.summed);
    to_.scale_ = take();
    gradient_[index(program_.summed)] = to_.scale_;
    for (const std::size_t i : program_.backward) backward(program_.steps[i]);
    to_.result_ = gradient_[0];
    // The prediction and the target may have to be copied.
    to_.slots_ += 2;
  }

  const std::vector<std::vector<T>>& constants() const { return constants_; }

 private:
  using Code = CodeOf<T>;
  static constexpr index_t kNone = -1;

  static std::size_t index(int value) { return static_cast<std::size_t>(value); }
  const FlatOperand& at(int value) const { return place_[index(value)]; }
  FlatOperand d_of(int value) const { return {Place::kScratch, gradient_[index(value)]}; }
  index_t take() { return to_.slots_++; }
  index_t add_constant(const std::vector<double>& numbers, bool is_truth) {
    std::vector<T>& made = constants_.emplace_back();
    for (const double number : numbers) {
      made.push_back(is_truth ? told<T>(number != 0.0) : static_cast<T>(number));
    }
    return static_cast<index_t>(constants_.size()) - 1;
  }
  bool wants(const ProgramStep& step, std::size_t i) const {
    return step.inputs[i] >= 0 && program_.values[index(step.inputs[i])].has_gradient;
  }
  /// An input, or the step's number.
  FlatOperand input(const ProgramStep& step, std::size_t i) {
    if (step.inputs[i] >= 0) return at(step.inputs[i]);
    return {Place::kConstants, add_constant({step.attributes.number}, false)};
  }

  Code code_of(const ProgramStep& step) const {
    const int first = step.inputs[0];
    return schuss::code_of<T>(step, first >= 0 && program_.values[index(first)].is_truth);
  }

  void forward(const ProgramStep& step) {
    FlatStep<T> made;
    made.code = code_of(step);
    made.of = &step;
    made.y = at(step.output).offset;
    FlatOperand* const operands[] = {&made.a, &made.b, &made.c};
    for (std::size_t i = 0; i < step.inputs.size(); ++i) *operands[i] = input(step, i);
    // A loop may look at b though its code has none.
    if (step.inputs.size() < 2) made.b = made.a;
    if (step.inputs.size() < 3) made.c = made.a;
    to_.forward_.push_back(made);
  }

  /// y (or y + ...) of a value's gradient.
  void give(int value, Code code, FlatOperand a, FlatOperand b, FlatOperand c) {
    index_t& slot = gradient_[index(value)];
    FlatStep<T> made{code, slot != kNone, a, b, c, a, 0, kNone, nullptr, nullptr};
    if (slot == kNone) slot = take();
    made.y = slot;
    to_.backward_.push_back(made);
  }
  void give(int value, Code code, FlatOperand a, FlatOperand b) { give(value, code, a, b, a); }
  void give(int value, Code code, FlatOperand a) { give(value, code, a, a, a); }
  /// d itself, which nobody needs afterwards.
  void hand_over(int value, FlatOperand d) {
    index_t& slot = gradient_[index(value)];
    if (slot == kNone) {
      slot = d.offset;
    } else {
      give(value, Code::kCopy, d);
    }
  }

  void backward(const ProgramStep& step) {
    const FlatOperand d = d_of(step.output);
    switch (code_of(step)) {
      case Code::kAdd:
      case Code::kSub:
        if (wants(step, 0) && wants(step, 1)) {
          give(step.inputs[0], Code::kCopy, d);
        } else if (wants(step, 0)) {
          return hand_over(step.inputs[0], d);
        }
        if (!wants(step, 1)) return;
        if (code_of(step) == Code::kSub) return give(step.inputs[1], Code::kNeg, d);
        return hand_over(step.inputs[1], d);
      case Code::kMul:
        if (wants(step, 0)) give(step.inputs[0], Code::kMul, d, input(step, 1));
        if (wants(step, 1)) give(step.inputs[1], Code::kMul, d, input(step, 0));
        return;
      case Code::kMaximum:
      case Code::kMinimum: {
        const Code part = code_of(step) == Code::kMaximum ? Code::kMaximumBack : Code::kMinimumBack;
        if (wants(step, 0)) give(step.inputs[0], part, input(step, 0), input(step, 1), d);
        if (wants(step, 1)) give(step.inputs[1], part, input(step, 1), input(step, 0), d);
        return;
      }
      case Code::kNeg:
        return give(step.inputs[0], Code::kNeg, d);
      case Code::kAbs:
        return give(step.inputs[0], Code::kAbsBack, input(step, 0), d);
      case Code::kSquare:
        return give(step.inputs[0], Code::kSquareBack, input(step, 0), d);
      case Code::kWhere:
        if (wants(step, 1)) give(step.inputs[1], Code::kKeep, input(step, 0), d);
        if (wants(step, 2)) give(step.inputs[2], Code::kDrop, input(step, 0), d);
        return;
      case Code::kCopy:
        return hand_over(step.inputs[0], d);
      case Code::kDiv:
      case Code::kPair:
        return pair_by_kernel(step, d);
      default:
        return map_by_kernel(step, d);
    }
  }

  void pair_by_kernel(const ProgramStep& step, FlatOperand d) {
    FlatStep<T> made{Code::kPairBack, false, input(step, 0), input(step, 1), at(step.output), d,
                     kNone,           kNone, &step,          nullptr};
    if (wants(step, 0)) made.y = take();
    if (wants(step, 1)) made.y2 = take();
    to_.backward_.push_back(made);
    if (wants(step, 0)) hand_over(step.inputs[0], {Place::kScratch, made.y});
    if (wants(step, 1)) hand_over(step.inputs[1], {Place::kScratch, made.y2});
  }

  void map_by_kernel(const ProgramStep& step, FlatOperand d) {
    FlatStep<T> made{Code::kMapBack, false, input(step, 0), at(step.output), d, d, 0,
                     kNone,          &step, nullptr};
    if (step.op == Op::kActivation) {
      made.code = Code::kActivationBack;
      made.y = d.offset;
    } else {
      made.y = take();
    }
    to_.backward_.push_back(made);
    hand_over(step.inputs[0], {Place::kScratch, made.y});
  }

  FlatProgram& to_;
  const Program& program_;
  std::vector<FlatOperand> place_;         // of values
  std::vector<index_t> gradient_;          // slots, of values
  std::vector<std::vector<T>> constants_;  // rounded
};

template <class T>
FlatProgram<T>::FlatProgram(const Program& program)
    : program_(program), width_(program.values[0].width) {
  Writer writer(*this);
  writer.write();
  const index_t rows = kMostProgramScratch / slots_ / kGroup * kGroup / width_;
  block_rows_ = std::clamp<index_t>(rows, 1, kChunkRows);
  slot_ = whole_groups(block_rows_ * width_);
  const auto& numbers = writer.constants();
  constants_ = AlignedBuffer<T>(static_cast<index_t>(numbers.size()) * slot_);
  for (std::size_t v = 0; v < numbers.size(); ++v) {
    T* to = constants_.data() + static_cast<index_t>(v) * slot_;
    const auto count = static_cast<index_t>(numbers[v].size());
    for (index_t i = 0; i < slot_; ++i) {
      to[i] = numbers[v][static_cast<std::size_t>(i % count)];
    }
  }
  for (std::vector<FlatStep<T>>* tape : {&forward_, &backward_}) {
    for (FlatStep<T>& step : *tape) {
      for (FlatOperand* operand : {&step.a, &step.b, &step.c, &step.d}) operand->offset *= slot_;
      step.y *= slot_;
      step.y2 *= slot_;
      step.run = Loops<T>::of(step);
    }
  }
  summed_.offset *= slot_;
  scale_ *= slot_;
  result_ *= slot_;
}

template <class T>
void FlatProgram<T>::run(const LossBlock<T>& block) const noexcept {
  alignas(64) T scratch[kMostProgramScratch];
  const T scale = static_cast<T>(block.scale);
  for (index_t first = 0; first < block.rows; first += block_rows_) {
    const index_t rows = std::min(block_rows_, block.rows - first);
    const index_t count = rows * width_;
    const index_t n = whole_groups(count);
    /// Where an input is read: as it lies when nothing beyond its end is.
    const auto place = [&](const T* from, index_t ld, index_t slot) -> const T* {
      if (ld == width_ && n == count) return from;
      T* copy = scratch + slot * slot_;
      program::copy_rows(from, ld, copy, width_, rows, width_);
      std::fill(copy + count, copy + n, T(0));
      return copy;
    };
    const T* prediction =
        place(block.prediction + first * block.ld_prediction, block.ld_prediction, slots_ - 2);
    const T* target = place(block.target + first * block.ld_target, block.ld_target, slots_ - 1);
    const FlatPlaces<T> places{{scratch, constants_.data(), prediction, target}, scratch};
    for (const FlatStep<T>& step : forward_) step.run(step, places, n);
    if (block.row_loss != nullptr) {
      program::row_sums(places.at(summed_), rows, width_, false, block.row_loss + first);
    }
    if (block.d_prediction == nullptr) continue;
    std::fill_n(scratch + scale_, n, scale);
    for (const FlatStep<T>& step : backward_) step.run(step, places, n);
    program::copy_rows(scratch + result_, width_,
                       block.d_prediction + first * block.ld_d_prediction, block.ld_d_prediction,
                       rows, width_);
  }
}

template class FlatProgram<float>;
template class FlatProgram<double>;

}  // namespace schuss

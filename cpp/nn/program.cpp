// SPDX-License-Identifier: MIT
#include "nn/program.hpp"

#include <algorithm>
#include <cstring>

#include "base/fp_environment.hpp"
#include "kernels/dispatch.hpp"
#include "nn/flat_program.hpp"
#include "nn/program_rows.hpp"

namespace schuss {

index_t Program::scratch_per_row() const {
  index_t elements = 0;
  index_t widest = 1;
  for (const ProgramValue& value : values) {
    if (value.place == ProgramValue::Place::kConstant) continue;
    elements += value.has_gradient ? 2 * value.width : value.width;
    widest = std::max(widest, value.width);
  }
  return elements + 2 * widest;
}

template <class T>
BoundProgram<T>::BoundProgram(std::shared_ptr<const Program> program)
    : program_(std::move(program)),
      block_rows_(
          std::clamp<index_t>(kMostProgramScratch / program_->scratch_per_row(), 1, kChunkRows)) {
  if (FlatProgram<T>::fits(*program_)) flat_ = std::make_unique<FlatProgram<T>>(*program_);
  index_t scratch = 0;
  index_t constants = 0;
  for (const ProgramValue& value : program_->values) {
    const index_t size = value.width * block_rows_;
    index_t& used = value.place == ProgramValue::Place::kConstant ? constants : scratch;
    place_.push_back(used);
    used += size;
    gradient_.push_back(value.has_gradient ? scratch : -1);
    if (value.has_gradient) scratch += size;
    widest_ = std::max(widest_, value.width);
  }
  spare_ = scratch;
  constants_ = AlignedBuffer<T>(constants);
  for (std::size_t v = 0; v < place_.size(); ++v) {
    const ProgramValue& value = program_->values[v];
    if (value.place != ProgramValue::Place::kConstant) continue;
    T* to = constants_.data() + place_[v];
    const bool single = value.numbers.size() == 1;
    for (index_t i = 0; i < value.width * block_rows_; ++i) {
      const double number = value.numbers[static_cast<std::size_t>(single ? 0 : i % value.width)];
      if (value.is_truth) {
        reinterpret_cast<bool*>(to)[i] = number != 0.0;
      } else {
        to[i] = static_cast<T>(number);
      }
    }
  }
}

template <class T>
BoundProgram<T>::~BoundProgram() = default;

// ---- forward -------------------------------------------------------------------------------------

/// A value as an operand of a result that is `width` wide: element i of the block at at[i], or one
/// element for each row, or one for all.
template <class T>
struct BoundProgram<T>::Operand {
  enum class Kind : std::uint8_t { kEach, kByRow, kNumber };
  const T* at;
  Kind kind;

  bool by_row() const { return kind == Kind::kByRow; }
  Run<T> whole() const { return {at, kind == Kind::kEach ? 1 : 0}; }
  Run<T> row(index_t r, index_t width) const {
    if (kind == Kind::kEach) return {at + r * width, 1};
    return {kind == Kind::kByRow ? at + r : at, 0};
  }
};

template <class T>
typename BoundProgram<T>::Operand BoundProgram<T>::operand(int value, index_t width,
                                                           const T* number,
                                                           const Rows& rows) const noexcept {
  using Kind = typename Operand::Kind;
  if (value < 0) return {number, Kind::kNumber};
  const ProgramValue& v = value_at(value);
  if (v.width == width) return {rows.at(value), Kind::kEach};
  const bool constant = v.place == ProgramValue::Place::kConstant;
  return {rows.at(value), constant ? Kind::kNumber : Kind::kByRow};
}

template <class T>
struct BoundProgram<T>::Rows {
  const BoundProgram& bound;
  T* scratch;
  index_t n;

  T* at(int value) const {
    const auto v = static_cast<std::size_t>(value);
    // Constants are only read.
    T* base = bound.program_->values[v].place == ProgramValue::Place::kConstant
                  ? const_cast<T*>(bound.constants_.data())
                  : scratch;
    return base + bound.place_[v];
  }
  bool* truth(int value) const { return reinterpret_cast<bool*>(at(value)); }
  T* gradient(int value) const {
    return scratch + bound.gradient_[static_cast<std::size_t>(value)];
  }
  T* spare(int i) const { return scratch + bound.spare_ + i * bound.widest_ * bound.block_rows_; }
};

template <class T>
void BoundProgram<T>::pair(const ProgramStep& step, const Rows& rows) const noexcept {
  const index_t width = value_at(step.output).width;
  const T number = static_cast<T>(step.attributes.number);
  const Operand a = operand(step.inputs[0], width, &number, rows);
  const Operand b = operand(step.inputs[1], width, &number, rows);
  const auto kernel = kernels<T>().pair[static_cast<int>(step.attributes.pair)];
  T* y = rows.at(step.output);
  if (!a.by_row() && !b.by_row()) {
    return kernel(a.whole(), b.whole(), y, rows.n * width);
  }
  for (index_t r = 0; r < rows.n; ++r) {
    kernel(a.row(r, width), b.row(r, width), y + r * width, width);
  }
}

template <class T>
void BoundProgram<T>::forward(const ProgramStep& step, const Rows& rows) const noexcept {
  const Kernels<T>& k = kernels<T>();
  const OpAttributes& attributes = step.attributes;
  const ProgramValue& out = value_at(step.output);
  const index_t n = rows.n * out.width;
  const auto width_of = [&](std::size_t i) { return value_at(step.inputs[i]).width; };
  T* y = rows.at(step.output);
  switch (step.op) {
    case Op::kMap:
      return k.map[static_cast<int>(attributes.map)](rows.at(step.inputs[0]), y, n,
                                                     attributes.options);
    case Op::kPair:
      return pair(step, rows);
    case Op::kActivation:
      return k.activation[static_cast<int>(attributes.activation)](
          rows.at(step.inputs[0]), out.width, y, out.width, rows.n, out.width,
          attributes.activation_options);
    case Op::kCompare: {
      const T number = static_cast<T>(attributes.number);
      const Operand a = operand(step.inputs[0], out.width, &number, rows);
      const Operand b = operand(step.inputs[1], out.width, &number, rows);
      if (!a.by_row() && !b.by_row()) {
        return program::compare(attributes.compare, a.whole(), b.whole(), rows.truth(step.output),
                                n);
      }
      for (index_t r = 0; r < rows.n; ++r) {
        program::compare(attributes.compare, a.row(r, out.width), b.row(r, out.width),
                         rows.truth(step.output) + r * out.width, out.width);
      }
      return;
    }
    case Op::kLogical: {
      const bool* b = rows.truth(step.inputs[step.inputs.size() - 1]);
      return program::logical(attributes.logical, rows.truth(step.inputs[0]), b,
                              rows.truth(step.output), n);
    }
    case Op::kWhere: {
      const T number = static_cast<T>(attributes.number);
      const Operand a = operand(step.inputs[1], out.width, &number, rows);
      const Operand b = operand(step.inputs[2], out.width, &number, rows);
      const index_t chosen = width_of(0);
      const bool* truth = rows.truth(step.inputs[0]);
      if (!a.by_row() && !b.by_row() && chosen == out.width) {
        return program::choose(truth, 1, a.whole(), b.whole(), y, n);
      }
      for (index_t r = 0; r < rows.n; ++r) {
        program::choose(truth + r * chosen, chosen == out.width ? 1 : 0, a.row(r, out.width),
                        b.row(r, out.width), y + r * out.width, out.width);
      }
      return;
    }
    case Op::kSum:
    case Op::kMean:
      return program::row_sums(rows.at(step.inputs[0]), rows.n, width_of(0), step.op == Op::kMean,
                               y);
    case Op::kMax:
    case Op::kMin:
      return program::row_extremes(step.op == Op::kMax, rows.at(step.inputs[0]), rows.n,
                                   width_of(0), y);
    case Op::kIndex: {
      const T* x = rows.at(step.inputs[0]);
      for (index_t r = 0; r < rows.n; ++r) {
        for (index_t c = 0; c < out.width; ++c) {
          y[r * out.width + c] = x[r * width_of(0) + step.first + c * step.stride];
        }
      }
      return;
    }
    case Op::kCat: {
      index_t at = 0;
      for (std::size_t i = 0; i < step.inputs.size(); ++i) {
        const index_t width = width_of(i);
        for (index_t r = 0; r < rows.n; ++r) {
          std::copy_n(rows.at(step.inputs[i]) + r * width, width, y + r * out.width + at);
        }
        at += width;
      }
      return;
    }
    case Op::kConvert:
      if (value_at(step.inputs[0]).is_truth) {
        const bool* from = rows.truth(step.inputs[0]);
        for (index_t i = 0; i < n; ++i) y[i] = from[i] ? T(1) : T(0);
        return;
      }
      [[fallthrough]];
    default:  // kReshape, kClone
      std::copy_n(rows.at(step.inputs[0]), n, y);
  }
}

// ---- backward ------------------------------------------------------------------------------------

/// Adds d, `width` wide, to a value's gradient: the first is stored, a broadcast one summed.
template <class T>
void BoundProgram<T>::give(int value, const T* d, index_t width, const Rows& rows,
                           bool* started) const noexcept {
  const index_t own = value_at(value).width;
  T* to = rows.gradient(value);
  bool& begun = started[value];
  if (own != width) {  // a broadcast value: one element for each row
    T* sums = rows.spare(1);
    program::row_sums(d, rows.n, width, false, sums);
    d = sums;
  }
  if (begun) {
    kernels<T>().add(d, to, rows.n * own);
  } else if (d != to) {
    std::copy_n(d, rows.n * own, to);
  }
  begun = true;
}

template <class T>
void BoundProgram<T>::pair_backward(const ProgramStep& step, const Rows& rows,
                                    bool* started) const noexcept {
  const Kernels<T>& k = kernels<T>();
  const Pair op = step.attributes.pair;
  const index_t width = value_at(step.output).width;
  const index_t n = rows.n * width;
  const T* d = rows.gradient(step.output);
  const auto wants = [&](std::size_t i) {
    return step.inputs[i] >= 0 && value_at(step.inputs[i]).has_gradient;
  };
  if (op == Pair::kAdd || op == Pair::kSub) {
    if (wants(0)) give(step.inputs[0], d, width, rows, started);
    if (!wants(1)) return;
    if (op == Pair::kSub) {
      k.map[static_cast<int>(Map::kNeg)](d, rows.spare(0), n, MapOptions{});
      d = rows.spare(0);
    }
    return give(step.inputs[1], d, width, rows, started);
  }
  const T number = static_cast<T>(step.attributes.number);
  const Operand a = operand(step.inputs[0], width, &number, rows);
  const Operand b = operand(step.inputs[1], width, &number, rows);
  const auto kernel = k.pair_backward[static_cast<int>(op)];
  const T* y = rows.at(step.output);
  // The first of a value's gradients goes straight to its place.
  const auto target = [&](std::size_t i) -> T* {
    if (!wants(i)) return nullptr;
    const int value = step.inputs[i];
    const bool direct =
        !started[value] && value_at(value).width == width && step.inputs[0] != step.inputs[1];
    return direct ? rows.gradient(value) : rows.spare(static_cast<int>(i));
  };
  T* d_a = target(0);
  T* d_b = target(1);
  if (!a.by_row() && !b.by_row()) {
    kernel(a.whole(), b.whole(), y, d, d_a, d_b, n);
  } else {
    for (index_t at = 0, r = 0; r < rows.n; ++r, at += width) {
      kernel(a.row(r, width), b.row(r, width), y + at, d + at, d_a == nullptr ? nullptr : d_a + at,
             d_b == nullptr ? nullptr : d_b + at, width);
    }
  }
  // A broadcast first operand is summed where it lies: `give` would use the second spare.
  if (d_b != nullptr && d_a != nullptr && value_at(step.inputs[0]).width != width) {
    T* sums = rows.spare(0);
    program::row_sums(d_a, rows.n, width, false, sums);
    give(step.inputs[0], sums, 1, rows, started);
    return give(step.inputs[1], d_b, width, rows, started);
  }
  if (d_a != nullptr) give(step.inputs[0], d_a, width, rows, started);
  if (d_b != nullptr) give(step.inputs[1], d_b, width, rows, started);
}

/// The gradient of a step's first input into `to`, where it has one operand.
template <class T>
void BoundProgram<T>::row_op_backward(const ProgramStep& step, const Rows& rows,
                                      T* to) const noexcept {
  const Kernels<T>& k = kernels<T>();
  const OpAttributes& attributes = step.attributes;
  const index_t out = value_at(step.output).width;
  const index_t in = value_at(step.inputs[0]).width;
  const index_t n = rows.n * in;
  const T* x = rows.at(step.inputs[0]);
  const T* y = rows.at(step.output);
  const T* d = rows.gradient(step.output);
  switch (step.op) {
    case Op::kMap:
      return k.map_backward[static_cast<int>(attributes.map)](x, y, d, to, n, attributes.options);
    case Op::kActivation:
      std::copy_n(d, n, to);
      return k.activation_backward[static_cast<int>(attributes.activation)](
          x, in, y, in, to, in, rows.n, in, attributes.activation_options);
    case Op::kSum:
    case Op::kMean:
      return program::spread(d, rows.n, in, step.op == Op::kMean, to);
    case Op::kMax:
    case Op::kMin:
      return program::row_extremes_backward(step.op == Op::kMax, x, d, rows.n, in, to);
    case Op::kIndex:
      std::fill_n(to, n, T(0));
      for (index_t r = 0; r < rows.n; ++r) {
        for (index_t c = 0; c < out; ++c)
          to[r * in + step.first + c * step.stride] = d[r * out + c];
      }
      return;
    default:  // kReshape, kClone
      std::copy_n(d, n, to);
  }
}

template <class T>
void BoundProgram<T>::backward(const ProgramStep& step, const Rows& rows,
                               bool* started) const noexcept {
  const index_t width = value_at(step.output).width;
  const T* d = rows.gradient(step.output);
  if (step.op == Op::kPair) return pair_backward(step, rows, started);
  if (step.op == Op::kWhere) {
    const index_t chosen = value_at(step.inputs[0]).width;
    for (std::size_t side = 1; side <= 2; ++side) {
      if (step.inputs[side] < 0 || !value_at(step.inputs[side]).has_gradient) continue;
      T* part = rows.spare(0);
      if (chosen == width) {
        program::keep_chosen(rows.truth(step.inputs[0]), 1, side == 1, d, part, rows.n * width);
      }
      for (index_t r = 0; chosen != width && r < rows.n; ++r) {
        program::keep_chosen(rows.truth(step.inputs[0]) + r * chosen, 0, side == 1, d + r * width,
                             part + r * width, width);
      }
      give(step.inputs[side], part, width, rows, started);
    }
    return;
  }
  if (step.op == Op::kCat) {
    index_t at = 0;
    for (const int input : step.inputs) {
      const index_t own = value_at(input).width;
      if (value_at(input).has_gradient) {
        T* part = rows.spare(0);
        for (index_t r = 0; r < rows.n; ++r) std::copy_n(d + r * width + at, own, part + r * own);
        give(input, part, own, rows, started);
      }
      at += own;
    }
    return;
  }
  const int input = step.inputs[0];
  T* to = started[input] ? rows.spare(0) : rows.gradient(input);
  row_op_backward(step, rows, to);
  give(input, to, value_at(input).width, rows, started);
}

// ---- all of it -----------------------------------------------------------------------------------

template <class T>
void BoundProgram<T>::sum_up(const Rows& rows, T* row_loss) const noexcept {
  const index_t width = value_at(program_->summed).width;
  program::row_sums(rows.at(program_->summed), rows.n, width, false, row_loss);
}

template <class T>
void BoundProgram<T>::run(const LossBlock<T>& block) const noexcept {
  static_assert(sizeof(bool) == 1);
  if (flat_ != nullptr) return flat_->run(block);
  alignas(64) T scratch[kMostProgramScratch];
  bool started[kMostProgramValues];
  const auto& values = program_->values;
  for (index_t first = 0; first < block.rows; first += block_rows_) {
    const Rows rows{*this, scratch, std::min(block_rows_, block.rows - first)};
    for (std::size_t v = 0; v < values.size(); ++v) {
      using Place = ProgramValue::Place;
      const Place place = values[v].place;
      if (place != Place::kPrediction && place != Place::kTarget) continue;
      const bool target = place == Place::kTarget;
      const index_t ld = target ? block.ld_target : block.ld_prediction;
      const T* from = (target ? block.target : block.prediction) + first * ld;
      program::copy_rows(from, ld, rows.at(static_cast<int>(v)), values[v].width, rows.n,
                         values[v].width);
    }
    for (const ProgramStep& step : program_->steps) forward(step, rows);
    if (block.row_loss != nullptr) sum_up(rows, block.row_loss + first);
    if (block.d_prediction == nullptr) continue;
    std::fill_n(started, values.size(), false);
    std::fill_n(rows.gradient(program_->summed), rows.n * value_at(program_->summed).width,
                static_cast<T>(block.scale));
    for (const std::size_t i : program_->backward) backward(program_->steps[i], rows, started);
    program::copy_rows(rows.gradient(0), values[0].width,
                       block.d_prediction + first * block.ld_d_prediction, block.ld_d_prediction,
                       rows.n, values[0].width);
  }
}

// ---- the number at the end -----------------------------------------------------------------------

template <class T>
double BoundProgram<T>::divisor(double rows) const {
  return program_->mean ? rows * static_cast<double>(value_at(program_->summed).width) : 1.0;
}

template <class T>
T BoundProgram<T>::tail_number(const ProgramTail& tail, double rows) const {
  return static_cast<T>(tail.per_row ? tail.number * rows : tail.number);
}

template <class T>
double BoundProgram<T>::value(double sum, double rows) const {
  const FpEnvironment environment;
  T value = static_cast<T>(sum / divisor(rows));
  for (const ProgramTail& tail : program_->tail) {
    if (tail.negates) {
      value = -value;
      continue;
    }
    const T number = tail_number(tail, rows);
    Run<T> a{&value, 0};
    Run<T> b{&number, 0};
    if (tail.number_side == 1) std::swap(a, b);
    T result = T(0);
    kernels<T>().pair[static_cast<int>(tail.pair)](a, b, &result, 1);
    value = result;
  }
  return static_cast<double>(value);
}

template <class T>
double BoundProgram<T>::scale(double rows, double upstream) const {
  const FpEnvironment environment;
  T d = static_cast<T>(upstream);
  for (auto tail = program_->tail.rbegin(); tail != program_->tail.rend(); ++tail) {
    const bool flips = tail->negates || (tail->pair == Pair::kSub && tail->number_side == 1);
    const T number = tail_number(*tail, rows);
    if (flips) {
      d = -d;
    } else if (tail->pair == Pair::kMul) {
      d = d * number;
    } else if (tail->pair == Pair::kDiv) {
      d = d / number;
    }
  }
  if (program_->mean) d = d / static_cast<T>(divisor(rows));
  return static_cast<double>(d);
}

template class BoundProgram<float>;
template class BoundProgram<double>;

}  // namespace schuss

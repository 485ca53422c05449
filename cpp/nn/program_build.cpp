// SPDX-License-Identifier: MIT
/// From two recordings to a program.
#include <algorithm>

#include "nn/program_record.hpp"

namespace schuss {
namespace {

[[noreturn]] void differ(const char* what) {
  throw StateError(std::string("two runs on different rows differ in ") + what +
                   "; a recorded function does the same operations for all data, with nothing "
                   "random and no number that depends on the data");
}

bool same_index(const OpAttributes& a, const OpAttributes& b, const Recording& one,
                const Recording& other) {
  if (a.index == nullptr || b.index == nullptr) return a.index == b.index;
  if (a.index->size() != b.index->size()) return false;
  bool rows = true;  // the first dimension is as long as there are rows
  for (std::size_t i = 0; i < a.index->size(); ++i) {
    const IndexItem& p = (*a.index)[i];
    const IndexItem& q = (*b.index)[i];
    if (p.kind != q.kind || p.start != q.start || p.step != q.step) return false;
    const bool by_rows = rows && p.length == one.rows() && q.length == other.rows();
    if (p.kind == IndexItem::Kind::kSlice && p.length != q.length && !by_rows) return false;
    if (p.kind != IndexItem::Kind::kNew) rows = false;
  }
  return true;
}

/// All but the numbers and the shapes.
bool same_kind(const OpAttributes& a, const OpAttributes& b) {
  return a.map == b.map && a.pair == b.pair && a.compare == b.compare && a.logical == b.logical &&
         a.activation == b.activation && a.dtype == b.dtype && a.number_side == b.number_side &&
         a.dims == b.dims && a.keepdim == b.keepdim && a.dim == b.dim &&
         a.options.a == b.options.a && a.options.b == b.options.b &&
         a.activation_options.a == b.activation_options.a &&
         a.activation_options.beta == b.activation_options.beta &&
         a.activation_options.threshold == b.activation_options.threshold;
}

bool same_number(double a, double b) { return a == b || (a != a && b != b); }

index_t width_of(const Tensor& tensor) { return tensor.shape.rank == 2 ? tensor.shape[1] : 1; }

class Builder {
 public:
  Builder(const Recording& one, const Recording& other) : one_(one), other_(other) {}

  std::shared_ptr<const Program> build() {
    compare();
    program_->dtype = one_.dtype();
    find_needed();
    for (std::size_t i = 0; i < 2 || i < one_.values().size(); ++i) {
      if (i < 2 || needed_[i]) take_value(i);
    }
    for (const Recording::Entry& entry : one_.entries()) {
      if (needed_[at(entry.output)]) take_entry(entry);
    }
    if (program_->summed < 0) throw StateError("the result is no sum or mean over the rows");
    program_->cols = width_of(tensor(0));
    program_->target_cols = width_of(tensor(1));
    order_backward();
    if (program_->values.size() > kMostProgramValues ||
        program_->scratch_per_row() > kMostProgramScratch) {
      throw StateError("the loss takes too many operations on too many columns: " +
                       std::to_string(program_->scratch_per_row()) +
                       " numbers a row; the most is " + std::to_string(kMostProgramScratch));
    }
    return program_;
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  const Tensor& tensor(int i) const { return *one_.values()[at(i)].tensor; }
  bool traced(int i) const { return i >= 0 && one_.values()[at(i)].traced; }

  void compare() const {
    const auto& a = one_.entries();
    const auto& b = other_.entries();
    if (a.size() != b.size() || one_.values().size() != other_.values().size() ||
        one_.result() != other_.result()) {
      differ("their operations");
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
      const bool same = a[i].op == b[i].op && a[i].inputs == b[i].inputs &&
                        a[i].output == b[i].output && same_kind(a[i].attributes, b[i].attributes) &&
                        same_index(a[i].attributes, b[i].attributes, one_, other_);
      if (!same) differ("their operations");
    }
    for (std::size_t i = 0; i < one_.values().size(); ++i) {
      const Recording::Value& p = one_.values()[i];
      const Recording::Value& q = other_.values()[i];
      const bool kind = p.traced == q.traced && p.tensor->dtype == q.tensor->dtype &&
                        p.tensor->requires_grad == q.tensor->requires_grad;
      if (!kind || (p.traced && width_of(*p.tensor) != width_of(*q.tensor))) {
        differ("their shapes and dtypes");
      }
    }
  }

  /// The values that the result is computed from.
  void find_needed() {
    needed_.resize(one_.values().size());
    needed_[at(one_.result())] = true;
    const auto& entries = one_.entries();
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
      if (!needed_[at(entry->output)]) continue;
      for (const int input : entry->inputs) {
        if (input >= 0) needed_[at(input)] = true;
      }
    }
  }

  void take_value(std::size_t i) {
    numbers_.resize(one_.values().size(), -1);
    const Recording::Value& value = one_.values()[i];
    const Tensor& t = *value.tensor;
    if (value.traced && t.shape.rank == 0) return;  // the sum and what follows
    using Place = ProgramValue::Place;
    ProgramValue made;
    made.place = i == 0          ? Place::kPrediction
                 : i == 1        ? Place::kTarget
                 : !value.traced ? Place::kConstant
                                 : Place::kComputed;
    made.is_truth = t.dtype == DType::kBool;
    made.has_gradient = value.traced && t.requires_grad;
    made.width = width_of(t);
    if (!value.traced) made.numbers = constant(i, &made.width);
    numbers_[i] = static_cast<int>(program_->values.size());
    program_->values.push_back(std::move(made));
  }

  /// The numbers of a constant for one row.
  std::vector<double> constant(std::size_t i, index_t* width) const {
    const Recording::Value& a = one_.values()[i];
    const Recording::Value& b = other_.values()[i];
    const Dims& shape = a.tensor->shape;
    const bool by_rows = shape.rank > 0 && shape[0] == one_.rows() &&
                         b.tensor->shape.rank == shape.rank && b.tensor->shape[0] == other_.rows();
    const index_t count = a.tensor->count();
    *width = by_rows ? count / one_.rows() : count;
    const bool fits = shape.rank < 2 || by_rows || shape[0] == 1;
    if (shape.rank > 2 || !fits) {
      throw StateError("a constant has shape " + to_string(shape) +
                       "; expected one number, or (k,) for the columns");
    }
    const std::vector<double> first(a.numbers.begin(), a.numbers.begin() + *width);
    const auto repeats = [&](const std::vector<double>& numbers) {
      for (std::size_t n = 0; n < numbers.size(); ++n) {
        if (!same_number(numbers[n], first[n % first.size()])) return false;
      }
      return true;
    };
    if (!by_rows && a.numbers.size() != b.numbers.size()) differ("a tensor made inside");
    if (first.empty() || !repeats(a.numbers) || !repeats(b.numbers)) differ("a tensor made inside");
    return first;
  }

  void take_entry(const Recording::Entry& entry) {
    const std::size_t i = static_cast<std::size_t>(&entry - one_.entries().data());
    const double number = entry.attributes.number;
    const double other = other_.entries()[i].attributes.number;
    const Tensor& out = tensor(entry.output);
    if (out.shape.rank == 0) return take_scalar(entry, number, other);
    if (!same_number(number, other)) differ("a number");
    ProgramStep step{entry.op, entry.attributes, {}, numbers_[at(entry.output)], 0, 1};
    if (entry.op == Op::kWhere && out.dtype == DType::kFloat32) {
      step.attributes.number = static_cast<double>(static_cast<float>(number));
    }
    for (const int input : entry.inputs) {
      step.inputs.push_back(input < 0 ? -1 : numbers_[at(input)]);
      const bool whole = input == 1 || (input >= 0 && traced(input));
      if (entry.op == Op::kCompare && whole && tensor(input).dtype == DType::kInt64) {
        program_->whole_targets = true;
      }
    }
    for (const int input : step.inputs) {
      const index_t width = input < 0 ? 0 : program_->values[at(input)].width;
      if (entry.op == Op::kLogical && width != program_->values[at(step.output)].width) {
        throw StateError("and, or, xor of different shapes; compare tensors of one shape");
      }
    }
    if (entry.op == Op::kIndex) take_columns(entry, &step);
    program_->steps.push_back(std::move(step));
  }

  static void take_columns(const Recording::Entry& entry, ProgramStep* step) {
    int dim = 0;
    for (const IndexItem& item : *entry.attributes.index) {
      if (item.kind == IndexItem::Kind::kNew) continue;
      if (dim++ == 0) continue;
      step->first = item.start;
      step->stride = item.kind == IndexItem::Kind::kPick ? 1 : item.step;
    }
  }

  void take_scalar(const Recording::Entry& entry, double number, double other) {
    if (entry.op == Op::kSum || entry.op == Op::kMean) {
      if (program_->summed >= 0) throw StateError("a recorded loss is one sum or mean");
      program_->summed = numbers_[at(entry.inputs[0])];
      program_->mean = entry.op == Op::kMean;
      return;
    }
    ProgramTail tail;
    tail.negates = entry.op == Op::kMap;
    tail.pair = entry.attributes.pair;
    tail.number_side = entry.attributes.number_side;
    for (std::size_t side = 0; !tail.negates && side < 2; ++side) {
      const int input = entry.inputs[side];
      if (input < 0 || traced(input)) continue;
      tail.number_side = static_cast<std::uint8_t>(side + 1);
      number = one_.values()[at(input)].numbers.front();
      other = other_.values()[at(input)].numbers.front();
    }
    if (!tail.negates && !same_number(number, other)) {
      const double each = number / static_cast<double>(one_.rows());
      // Integers multiply exactly, so that the product is Python's for any number of rows.
      constexpr double kMostEach = 1 << 20;
      const bool small = each >= -kMostEach && each <= kMostEach;
      tail.per_row = small && each == static_cast<double>(static_cast<index_t>(each)) &&
                     each * static_cast<double>(one_.rows()) == number &&
                     each * static_cast<double>(other_.rows()) == other;
      if (!tail.per_row) differ("a number");
      number = each;
    }
    tail.number = number;
    program_->tail.push_back(tail);
  }

  /// The order of the graph's backward pass (autograd/backward.cpp): by level, the farthest from the
  /// prediction first; within a level as a search from the result finds them.
  void order_backward() {
    const auto& steps = program_->steps;
    const auto& values = program_->values;
    std::vector<int> made_by(values.size(), -1);
    std::vector<int> level(values.size(), 0);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      if (!values[at(steps[i].output)].has_gradient) continue;
      made_by[at(steps[i].output)] = static_cast<int>(i);
      int below = 0;
      for (const int input : steps[i].inputs) {
        if (input >= 0 && values[at(input)].has_gradient) below = std::max(below, level[at(input)]);
      }
      level[at(steps[i].output)] = below + 1;
    }
    std::vector<std::size_t>& order = program_->backward;
    std::vector<bool> seen(steps.size());
    const auto visit = [&](int value) {
      const int step = value < 0 ? -1 : made_by[at(value)];
      if (step < 0 || seen[at(step)]) return;
      seen[at(step)] = true;
      order.push_back(at(step));
    };
    visit(program_->summed);
    for (std::size_t i = 0; i < order.size(); ++i) {
      for (const int input : steps[order[i]].inputs) visit(input);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return level[at(steps[a].output)] > level[at(steps[b].output)];
    });
  }

  const Recording& one_;
  const Recording& other_;
  std::vector<bool> needed_;
  std::vector<int> numbers_;  // of recorded values in the program
  std::shared_ptr<Program> program_ = std::make_shared<Program>();
};

}  // namespace

std::shared_ptr<const Program> make_program(const Recording& one, const Recording& other) {
  return Builder(one, other).build();
}

}  // namespace schuss

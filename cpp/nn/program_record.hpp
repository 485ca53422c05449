// SPDX-License-Identifier: MIT
/// Makes a program of a loss written as tensor expressions: the operations are listened to while the
/// function runs, twice, on different rows and different numbers of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "autograd/ops.hpp"
#include "autograd/recording.hpp"
#include "nn/program.hpp"

namespace schuss {

/// One run of a function of (prediction, target), whose first dimension is the rows (2 or more).
/// What cannot be recorded throws StateError where it happens, and is kept in `refusal`.
class Recording final : public OpListener, public ReadListener {
 public:
  /// prediction: floating, and requires a gradient.
  Recording(const TensorPtr& prediction, const TensorPtr& target);

  /// Tensors whose values change while the loss is in use (a model's): the function must not use them.
  void watch(const std::vector<TensorPtr>& tensors) { watched_ = tensors; }

  void on_op(Op op, const OpAttributes& attributes, const std::vector<TensorPtr>& inputs,
             const TensorPtr& output) override;
  void on_read(const Tensor& tensor, const char* what) override;
  /// The function returned `result`.
  void finish(const TensorPtr& result);

  /// Empty when nothing was refused.
  const std::string& refusal() const { return refusal_; }

  /// A tensor that took part.
  struct Value {
    TensorPtr tensor;
    std::uint64_t version = 0;
    bool traced = false;          // depends on prediction or target
    bool is_dead = false;         // traced, but no operation of a program may use it
    std::vector<double> numbers;  // of one that is not traced
  };
  struct Entry {
    Op op = Op::kClone;
    OpAttributes attributes;
    std::vector<int> inputs;
    int output = -1;
  };

  index_t rows() const { return rows_; }
  DType dtype() const { return values_[0].tensor->dtype; }
  const std::vector<Value>& values() const { return values_; }
  const std::vector<Entry>& entries() const { return entries_; }
  int result() const { return result_; }

 private:
  [[noreturn]] void refuse(const std::string& what);
  int find(const TensorPtr& tensor);
  bool makes_dead(Op op, const std::vector<TensorPtr>& inputs) const;
  int add(const TensorPtr& tensor, bool traced);
  bool is_rows(const Tensor& tensor) const;
  void check(Op op, const OpAttributes& attributes, const std::vector<TensorPtr>& inputs,
             const std::vector<int>& numbers, const Tensor& output);
  void check_reduction(const OpAttributes& attributes, const Tensor& input, const Tensor& output);
  void check_index(const IndexSpec& spec, const Tensor& input);
  void check_dtypes(Op op, const std::vector<TensorPtr>& inputs, const Tensor& output);

  bool is_watched(const Tensor& tensor) const;
  void refuse_dead(const Value& value);

  index_t rows_;
  std::vector<TensorPtr> watched_;
  std::vector<Value> values_;  // 0: the prediction, 1: the target
  std::vector<Entry> entries_;
  int result_ = -1;
  std::string refusal_;
};

/// The program that both recordings are runs of. Throws StateError where they differ in more than
/// their rows.
std::shared_ptr<const Program> make_program(const Recording& one, const Recording& other);

}  // namespace schuss

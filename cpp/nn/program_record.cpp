// SPDX-License-Identifier: MIT
#include "nn/program_record.hpp"

#include <algorithm>

#include "nn/calls.hpp"

namespace schuss {
namespace {

bool takes_all(const IndexItem& item, index_t size) {
  return item.kind == IndexItem::Kind::kSlice && item.start == 0 && item.step == 1 &&
         item.length == size;
}

std::uint8_t all_dims(const Tensor& tensor) {
  return static_cast<std::uint8_t>((1U << tensor.shape.rank) - 1U);
}

std::vector<double> numbers_of(const Tensor& tensor) {
  std::vector<double> numbers;
  const TensorPtr wide = converted(tensor, DType::kFloat64);
  numbers.assign(wide->ptr<double>(), wide->ptr<double>() + wide->count());
  return numbers;
}

/// A network that is one activation (nn.functional.relu), as an operation of its own.
bool is_activation(const OpAttributes& network, OpAttributes* activation) {
  const auto* callee = static_cast<const CallableNetwork*>(network.callee.get());
  const auto& stages = callee->network().stages();
  if (stages.size() != 1 || stages[0].dense()) return false;
  activation->activation = stages[0].activation;
  activation->activation_options = stages[0].options;
  activation->dim = 1;
  return true;
}

}  // namespace

Recording::Recording(const TensorPtr& prediction, const TensorPtr& target)
    : rows_(prediction->shape.rank > 0 ? prediction->shape[0] : 0) {
  add(prediction, true);
  add(target, true);
  if (rows_ < 2 || !is_rows(*prediction) || !is_rows(*target)) {
    throw ValueError("compile: example prediction and target have shapes " +
                     to_string(prediction->shape) + " and " + to_string(target->shape) +
                     "; expected (n, k) or (n,) with the same n, 2 or more");
  }
}

void Recording::refuse(const std::string& what) {
  if (refusal_.empty()) refusal_ = what;
  throw StateError(what);
}

int Recording::add(const TensorPtr& tensor, bool traced) {
  values_.push_back({tensor, tensor->storage->version, traced, false, {}});
  if (!traced) values_.back().numbers = numbers_of(*tensor);
  return static_cast<int>(values_.size()) - 1;
}

bool Recording::is_watched(const Tensor& tensor) const {
  return std::any_of(watched_.begin(), watched_.end(),
                     [&](const TensorPtr& t) { return t->storage == tensor.storage; });
}

void Recording::refuse_dead(const Value& value) {
  if (!value.is_dead) return;
  refuse(
      "argmax, argmin, or a comparison of a sum over the rows; a recorded loss has no place for "
      "them");
}

/// The number of a tensor; -1 for null. Unknown ones are constants, or handles to known elements.
int Recording::find(const TensorPtr& tensor) {
  if (tensor == nullptr) return -1;
  for (std::size_t i = values_.size(); i-- > 0;) {
    if (values_[i].tensor != tensor) continue;
    refuse_dead(values_[i]);
    if (values_[i].version != tensor->storage->version) {
      refuse("a tensor is used that was changed in place; make a new one (t = t * 2)");
    }
    return static_cast<int>(i);
  }
  for (std::size_t i = values_.size(); i-- > 0;) {
    const Tensor& known = *values_[i].tensor;
    if (!values_[i].traced || known.storage != tensor->storage) continue;
    if (known.data != tensor->data || !(known.shape == tensor->shape) ||
        !(known.strides == tensor->strides)) {
      continue;
    }
    refuse_dead(values_[i]);
    if (values_[i].version != tensor->storage->version) {
      refuse("a tensor is used that was changed in place; make a new one (t = t * 2)");
    }
    Entry entry;  // detach()
    entry.inputs = {static_cast<int>(i)};
    entry.output = add(tensor, true);
    entries_.push_back(entry);
    return entry.output;
  }
  if (tensor->requires_grad) {
    refuse(
        "a tensor that requires a gradient is used beside the prediction; weight_decay= of the "
        "optimizer is a penalty on parameters");
  }
  return add(tensor, false);
}

/// Rows of numbers: (rows,) or (rows, k).
bool Recording::is_rows(const Tensor& tensor) const {
  return (tensor.shape.rank == 1 || tensor.shape.rank == 2) && tensor.shape[0] == rows_;
}

void Recording::check_reduction(const OpAttributes& attributes, const Tensor& input,
                                const Tensor& output) {
  const bool whole = attributes.dims == all_dims(input);
  if (whole && output.shape.rank == 0) return;
  if (whole) refuse("a sum over everything has keepdim=True; a recorded loss ends in one number");
  if (input.shape.rank != 2 || attributes.dims != 2) {
    refuse("a sum, mean, max or min runs over the rows alone; a recorded loss takes dim=1, or all");
  }
}

void Recording::check_index(const IndexSpec& spec, const Tensor& input) {
  int dim = 0;
  for (const IndexItem& item : spec) {
    if (item.kind == IndexItem::Kind::kNew) continue;
    if (item.kind == IndexItem::Kind::kArray || (dim == 0 && !takes_all(item, input.shape[0]))) {
      refuse(
          "an index picks rows; a recorded loss sees each row by itself: index columns, as in "
          "prediction[:, 0]");
    }
    ++dim;
  }
}

void Recording::check_dtypes(Op op, const std::vector<TensorPtr>& inputs, const Tensor& output) {
  const bool truth = op == Op::kCompare || op == Op::kLogical;
  const bool moves = op == Op::kReshape || op == Op::kIndex || op == Op::kClone;
  if (moves && output.dtype == DType::kInt64) return;
  // where(condition, 3.0, 1.0) is float32 beside any dtype, and then converted.
  const auto constant = [&](const TensorPtr& x) {
    return x == nullptr || std::none_of(values_.begin(), values_.end(),
                                        [&](const Value& v) { return v.traced && v.tensor == x; });
  };
  if (op == Op::kWhere && output.dtype != DType::kFloat64 && constant(inputs[1]) &&
      constant(inputs[2])) {
    return;
  }
  if (truth ? output.dtype != DType::kBool : output.dtype != dtype()) {
    refuse(std::string("an operation gives ") + dtype_name(output.dtype) + "; expected " +
           dtype_name(dtype()) + ", the prediction's dtype (use .to(prediction.dtype))");
  }
  for (const TensorPtr& input : inputs) {
    if (input == nullptr || input->dtype != DType::kInt64) continue;
    if (op == Op::kConvert || op == Op::kCompare) continue;
    refuse("an operation on int64 tensors; compare them, or convert them with .float()");
  }
}

void Recording::check(Op op, const OpAttributes& attributes, const std::vector<TensorPtr>& inputs,
                      const std::vector<int>& numbers, const Tensor& output) {
  bool scalar = false;  // an operand that is a sum over the rows
  for (const int i : numbers) {
    scalar = scalar || (i >= 0 && values_[static_cast<std::size_t>(i)].traced &&
                        values_[static_cast<std::size_t>(i)].tensor->shape.rank == 0);
  }
  if (scalar) {
    int traced = 0;
    for (const int i : numbers) {
      traced += i >= 0 && values_[static_cast<std::size_t>(i)].traced ? 1 : 0;
    }
    const bool negates = op == Op::kMap && attributes.map == Map::kNeg;
    const bool divides_by = attributes.pair == Pair::kDiv && numbers[0] >= 0 &&
                            values_[static_cast<std::size_t>(numbers[0])].traced;
    const bool affine = op == Op::kPair && traced == 1 && output.shape.rank == 0 &&
                        (attributes.pair == Pair::kAdd || attributes.pair == Pair::kSub ||
                         attributes.pair == Pair::kMul || divides_by);
    if (negates || affine) return;
    refuse(
        "a sum or mean over the rows goes into more than a product, quotient or sum with a "
        "number; a recorded loss is one sum or mean");
  }
  switch (op) {
    case Op::kSum:
    case Op::kMean:
    case Op::kMax:
    case Op::kMin:
      check_reduction(attributes, *inputs[0], output);
      if (op == Op::kSum || op == Op::kMean) break;
      if (output.shape.rank == 0) {
        refuse("the largest or smallest of all rows; a recorded loss is one sum or mean");
      }
      if (attributes.dim < 0) {
        refuse("amax and amin, which share the gradient among equals; use .max(dim=1).values");
      }
      break;
    case Op::kActivation:
      if (attributes.activation >= Activation::kSoftmax && attributes.dim != 1) {
        refuse("softmax over the rows; a recorded loss takes dim=1");
      }
      break;
    case Op::kIndex:
      check_index(*attributes.index, *inputs[0]);
      break;
    case Op::kCat:
      if (attributes.dim != 1) refuse("cat or stack of rows; a recorded loss takes dim=1");
      break;
    case Op::kReshape:
      if (is_rows(output) && output.count() == inputs[0]->count()) break;
      refuse("reshape mixes rows; a recorded loss sees each row by itself");
    case Op::kPermute:
    case Op::kExpand:
    case Op::kGather:
    case Op::kMatmul:
    case Op::kLinear:
    case Op::kNetwork:
    case Op::kLoss:
      refuse(
          "transposes, expand, index arrays, matrix products, layers and losses of nn are not "
          "recorded in a loss; write it elementwise");
    case Op::kFunction:
    case Op::kDivision:
    case Op::kProduct:
    case Op::kRunning:
    case Op::kArgSort:
      refuse(
          "sin, cos, rounding, // and %, prod, cumsum, sort and topk are not recorded in a loss; "
          "pass it as a plain function, which trains step by step");
    default:
      break;
  }
  check_dtypes(op, inputs, output);
  if (output.shape.rank > 0 && !is_rows(output)) {
    refuse("an operation gives shape " + to_string(output.shape) + "; expected (" +
           std::to_string(rows_) + ",) or (" + std::to_string(rows_) +
           ", k): a recorded loss sees each row by itself");
  }
}

/// Results that only control flow would use (and max(dim=1), which computes indices beside values).
bool Recording::makes_dead(Op op, const std::vector<TensorPtr>& inputs) const {
  if (op == Op::kArgMax || op == Op::kArgMin) return true;
  if (op != Op::kCompare && op != Op::kLogical) return false;
  return std::any_of(values_.begin(), values_.end(), [&](const Value& v) {
    const bool number = v.traced && v.tensor->shape.rank == 0;
    return number && std::find(inputs.begin(), inputs.end(), v.tensor) != inputs.end();
  });
}

void Recording::on_op(Op given_op, const OpAttributes& given, const std::vector<TensorPtr>& inputs,
                      const TensorPtr& output) {
  for (const TensorPtr& input : inputs) {
    if (input == nullptr || !is_watched(*input)) continue;
    refuse("a tensor of the model beside its prediction: its values change in training");
  }
  const auto depends = [&](const TensorPtr& x) {
    return x != nullptr && std::any_of(values_.begin(), values_.end(), [&](const Value& v) {
             return v.traced && v.tensor->storage == x->storage;
           });
  };
  if (std::none_of(inputs.begin(), inputs.end(), depends)) return;
  OpAttributes as_activation;
  const bool layer = given_op == Op::kNetwork && is_activation(given, &as_activation);
  const OpAttributes& attributes = layer ? as_activation : given;
  const Op op = layer ? Op::kActivation : given_op;
  if (makes_dead(op, inputs)) {
    values_[static_cast<std::size_t>(add(output, true))].is_dead = true;
    return;
  }
  Entry entry{op, attributes, {}, -1};
  for (const TensorPtr& input : inputs) entry.inputs.push_back(find(input));
  check(op, attributes, inputs, entry.inputs, *output);
  entry.output = add(output, true);
  entries_.push_back(std::move(entry));
}

void Recording::on_read(const Tensor& tensor, const char* what) {
  if (is_watched(tensor)) {
    refuse(std::string(what) + " of a tensor of the model: its values change in training");
  }
  for (const Value& value : values_) {
    if (!value.traced || value.tensor->storage != tensor.storage) continue;
    refuse(std::string(what) +
           " of a tensor that depends on the data: a recorded function is the same operations for "
           "all data; use where(), maximum(), clamp() or a comparison in its place");
  }
}

void Recording::finish(const TensorPtr& result) {
  for (const Value& value : values_) {
    const bool outside = &value < values_.data() + 2 || !value.traced;
    if (outside && value.version != value.tensor->storage->version) {
      refuse("the function writes to its arguments or to a tensor outside it");
    }
  }
  for (std::size_t i = 0; i < values_.size(); ++i) {
    if (values_[i].tensor == result && values_[i].traced) result_ = static_cast<int>(i);
  }
  if (result_ < 0) refuse("the result does not depend on the prediction");
  if (values_[static_cast<std::size_t>(result_)].version != result->storage->version) {
    refuse("the result was changed in place; make a new tensor (t = t * 2)");
  }
  if (result->shape.rank != 0) {
    refuse("the result has shape " + to_string(result->shape) +
           "; expected one number: end in .mean() or .sum()");
  }
  if (!result->requires_grad) refuse("the result does not depend on the prediction");
}

}  // namespace schuss

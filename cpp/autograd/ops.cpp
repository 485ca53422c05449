// SPDX-License-Identifier: MIT
#include "autograd/ops.hpp"

#include <algorithm>
#include <utility>

#include "autograd/ops_impl.hpp"
#include "autograd/promotion.hpp"
#include "base/block_cache.hpp"
#include "base/fp_environment.hpp"

namespace schuss {
namespace {

thread_local bool grad_mode = true;
thread_local OpListener* listening = nullptr;

/// Which of the forward pass's tensors backward needs.
struct Reading {
  std::uint8_t inputs = 0;  // bit i: input i
  bool output = false;
};

/// Each factor's gradient needs the other factor.
std::uint8_t factors(bool first_wants, bool second_wants) {
  return static_cast<std::uint8_t>((second_wants ? 1 : 0) | (first_wants ? 2 : 0));
}

bool has_derivative(Function function) {
  return function == Function::kSin || function == Function::kCos;
}

Reading reading(Op op, const OpAttributes& attributes, const std::vector<TensorPtr>& inputs) {
  const auto wants = [&](std::size_t i) {
    return inputs[i] != nullptr && inputs[i]->requires_grad;
  };
  switch (op) {
    case Op::kMap:
      return {derivative_reads_input(attributes.map) ? std::uint8_t{1} : std::uint8_t{0},
              derivative_reads_output(attributes.map)};
    case Op::kPair:
      switch (attributes.pair) {
        case Pair::kAdd:
        case Pair::kSub:
          return {};
        case Pair::kMul: {
          std::uint8_t needed = factors(wants(0), wants(1));
          for (std::size_t i = 0; i < 2; ++i) {  // a number was not saved
            if (inputs[i] == nullptr) needed = static_cast<std::uint8_t>(needed & ~(1U << i));
          }
          return {needed, false};
        }
        case Pair::kDiv:
          return {inputs[1] == nullptr ? std::uint8_t{0} : std::uint8_t{2}, wants(1)};
        default:
          return {3, attributes.pair == Pair::kPow && wants(1)};
      }
    case Op::kActivation: {
      const Reads reads = activation_reads(attributes.activation);
      return {reads == Reads::kInput ? std::uint8_t{1} : std::uint8_t{0}, reads == Reads::kOutput};
    }
    case Op::kFunction:
      return {has_derivative(attributes.function) ? std::uint8_t{1} : std::uint8_t{0}, false};
    case Op::kDivision: {
      const bool reads = attributes.division != Division::kFloor && wants(1);
      return {reads ? std::uint8_t{3} : std::uint8_t{0}, false};
    }
    case Op::kProduct:
    case Op::kWhere:
    case Op::kMax:
    case Op::kMin:
      return {1, false};
    case Op::kMatmul:
    case Op::kLinear:
      return {factors(wants(0), wants(1)), false};
    default:
      return {};
  }
}

bool any_requires_grad(const std::vector<TensorPtr>& inputs) {
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const TensorPtr& x) { return x != nullptr && x->requires_grad; });
}

}  // namespace

bool grad_enabled() { return grad_mode; }
void set_grad_enabled(bool enabled) { grad_mode = enabled; }

OpListener* set_op_listener(OpListener* listener) { return std::exchange(listening, listener); }
OpListener* op_listener() { return listening; }

TensorPtr run_op(Op op, const OpAttributes& attributes, const std::vector<TensorPtr>& inputs) {
  switch (op) {
    case Op::kMap:
      return ops::map(attributes, inputs[0]);
    case Op::kPair:
      return ops::pair(attributes, inputs);
    case Op::kActivation:
      return ops::activation(attributes, inputs[0]);
    case Op::kCompare:
      return ops::compare(attributes, inputs);
    case Op::kLogical:
      return ops::logical(attributes, inputs);
    case Op::kWhere:
      return ops::where(attributes, inputs);
    case Op::kSum:
    case Op::kMean:
      return ops::sum_or_mean(op, attributes, inputs[0]);
    case Op::kMax:
    case Op::kMin:
    case Op::kArgMax:
    case Op::kArgMin:
      return ops::extreme(op, attributes, inputs[0]);
    case Op::kReshape:
      return ops::reshape(inputs[0], attributes.shape);
    case Op::kPermute:
      return ops::permute(inputs[0], attributes.shape);
    case Op::kExpand:
      return ops::expand(inputs[0], attributes.shape);
    case Op::kIndex:
      return ops::index(*attributes.index, inputs[0]);
    case Op::kGather:
      return ops::gather(*attributes.index, inputs[0]);
    case Op::kCat:
      return ops::cat(attributes, inputs);
    case Op::kMatmul:
      return ops::matmul(inputs[0], inputs[1]);
    case Op::kLinear:
      return ops::linear(inputs[0], inputs[1], inputs[2]);
    case Op::kConvert:
      return converted(*inputs[0], attributes.dtype);
    case Op::kClone: {
      TensorPtr copy = make_tensor(inputs[0]->dtype, inputs[0]->shape, Uninitialized{});
      copy_contiguous(*inputs[0], copy->data);
      return copy;
    }
    case Op::kFunction:
      return ops::function(attributes, inputs[0]);
    case Op::kDivision:
      return ops::division(attributes, inputs);
    case Op::kProduct:
      return ops::product(attributes, inputs[0]);
    case Op::kRunning:
      return ops::running(attributes, inputs[0]);
    case Op::kArgSort:
      return ops::arg_sort(attributes, inputs[0]);
    case Op::kNetwork:
    case Op::kLoss:
      break;
  }
  throw StateError("networks and losses run through their own calls");
}

TensorPtr apply(Op op, const OpAttributes& attributes, std::vector<TensorPtr> inputs) {
  const FpEnvironment environment;
  to_common_dtype(op, attributes, inputs);
  // Before they are read: meanwhile another thread of Python's may write.
  const bool remembers = grad_mode && any_requires_grad(inputs);
  const OpNode::Versions versions = remembers ? OpNode::versions_of(inputs) : OpNode::Versions{};
  TensorPtr output = run_op(op, attributes, inputs);
  if (listening != nullptr) listening->on_op(op, attributes, inputs, output);
  if (remembers && is_floating(output->dtype)) {
    remember(output, std::allocate_shared<OpNode>(BlockAllocator<OpNode>(), op, attributes,
                                                  std::move(inputs), versions, output));
  }
  return output;
}

// ---- in place ------------------------------------------------------------------------------------

void check_in_place(const Tensor& target, bool result_requires_grad) {
  if (!grad_mode) return;
  if (target.is_leaf() && target.requires_grad) {
    throw StateError(
        "a leaf tensor that requires a gradient is being changed in place; do it under "
        "schuss.no_grad(), or make a new tensor (w = w - ...)");
  }
  if (target.is_view && (target.requires_grad || result_requires_grad)) {
    throw StateError(
        "a view is being changed in place where gradients are recorded; do it under "
        "schuss.no_grad(), or put the result together with where(), cat() or stack()");
  }
}

void assign_result(const TensorPtr& target, const TensorPtr& result) {
  check_in_place(*target, result->requires_grad);
  if (!(target->shape == result->shape)) {
    throw ValueError("in place: the result has shape " + to_string(result->shape) +
                     "; the tensor's own is " + to_string(target->shape));
  }
  if (!is_floating(target->dtype) && is_floating(result->dtype)) {
    throw TypeError(std::string("in place: the result is ") + dtype_name(result->dtype) +
                    ", the tensor " + dtype_name(target->dtype) +
                    "; make a new tensor (t = t + ...)");
  }
  TensorPtr value = result;
  if (value->dtype != target->dtype) {
    OpAttributes attributes;
    attributes.dtype = target->dtype;
    value = apply(Op::kConvert, attributes, {value});
  }
  write_contiguous(*target, contiguous(value)->data);
  if (grad_mode && value->requires_grad) {
    target->requires_grad = true;
    target->grad_fn = value->grad_fn;
  }
}

void assign_index(Tensor& x, const IndexSpec& spec, const TensorPtr& values) {
  ops::assign(spec, x, values->dtype == x.dtype ? *values : *converted(*values, x.dtype));
}

// ---- the node ------------------------------------------------------------------------------------

OpNode::Versions OpNode::versions_of(const std::vector<TensorPtr>& inputs) {
  Versions versions{};
  for (std::size_t i = 0; i < std::min(inputs.size(), kMostInputs); ++i) {
    if (inputs[i] != nullptr) versions[i] = inputs[i]->storage->version;
  }
  return versions;
}

OpNode::OpNode(Op op, const OpAttributes& attributes, std::vector<TensorPtr> from,
               const Versions& versions, const TensorPtr& output)
    : op_(op), attributes_(attributes), versions_(versions) {
  inputs = std::move(from);
  if (reading(op, attributes_, inputs).output) {
    output_ = detached(*output);
    output_version_ = output->storage->version;
  }
}

void OpNode::check() const {
  if (freed_) {
    throw StateError(
        "backward: part of this graph was freed by an earlier backward; pass retain_graph=True to "
        "the first call, or compute the result again");
  }
  const Reading reads = reading(op_, attributes_, inputs);
  bool changed = output_ != nullptr && output_->storage->version != output_version_;
  for (std::size_t i = 0; i < std::min(inputs.size(), kMostInputs); ++i) {
    const bool read = ((reads.inputs >> i) & 1) != 0 && inputs[i] != nullptr;
    changed = changed || (read && inputs[i]->storage->version != versions_[i]);
  }
  if (changed) {
    throw StateError(std::string("backward: a tensor that ") + name() +
                     " needs was changed in place after it was used; change it after backward(), "
                     "or make a new tensor instead");
  }
}

void OpNode::backward(const TensorPtr& d_output, bool) {
  const ops::BackwardContext context{op_, attributes_, inputs, output_, d_output};
  switch (op_) {
    case Op::kMap:
      return ops::map_backward(context, d_inputs);
    case Op::kPair:
      return ops::pair_backward(context, d_inputs);
    case Op::kActivation:
      return ops::activation_backward(context, d_inputs);
    case Op::kWhere:
      return ops::where_backward(context, d_inputs);
    case Op::kSum:
    case Op::kMean:
      return ops::sum_or_mean_backward(context, d_inputs);
    case Op::kMax:
    case Op::kMin:
      return ops::extreme_backward(context, d_inputs);
    case Op::kIndex:
    case Op::kGather:
      return ops::index_backward(context, d_inputs);
    case Op::kMatmul:
      return ops::matmul_backward(context, d_inputs);
    case Op::kLinear:
      return ops::linear_backward(context, d_inputs);
    case Op::kFunction:
      return ops::function_backward(context, d_inputs);
    case Op::kDivision:
      return ops::division_backward(context, d_inputs);
    case Op::kProduct:
      return ops::product_backward(context, d_inputs);
    case Op::kRunning:
      return ops::running_backward(context, d_inputs);
    default:
      return ops::shape_backward(context, d_inputs);
  }
}

void OpNode::release() {
  if (reading(op_, attributes_, inputs).inputs == 0 && output_ == nullptr)
    return;  // as in PyTorch: nothing was saved
  freed_ = true;
  output_ = nullptr;
  inputs.clear();
}

namespace {

const char* map_name(Map map) {
  switch (map) {
    case Map::kNeg:
      return "NegBackward0";
    case Map::kAbs:
      return "AbsBackward0";
    case Map::kExp:
      return "ExpBackward0";
    case Map::kExpm1:
      return "Expm1Backward0";
    case Map::kLog:
      return "LogBackward0";
    case Map::kLog1p:
      return "Log1PBackward0";
    case Map::kSqrt:
      return "SqrtBackward0";
    case Map::kSquare:
    case Map::kPow:
      return "PowBackward0";
    case Map::kReciprocal:
      return "ReciprocalBackward0";
    case Map::kErf:
      return "ErfBackward0";
    case Map::kClamp:
      return "ClampBackward1";
  }
  return "";
}

const char* pair_name(Pair pair) {
  constexpr const char* kNames[kPairCount] = {"AddBackward0",    "SubBackward0", "MulBackward0",
                                              "DivBackward0",    "PowBackward1", "MaximumBackward0",
                                              "MinimumBackward0"};
  return kNames[static_cast<std::size_t>(pair)];
}

const char* function_name(Function function) {
  constexpr const char* kNames[] = {"SinBackward0",  "CosBackward0",   "FloorBackward0",
                                    "CeilBackward0", "RoundBackward0", "TruncBackward0",
                                    "SignBackward0"};
  return kNames[static_cast<std::size_t>(function)];
}

const char* division_name(Division division) {
  constexpr const char* kNames[] = {"FloorDivideBackward0", "RemainderBackward0", "FmodBackward0"};
  return kNames[static_cast<std::size_t>(division)];
}

const char* activation_name(Activation activation) {
  constexpr const char* kNames[kActivationCount] = {
      "CloneBackward0",     "ReluBackward0", "LeakyReluBackward0", "EluBackward0",
      "GeluBackward0",      "GeluBackward0", "SiluBackward0",      "SoftplusBackward0",
      "SigmoidBackward0",   "TanhBackward0", "StepBackward0",      "SoftmaxBackward0",
      "LogSoftmaxBackward0"};
  return kNames[static_cast<std::size_t>(activation)];
}

}  // namespace

const char* OpNode::name() const {
  const bool over_some = attributes_.dim >= 0;
  switch (op_) {
    case Op::kMap:
      return map_name(attributes_.map);
    case Op::kPair:
      return pair_name(attributes_.pair);
    case Op::kActivation:
      return activation_name(attributes_.activation);
    case Op::kWhere:
      return "WhereBackward0";
    case Op::kSum:
      return over_some ? "SumBackward1" : "SumBackward0";
    case Op::kMean:
      return over_some ? "MeanBackward1" : "MeanBackward0";
    case Op::kMax:
      return over_some ? "MaxBackward0" : "MaxBackward1";
    case Op::kMin:
      return over_some ? "MinBackward0" : "MinBackward1";
    case Op::kReshape:
      return "ViewBackward0";
    case Op::kPermute:
      return attributes_.shape.rank == 2 ? "TBackward0" : "PermuteBackward0";
    case Op::kExpand:
      return "ExpandBackward0";
    case Op::kIndex:
      return "SelectBackward0";
    case Op::kGather:
      return "IndexBackward0";
    case Op::kCat:
      return "CatBackward0";
    case Op::kMatmul:
      return "MmBackward0";
    case Op::kLinear:
      return "AddmmBackward0";
    case Op::kConvert:
      return "ToCopyBackward0";
    case Op::kFunction:
      return function_name(attributes_.function);
    case Op::kDivision:
      return division_name(attributes_.division);
    case Op::kProduct:
      return over_some ? "ProdBackward1" : "ProdBackward0";
    case Op::kRunning:
      return "CumsumBackward0";
    default:
      return "CloneBackward0";
  }
}

}  // namespace schuss

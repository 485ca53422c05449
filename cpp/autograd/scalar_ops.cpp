// SPDX-License-Identifier: MIT
#include "autograd/scalar_ops.hpp"

#include "base/fp_environment.hpp"

namespace schuss {
namespace {

/// Keeps the derivative with respect to each operand.
template <class T>
class ScalarNode final : public Node {
 public:
  ScalarNode(const ScalarOperand& left, const ScalarOperand& right, T d_left, T d_right)
      : derivative_{d_left, d_right} {
    inputs = {left.tensor, right.tensor};
    d_inputs.resize(2);
  }

  void check() const override {
    if (freed_) {
      throw StateError(
          "backward: this graph was freed by an earlier backward; pass retain_graph=True to the "
          "first call, or compute the cost again");
    }
  }

  void backward(const Tensor& d_output, bool retain) override {
    for (std::size_t i = 0; i < 2; ++i) {
      if (inputs[i] == nullptr) continue;
      d_inputs[i] = make_tensor(inputs[i]->dtype, inputs[i]->shape);
      *d_inputs[i]->template ptr<T>() = *d_output.ptr<T>() * derivative_[i];
    }
    freed_ = !retain;
  }

 private:
  T derivative_[2];
  bool freed_ = false;
};

template <class T>
TensorPtr scalar_op_as(ScalarOp op, const ScalarOperand& left, const ScalarOperand& right,
                       bool record) {
  const auto value_of = [](const ScalarOperand& x) {
    return x.tensor != nullptr ? *x.tensor->ptr<T>() : static_cast<T>(x.number);
  };
  const T a = value_of(left);
  const T b = value_of(right);
  T value = T(0);
  T d_a = T(1);
  T d_b = T(1);
  switch (op) {
    case ScalarOp::kAdd:
      value = a + b;
      break;
    case ScalarOp::kSub:
      value = a - b;
      d_b = T(-1);
      break;
    case ScalarOp::kMul:
      value = a * b;
      d_a = b;
      d_b = a;
      break;
    case ScalarOp::kDiv:
      value = a / b;
      d_a = T(1) / b;
      d_b = -value / b;
      break;
    case ScalarOp::kNeg:
      value = -a;
      d_a = T(-1);
      break;
  }
  const Dims shape = left.tensor != nullptr ? left.tensor->shape : right.tensor->shape;
  TensorPtr out = make_tensor(dtype_of<T>(), shape);
  *out->ptr<T>() = value;
  const auto needs = [](const ScalarOperand& x) {
    return x.tensor != nullptr && x.tensor->requires_grad;
  };
  if (record && (needs(left) || needs(right))) {
    out->requires_grad = true;
    out->grad_fn = std::make_shared<ScalarNode<T>>(left, right, d_a, d_b);
  }
  return out;
}

}  // namespace

TensorPtr scalar_op(ScalarOp op, const ScalarOperand& left, const ScalarOperand& right,
                    bool record) {
  if (left.tensor != nullptr && right.tensor != nullptr &&
      left.tensor->dtype != right.tensor->dtype) {
    throw TypeError("arithmetic: got a float32 and a float64 tensor; expected the same dtype");
  }
  const FpEnvironment environment;
  const DType dtype = left.tensor != nullptr ? left.tensor->dtype : right.tensor->dtype;
  return dispatch_dtype(dtype, [&]<class T>() { return scalar_op_as<T>(op, left, right, record); });
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Comparison, logic and choice: exact, so that plain loops do.
#include <array>

#include "autograd/pairs.hpp"

namespace schuss::ops {
namespace {

template <class T>
bool holds(Compare op, T a, T b) {
  switch (op) {
    case Compare::kEq:
      return a == b;
    case Compare::kNe:
      return a != b;
    case Compare::kLt:
      return a < b;
    case Compare::kLe:
      return a <= b;
    case Compare::kGt:
      return a > b;
    case Compare::kGe:
      return a >= b;
  }
  return false;
}

}  // namespace

TensorPtr compare(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs) {
  const Dims shape = common_shape(inputs[0], inputs[1]);
  TensorPtr out = make_tensor(DType::kBool, shape, Uninitialized{});
  bool* y = out->ptr<bool>();
  const DType dtype = inputs[0] == nullptr ? inputs[1]->dtype : inputs[0]->dtype;
  dispatch_any(dtype, [&]<class T>() {
    for_pairs<T>(attributes, inputs[0], inputs[1], shape,
                 [&](Run<T> a, Run<T> b, index_t first, index_t n) {
                   for (index_t i = 0; i < n; ++i) {
                     y[first + i] = holds(attributes.compare, a.at[i * a.step], b.at[i * b.step]);
                   }
                 });
  });
  return out;
}

TensorPtr logical(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs) {
  const TensorPtr& a = inputs[0];
  const TensorPtr& b = inputs.size() > 1 ? inputs[1] : inputs[0];
  const Dims shape = common_shape(a, b);
  TensorPtr out = make_tensor(DType::kBool, shape, Uninitialized{});
  bool* y = out->ptr<bool>();
  for_pairs<bool>(attributes, a, b, shape,
                  [&](Run<bool> left, Run<bool> right, index_t first, index_t n) {
                    for (index_t i = 0; i < n; ++i) {
                      const bool p = left.at[i * left.step];
                      const bool q = right.at[i * right.step];
                      switch (attributes.logical) {
                        case Logical::kAnd:
                          y[first + i] = p && q;
                          break;
                        case Logical::kOr:
                          y[first + i] = p || q;
                          break;
                        case Logical::kXor:
                          y[first + i] = p != q;
                          break;
                        case Logical::kNot:
                          y[first + i] = !p;
                          break;
                      }
                    }
                  });
  return out;
}

namespace {

/// each(condition, offset of a, offset of b, number of the element).
template <class F>
void for_choices(const Tensor& condition, const TensorPtr& a, const TensorPtr& b, const Dims& shape,
                 F&& each) {
  Dims none;
  none.rank = shape.rank;
  const StridedLoop<3> loop(shape, {broadcast_strides(condition, shape),
                                    a == nullptr ? none : broadcast_strides(*a, shape),
                                    b == nullptr ? none : broadcast_strides(*b, shape)});
  const bool* chosen = condition.ptr<bool>();
  index_t at = 0;
  loop.each([&](const std::array<index_t, 3>& offset) {
    for (index_t i = 0; i < loop.length; ++i) {
      each(chosen[offset[0] + i * loop.step[0]], offset[1] + i * loop.step[1],
           offset[2] + i * loop.step[2], at++);
    }
  });
}

}  // namespace

TensorPtr where(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs) {
  const TensorPtr& a = inputs[1];
  const TensorPtr& b = inputs[2];
  const Dims shape =
      broadcast_shape(inputs[0]->shape, common_shape(a, b), "where: condition and operands");
  TensorPtr out = make_tensor(a == nullptr ? b->dtype : a->dtype, shape, Uninitialized{});
  dispatch_any(out->dtype, [&]<class T>() {
    const T number = static_cast<T>(attributes.number);
    const T* left = a == nullptr ? &number : a->ptr<T>();
    const T* right = b == nullptr ? &number : b->ptr<T>();
    T* y = out->ptr<T>();
    for_choices(*inputs[0], a, b, shape, [&](bool first, index_t i, index_t j, index_t at) {
      y[at] = first ? left[i] : right[j];
    });
  });
  return out;
}

void where_backward(const BackwardContext& context, Gradients& d_inputs) {
  const TensorPtr& d = context.d_output;
  for (std::size_t side = 1; side <= 2; ++side) {
    if (!context.wants(side)) continue;
    const TensorPtr full = make_tensor(d->dtype, d->shape, Uninitialized{});
    dispatch_dtype(d->dtype, [&]<class T>() {
      for_choices(*context.inputs[0], nullptr, nullptr, d->shape,
                  [&](bool first, index_t, index_t, index_t at) {
                    full->ptr<T>()[at] = first == (side == 1) ? d->ptr<T>()[at] : T(0);
                  });
    });
    d_inputs[side] = sum_to_shape(full, context.inputs[side]->shape);
  }
}

}  // namespace schuss::ops

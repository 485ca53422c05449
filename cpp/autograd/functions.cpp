// SPDX-License-Identifier: MIT
/// Functions without a vector kernel: sine and cosine, rounding, remainders. One scalar text for all
/// instruction sets.
#include <cmath>
#include <type_traits>

#include "autograd/pairs.hpp"
#include "base/scalar_trig.hpp"

namespace schuss::ops {
namespace {

using Integer = std::int64_t;

/// The nearest whole number, the even one of two; with the sign of x.
template <class T>
T nearest(T x) {
  const T below = std::floor(x);
  const T part = x - below;
  const bool odd = std::fmod(below, T(2)) != T(0);
  const bool up = part > T(0.5) || (part == T(0.5) && odd);
  return std::copysign(up ? below + T(1) : below, x);
}

template <class T>
T value_of(Function function, T x) {
  switch (function) {
    case Function::kSin:
      return static_cast<T>(scalar_sin(static_cast<double>(x)));
    case Function::kCos:
      return static_cast<T>(scalar_cos(static_cast<double>(x)));
    case Function::kFloor:
      return std::floor(x);
    case Function::kCeil:
      return std::ceil(x);
    case Function::kRound:
      return nearest(x);
    case Function::kTrunc:
      return std::trunc(x);
    case Function::kSign:
      return x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0);
  }
  return x;
}

/// a / b rounded down, for b other than 0.
Integer floor_quotient(Integer a, Integer b) {
  if (b == -1) return static_cast<Integer>(-static_cast<std::uint64_t>(a));  // also the smallest
  const Integer quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

template <class T>
T floor_quotient(T a, T b) {
  if (b == T(0)) return a / b;
  const T rest = std::fmod(a, b);
  T quotient = (a - rest) / b;  // whole, but for its rounding
  if (rest != T(0) && (b < T(0)) != (rest < T(0))) quotient -= T(1);
  return quotient == T(0) ? std::copysign(T(0), a / b) : nearest(quotient);
}

template <class T>
T value_of(Division division, T a, T b) {
  if constexpr (std::is_same_v<T, Integer>) {
    if (b == 0) {
      throw ValueError(
          "operators // and %: got an integer divided by 0; use floating tensors, or "
          "schuss.where()");
    }
    if (division == Division::kFloor) return floor_quotient(a, b);
    const Integer rest = b == -1 ? 0 : a % b;
    const bool other_sign = rest != 0 && (rest < 0) != (b < 0);
    return division == Division::kRemainder && other_sign ? rest + b : rest;
  } else {
    if (division == Division::kFloor) return floor_quotient(a, b);
    const T rest = std::fmod(a, b);
    const bool other_sign = rest != T(0) && (rest < T(0)) != (b < T(0));
    return division == Division::kRemainder && other_sign ? rest + b : rest;
  }
}

/// d(a - b q)/db for the quotient q that was taken.
template <class T>
T whole_quotient(Division division, T a, T b) {
  return division == Division::kRemainder ? floor_quotient(a, b) : std::trunc(a / b);
}

}  // namespace

TensorPtr function(const OpAttributes& attributes, const TensorPtr& x) {
  const TensorPtr in = contiguous(x);
  TensorPtr out = make_tensor(x->dtype, x->shape, Uninitialized{});
  const index_t n = in->count();
  if (x->dtype == DType::kInt64) {
    const bool sign = attributes.function == Function::kSign;
    for (index_t i = 0; i < n; ++i) {
      const Integer value = in->ptr<Integer>()[i];
      out->ptr<Integer>()[i] = sign ? (value > 0 ? 1 : 0) - (value < 0 ? 1 : 0) : value;
    }
    return out;
  }
  dispatch_dtype(x->dtype, [&]<class T>() {
    for (index_t i = 0; i < n; ++i) {
      out->ptr<T>()[i] = value_of(attributes.function, in->ptr<T>()[i]);
    }
  });
  return out;
}

void function_backward(const BackwardContext& context, Gradients& d_inputs) {
  const Function function = context.attributes.function;
  const TensorPtr& d = context.d_output;
  d_inputs[0] = make_tensor(d->dtype, d->shape);
  if (function != Function::kSin && function != Function::kCos) return;
  const TensorPtr x = contiguous(context.inputs[0]);
  dispatch_dtype(d->dtype, [&]<class T>() {
    for (index_t i = 0; i < d->count(); ++i) {
      const T at = x->ptr<T>()[i];
      const T slope =
          function == Function::kSin ? value_of(Function::kCos, at) : -value_of(Function::kSin, at);
      d_inputs[0]->ptr<T>()[i] = d->ptr<T>()[i] * slope;
    }
  });
}

TensorPtr division(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs) {
  const Dims shape = common_shape(inputs[0], inputs[1]);
  const TensorPtr& some = inputs[0] == nullptr ? inputs[1] : inputs[0];
  TensorPtr out = make_tensor(some->dtype, shape, Uninitialized{});
  const auto run = [&]<class T>() {
    for_pairs<T>(attributes, inputs[0], inputs[1], shape,
                 [&](Run<T> a, Run<T> b, index_t first, index_t n) {
                   for (index_t i = 0; i < n; ++i) {
                     out->ptr<T>()[first + i] =
                         value_of(attributes.division, a.at[i * a.step], b.at[i * b.step]);
                   }
                 });
  };
  if (some->dtype == DType::kInt64) {
    run.template operator()<Integer>();
  } else {
    dispatch_dtype(some->dtype, run);
  }
  return out;
}

void division_backward(const BackwardContext& context, Gradients& d_inputs) {
  const Division division = context.attributes.division;
  const TensorPtr& d = context.d_output;
  const bool whole = division == Division::kFloor;
  if (context.wants(0)) {
    const TensorPtr d_a = whole ? make_tensor(d->dtype, d->shape) : d;
    d_inputs[0] = sum_to_shape(d_a, context.inputs[0]->shape);
  }
  if (!context.wants(1)) return;
  const TensorPtr d_b = make_tensor(d->dtype, d->shape);
  if (!whole) {
    dispatch_dtype(d->dtype, [&]<class T>() {
      for_pairs<T>(context.attributes, context.inputs[0], context.inputs[1], d->shape,
                   [&](Run<T> a, Run<T> b, index_t first, index_t n) {
                     for (index_t i = 0; i < n; ++i) {
                       d_b->ptr<T>()[first + i] =
                           -d->ptr<T>()[first + i] *
                           whole_quotient(division, a.at[i * a.step], b.at[i * b.step]);
                     }
                   });
    });
  }
  d_inputs[1] = sum_to_shape(d_b, context.inputs[1]->shape);
}

}  // namespace schuss::ops

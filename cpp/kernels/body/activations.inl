// SPDX-License-Identifier: MIT
/// Activations and their gradients: the formulas of PyTorch's namesakes, by the contract of
/// kernels/activation.hpp.
#pragma once

#include "kernels/activation.hpp"
#include "kernels/body/elementary.inl"
#include "kernels/body/softmax.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

/// One elementwise activation: `forward(x)`, and `backward(a, d)` with a the input or the output,
/// whichever `activation_reads` names. Options are rounded to T here, once.
template <class T, Activation kKind>
struct Elementwise;

template <class T>
struct Elementwise<T, Activation::kIdentity> {
  explicit Elementwise(const ActivationOptions&) {}
  Vec<T> forward(Vec<T> x) const { return x; }
};

template <class T>
struct Elementwise<T, Activation::kStep> {
  using S = Simd<T>;
  explicit Elementwise(const ActivationOptions&) {}
  Vec<T> forward(Vec<T> x) const {
    const auto y = S::select(S::lt(S::zero(), x), S::set1(T{1}), S::zero());
    return S::select(S::unordered(x, x), x, y);
  }
};

template <class T>
struct Elementwise<T, Activation::kReLU> {
  using S = Simd<T>;
  explicit Elementwise(const ActivationOptions&) {}
  Vec<T> forward(Vec<T> x) const { return S::select(S::le(x, S::zero()), S::zero(), x); }
  Vec<T> backward(Vec<T> y, Vec<T> d) const { return S::select(S::le(y, S::zero()), S::zero(), d); }
};

template <class T>
struct Elementwise<T, Activation::kLeakyReLU> {
  using S = Simd<T>;
  explicit Elementwise(const ActivationOptions& options)
      : slope(S::set1(static_cast<T>(options.a))) {}
  Vec<T> forward(Vec<T> x) const { return S::select(S::lt(S::zero(), x), x, S::mul(x, slope)); }
  Vec<T> backward(Vec<T> x, Vec<T> d) const {
    return S::select(S::lt(S::zero(), x), d, S::mul(d, slope));
  }
  Vec<T> slope;
};

template <class T>
struct Elementwise<T, Activation::kELU> {
  using S = Simd<T>;
  explicit Elementwise(const ActivationOptions& options)
      : alpha(S::set1(static_cast<T>(options.a))) {}
  Vec<T> forward(Vec<T> x) const {
    return S::select(S::lt(S::zero(), x), x, S::mul(alpha, v_expm1<T>(x)));
  }
  Vec<T> backward(Vec<T> x, Vec<T> d) const {
    return S::select(S::lt(S::zero(), x), d, S::mul(d, S::mul(alpha, v_exp<T>(x))));
  }
  Vec<T> alpha;
};

template <class T>
struct Elementwise<T, Activation::kGELU> {
  using S = Simd<T>;
  static constexpr T kSqrtHalf = static_cast<T>(0x1.6a09e667f3bcdp-1);
  static constexpr T kInverseSqrtTwoPi = static_cast<T>(0x1.9884533d43651p-2);
  explicit Elementwise(const ActivationOptions&) {}
  Vec<T> forward(Vec<T> x) const {
    const auto half = S::mul(S::set1(T{0.5}), x);
    return S::fma(half, v_erf<T>(S::mul(x, S::set1(kSqrtHalf))), half);
  }
  /// d * (Phi(x) + x * phi(x)), phi the density of the standard normal distribution.
  Vec<T> backward(Vec<T> x, Vec<T> d) const {
    const auto half = S::set1(T{0.5});
    const auto cdf = S::fma(half, v_erf<T>(S::mul(x, S::set1(kSqrtHalf))), half);
    const auto e = v_exp<T>(S::mul(S::mul(S::set1(T{-0.5}), x), x));
    const auto density = S::mul(S::set1(kInverseSqrtTwoPi), e);
    return S::mul(d, S::fma(x, density, cdf));
  }
};

template <class T>
struct Elementwise<T, Activation::kGELUTanh> {
  using S = Simd<T>;
  static constexpr T kSqrtTwoOverPi = static_cast<T>(0x1.9884533d43651p-1);
  static constexpr T kCubic = static_cast<T>(0.044715);
  static constexpr T kCubicSlope = static_cast<T>(0.134145);  // 3 * 0.044715
  explicit Elementwise(const ActivationOptions&) {}
  static Vec<T> inner_tanh(Vec<T> x) {
    const auto cubic = S::fma(S::mul(S::set1(kCubic), x), S::mul(x, x), x);
    return v_tanh<T>(S::mul(S::set1(kSqrtTwoOverPi), cubic));
  }
  Vec<T> forward(Vec<T> x) const {
    const auto half = S::mul(S::set1(T{0.5}), x);
    return S::fma(half, inner_tanh(x), half);
  }
  Vec<T> backward(Vec<T> x, Vec<T> d) const {
    const auto one = S::set1(T{1});
    const auto half = S::set1(T{0.5});
    const auto t = inner_tanh(x);
    // Past |x| = 1e5 the slope of tanh is zero: the bound only keeps it from meeting an infinity.
    const auto square = v_at_most<T>(S::mul(x, x), T{1e10});
    const auto inner_slope =
        S::mul(S::set1(kSqrtTwoOverPi), S::fma(S::set1(kCubicSlope), square, one));
    const auto tanh_slope = S::fnma(t, t, one);
    const auto right = S::mul(S::mul(S::mul(half, x), tanh_slope), inner_slope);
    return S::mul(d, S::add(S::fma(half, t, half), right));
  }
};

template <class T>
struct Elementwise<T, Activation::kSiLU> {
  using S = Simd<T>;
  explicit Elementwise(const ActivationOptions&) {}
  Vec<T> forward(Vec<T> x) const { return S::mul(x, v_sigmoid<T>(x)); }
  Vec<T> backward(Vec<T> x, Vec<T> d) const {
    const auto one = S::set1(T{1});
    const auto s = v_sigmoid<T>(x);
    return S::mul(d, S::mul(s, S::fma(x, S::sub(one, s), one)));
  }
};

template <class T>
struct Elementwise<T, Activation::kSoftplus> {
  using S = Simd<T>;
  explicit Elementwise(const ActivationOptions& options)
      : beta(S::set1(static_cast<T>(options.beta))),
        threshold(S::set1(static_cast<T>(options.threshold))) {}
  Vec<T> forward(Vec<T> x) const {
    const auto scaled = S::mul(x, beta);
    return S::select(S::lt(threshold, scaled), x, S::div(v_softplus<T>(scaled), beta));
  }
  Vec<T> backward(Vec<T> x, Vec<T> d) const {
    const auto scaled = S::mul(x, beta);
    return S::select(S::lt(threshold, scaled), d, S::mul(d, v_sigmoid<T>(scaled)));
  }
  Vec<T> beta;
  Vec<T> threshold;
};

template <class T>
struct Elementwise<T, Activation::kSigmoid> {
  using S = Simd<T>;
  explicit Elementwise(const ActivationOptions&) {}
  Vec<T> forward(Vec<T> x) const { return v_sigmoid<T>(x); }
  Vec<T> backward(Vec<T> y, Vec<T> d) const {
    return S::mul(S::mul(d, S::sub(S::set1(T{1}), y)), y);
  }
};

template <class T>
struct Elementwise<T, Activation::kTanh> {
  using S = Simd<T>;
  explicit Elementwise(const ActivationOptions&) {}
  Vec<T> forward(Vec<T> x) const { return v_tanh<T>(x); }
  Vec<T> backward(Vec<T> y, Vec<T> d) const { return S::mul(d, S::fnma(y, y, S::set1(T{1}))); }
};

template <class T, Activation kKind>
void activation_forward(const T* x, index_t ldx, T* y, index_t ldy, index_t rows, index_t cols,
                        const ActivationOptions& options) noexcept {
  const Elementwise<T, kKind> activation(options);
  if (ldx == cols && ldy == cols) {  // one contiguous run
    cols *= rows;
    rows = cols > 0 ? 1 : 0;
  }
  for (index_t r = 0; r < rows; ++r) {
    map(x + r * ldx, y + r * ldy, cols, [&](Vec<T> v) { return activation.forward(v); });
  }
}

template <class T, Activation kKind>
void activation_backward(const T* x, index_t ldx, const T* y, index_t ldy, T* d, index_t ldd,
                         index_t rows, index_t cols, const ActivationOptions& options) noexcept {
  using S = Simd<T>;
  constexpr bool kFromOutput = activation_reads(kKind) == Reads::kOutput;
  const Elementwise<T, kKind> activation(options);
  const T* saved = kFromOutput ? y : x;
  const index_t ld = kFromOutput ? ldy : ldx;
  if (ld == cols && ldd == cols) {
    cols *= rows;
    rows = cols > 0 ? 1 : 0;
  }
  for (index_t r = 0; r < rows; ++r) {
    const T* a = saved + r * ld;
    T* d_row = d + r * ldd;
    index_t i = 0;
    for (; i + S::kWidth <= cols; i += S::kWidth) {
      S::store(d_row + i, activation.backward(S::load(a + i), S::load(d_row + i)));
    }
    if (i < cols) {
      const auto first = S::prefix(cols - i);
      const auto result = activation.backward(S::load(a + i, first), S::load(d_row + i, first));
      S::store(d_row + i, first, result);
    }
  }
}

template <class T>
void identity_backward(const T*, index_t, const T*, index_t, T*, index_t, index_t, index_t,
                       const ActivationOptions&) noexcept {}

template <class T>
void step_backward(const T*, index_t, const T*, index_t, T* d, index_t ldd, index_t rows,
                   index_t cols, const ActivationOptions&) noexcept {
  for (index_t r = 0; r < rows; ++r) {
    map(d + r * ldd, d + r * ldd, cols, [](Vec<T>) { return Simd<T>::zero(); });
  }
}

template <class T, Activation kKind>
constexpr void put_elementwise(Kernels<T>& table) {
  table.activation[static_cast<int>(kKind)] = activation_forward<T, kKind>;
  table.activation_backward[static_cast<int>(kKind)] = activation_backward<T, kKind>;
}

template <class T>
constexpr void fill_activations(Kernels<T>& table) {
  const auto put = [&](Activation at, ActivationForward<T> forward,
                       ActivationBackward<T> backward) {
    table.activation[static_cast<int>(at)] = forward;
    table.activation_backward[static_cast<int>(at)] = backward;
  };
  put(Activation::kIdentity, activation_forward<T, Activation::kIdentity>, identity_backward<T>);
  put(Activation::kStep, activation_forward<T, Activation::kStep>, step_backward<T>);
  put(Activation::kSoftmax, softmax_forward<T>, softmax_backward<T>);
  put(Activation::kLogSoftmax, log_softmax_forward<T>, log_softmax_backward<T>);
  put_elementwise<T, Activation::kReLU>(table);
  put_elementwise<T, Activation::kLeakyReLU>(table);
  put_elementwise<T, Activation::kELU>(table);
  put_elementwise<T, Activation::kGELU>(table);
  put_elementwise<T, Activation::kGELUTanh>(table);
  put_elementwise<T, Activation::kSiLU>(table);
  put_elementwise<T, Activation::kSoftplus>(table);
  put_elementwise<T, Activation::kSigmoid>(table);
  put_elementwise<T, Activation::kTanh>(table);
}

}  // namespace
}  // namespace schuss

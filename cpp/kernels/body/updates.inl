// SPDX-License-Identifier: MIT
/// Parameter updates: one pass over parameter, gradient and state.
///
/// The options are template arguments of the inner loop, so plain SGD is load, fnma, store.
/// A padding element (p = g = 0, state 0) gives +0 under every option.
#pragma once

#include "kernels/body/elementary.inl"
#include "kernels/body/registers.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

/// f(i, access) for each register of 0..n-1.
template <class T, class F>
[[gnu::always_inline]] inline void each_register(index_t n, F f) {
  constexpr int kWidth = Simd<T>::kWidth;
  const WholeRegister<T> whole;
  index_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
    f(i, whole);
    f(i + kWidth, whole);
    f(i + 2 * kWidth, whole);
    f(i + 3 * kWidth, whole);
  }
  for (; i + kWidth <= n; i += kWidth) f(i, whole);
  if (i < n) f(i, PartRegister<T>{Simd<T>::prefix(n - i)});
}

/// The gradient with `maximize` and weight decay in it.
template <class T, bool kMaximize, bool kDecay>
[[gnu::always_inline]] inline Vec<T> effective_gradient(Vec<T> g, Vec<T> p, Vec<T> decay) {
  using S = Simd<T>;
  if constexpr (kMaximize) g = S::sub(S::zero(), g);
  if constexpr (kDecay) g = S::fma(decay, p, g);
  return g;
}

enum class Momentum : int { kNone, kFirst, kHeavyBall, kNesterovFirst, kNesterov };

template <class T, bool kMaximize, bool kDecay, Momentum kMomentum>
void sgd_loop(T* p, const T* g, T* buffer, index_t n, const SgdStep& step) {
  using S = Simd<T>;
  constexpr bool kFirst = kMomentum == Momentum::kFirst || kMomentum == Momentum::kNesterovFirst;
  constexpr bool kNesterov =
      kMomentum == Momentum::kNesterov || kMomentum == Momentum::kNesterovFirst;
  const auto lr = S::set1(static_cast<T>(step.lr));
  const auto momentum = S::set1(static_cast<T>(step.momentum));
  const auto fresh = S::set1(static_cast<T>(1.0 - step.dampening));
  const auto decay = S::set1(static_cast<T>(step.weight_decay));
  each_register<T>(
      n, [=](index_t i, auto at) __attribute__((always_inline)) {
        const auto old = at.load(p + i);
        auto d = effective_gradient<T, kMaximize, kDecay>(at.load(g + i), old, decay);
        if constexpr (kMomentum != Momentum::kNone) {
          auto b = d;
          if constexpr (!kFirst) b = S::fma(momentum, at.load(buffer + i), S::mul(fresh, d));
          b = v_flush_subnormal<T>(b);
          at.store(buffer + i, b);
          d = kNesterov ? S::fma(momentum, b, d) : b;
        }
        at.store(p + i, S::fnma(lr, d, old));
      });
}

template <class T, bool kMaximize, bool kDecay>
void sgd_momentum(T* p, const T* g, T* buffer, index_t n, const SgdStep& step) {
  if (step.momentum == 0.0) {
    sgd_loop<T, kMaximize, kDecay, Momentum::kNone>(p, g, buffer, n, step);
  } else if (step.nesterov) {
    if (step.first) {
      sgd_loop<T, kMaximize, kDecay, Momentum::kNesterovFirst>(p, g, buffer, n, step);
    } else {
      sgd_loop<T, kMaximize, kDecay, Momentum::kNesterov>(p, g, buffer, n, step);
    }
  } else if (step.first) {
    sgd_loop<T, kMaximize, kDecay, Momentum::kFirst>(p, g, buffer, n, step);
  } else {
    sgd_loop<T, kMaximize, kDecay, Momentum::kHeavyBall>(p, g, buffer, n, step);
  }
}

template <class T, bool kMaximize>
void sgd_decay(T* p, const T* g, T* buffer, index_t n, const SgdStep& step) {
  if (step.weight_decay == 0.0) {
    sgd_momentum<T, kMaximize, false>(p, g, buffer, n, step);
  } else {
    sgd_momentum<T, kMaximize, true>(p, g, buffer, n, step);
  }
}

template <class T>
void sgd(T* p, const T* g, T* momentum, index_t n, const SgdStep& step) noexcept {
  if (step.maximize) {
    sgd_decay<T, true>(p, g, momentum, n, step);
  } else {
    sgd_decay<T, false>(p, g, momentum, n, step);
  }
}

enum class Decay : int { kNone, kInGradient, kDecoupled };

/// Square roots and quotients bound this loop, so only what adds memory traffic or arithmetic to
/// every element is a template argument.
template <class T, bool kMaximize, Decay kDecay, bool kAmsgrad>
void adam_loop(T* p, const T* g, T* m, T* v, T* v_max, index_t n, const AdamStep& step) {
  using S = Simd<T>;
  const auto shrink = S::set1(static_cast<T>(1.0 - step.lr * step.weight_decay));
  const auto decay = S::set1(static_cast<T>(step.weight_decay));
  // m moves from the nearer end, as PyTorch's lerp does: with beta1 = 0, m is g exactly.
  const bool near_g = step.beta1 < 0.5;
  const auto toward = S::set1(static_cast<T>(near_g ? step.beta1 : 1.0 - step.beta1));
  const auto beta2 = S::set1(static_cast<T>(step.beta2));
  const auto fresh2 = S::set1(static_cast<T>(1.0 - step.beta2));
  const auto step_size = S::set1(static_cast<T>(step.lr / step.bias1));
  const auto sqrt_bias2 = S::set1(static_cast<T>(step.sqrt_bias2));
  const auto eps = S::set1(static_cast<T>(step.eps));
  each_register<T>(
      n, [=](index_t i, auto at) __attribute__((always_inline)) {
        auto x = at.load(p + i);
        const auto d = effective_gradient<T, kMaximize, kDecay == Decay::kInGradient>(
            at.load(g + i), x, decay);
        if constexpr (kDecay == Decay::kDecoupled) x = S::mul(x, shrink);
        auto mean = at.load(m + i);
        mean = near_g ? S::fma(toward, S::sub(mean, d), d) : S::fma(toward, S::sub(d, mean), mean);
        mean = v_flush_subnormal<T>(mean);
        auto square = S::fma(S::mul(fresh2, d), d, S::mul(beta2, at.load(v + i)));
        square = v_flush_subnormal<T>(square);
        at.store(m + i, mean);
        at.store(v + i, square);
        if constexpr (kAmsgrad) {
          const auto largest = at.load(v_max + i);
          const auto replace = S::mask_or(S::lt(largest, square), S::unordered(square, square));
          square = S::select(replace, square, largest);
          at.store(v_max + i, square);
        }
        const auto divisor = S::add(S::div(S::sqrt(square), sqrt_bias2), eps);
        auto move = S::div(S::mul(step_size, mean), divisor);
        // eps = 0 and an element that never had a gradient: 0/0. PyTorch makes it NaN; standing still
        // is what the limit says, and what padding needs.
        const auto still = S::mask_and(S::eq(mean, S::zero()), S::eq(divisor, S::zero()));
        move = S::select(still, S::zero(), move);
        at.store(p + i, S::sub(x, move));
      });
}

template <class T, bool kMaximize, Decay kDecay>
void adam_amsgrad(T* p, const T* g, T* m, T* v, T* v_max, index_t n, const AdamStep& step) {
  if (step.amsgrad) {
    adam_loop<T, kMaximize, kDecay, true>(p, g, m, v, v_max, n, step);
  } else {
    adam_loop<T, kMaximize, kDecay, false>(p, g, m, v, v_max, n, step);
  }
}

template <class T, bool kMaximize>
void adam_decay(T* p, const T* g, T* m, T* v, T* v_max, index_t n, const AdamStep& step) {
  if (step.weight_decay == 0.0) {
    adam_amsgrad<T, kMaximize, Decay::kNone>(p, g, m, v, v_max, n, step);
  } else if (step.decoupled) {
    adam_amsgrad<T, kMaximize, Decay::kDecoupled>(p, g, m, v, v_max, n, step);
  } else {
    adam_amsgrad<T, kMaximize, Decay::kInGradient>(p, g, m, v, v_max, n, step);
  }
}

template <class T>
void adam(T* p, const T* g, T* m, T* v, T* v_max, index_t n, const AdamStep& step) noexcept {
  if (step.maximize) {
    adam_decay<T, true>(p, g, m, v, v_max, n, step);
  } else {
    adam_decay<T, false>(p, g, m, v, v_max, n, step);
  }
}

template <class T>
constexpr void fill_updates(Kernels<T>& table) {
  table.sgd = sgd<T>;
  table.adam = adam<T>;
}

}  // namespace
}  // namespace schuss

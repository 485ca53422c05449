// SPDX-License-Identifier: MIT
/// The straight line: forward, loss, gradient and update in one loop over steps.
#pragma once

#include "kernels/body/lanes.inl"
#include "kernels/body/sums.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

template <class T>
index_t run_line(LineRun<T>& p) noexcept {
  using S = Simd<T>;
  using V = typename S::V;
  constexpr index_t kStep = kLanes<T>;
  constexpr int kParts = Lanes<T>::kParts;
  const V lr = S::set1(static_cast<T>(p.lr));
  const V scale = S::set1(static_cast<T>(1.0 / p.divisor));
  const bool has_bias = p.bias != nullptr;
  V weight = S::set1(*p.weight);
  V bias = S::set1(has_bias ? *p.bias : T(0));
  V old_weight = weight;
  V old_bias = bias;
  T squares[kChunkRows];
  index_t step = 0;
  for (; step < p.steps; ++step) {
    Lanes<T> d_weight = Lanes<T>::zero();
    Lanes<T> d_bias = Lanes<T>::zero();
    for (index_t r = 0; r < p.rows; r += kStep) {
      const index_t n = p.rows - r < kStep ? p.rows - r : kStep;
      const Lanes<T> x = n == kStep ? Lanes<T>::load(p.x + r) : Lanes<T>::load(p.x + r, n);
      const Lanes<T> t =
          n == kStep ? Lanes<T>::load(p.target + r) : Lanes<T>::load(p.target + r, n);
      Lanes<T> square;
      Lanes<T> d;
      unroll<kParts>([&](auto j) __attribute__((always_inline)) {
        V y = S::fma(x.part[j], weight, S::zero());
        if (has_bias) y = S::add(y, bias);
        const V difference = S::sub(y, t.part[j]);
        square.part[j] = S::mul(difference, difference);
        d.part[j] = S::mul(S::add(difference, difference), scale);
        const index_t rest = n - j * S::kWidth;
        if (rest < S::kWidth) d.part[j] = S::keep(S::prefix(rest > 0 ? rest : 0), d.part[j]);
      });
      d_weight = fma(x, d, d_weight);
      d_bias = add(d_bias, d);
      square.store(squares + r, n);
    }
    const auto loss = static_cast<double>(static_cast<T>(sum_f64(squares, p.rows) / p.divisor));
    p.losses[step] = loss;
    if (!(loss - loss == 0.0)) break;
    old_weight = weight;
    old_bias = bias;
    weight = S::fnma(lr, S::set1(tree_sum(d_weight)), weight);
    if (has_bias) bias = S::fnma(lr, S::set1(tree_sum(d_bias)), bias);
  }
  T first[S::kWidth];
  const auto value = [&](V v) {
    S::store(first, v);
    return first[0];
  };
  *p.weight = value(weight);
  if (has_bias) *p.bias = value(bias);
  p.previous_weight = value(old_weight);
  p.previous_bias = value(old_bias);
  return step;
}

template <class T>
constexpr void fill_line(Kernels<T>& table) {
  table.line = &run_line<T>;
}

}  // namespace
}  // namespace schuss

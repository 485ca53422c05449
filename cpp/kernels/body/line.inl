// SPDX-License-Identifier: MIT
/// The straight line: forward, loss, gradient and update in one loop over steps.
///
/// A step waits for the one before it from the weight to the weight, so this chain is kept as short
/// as the contract's bits allow:
/// - x*w + 0 of the forward lanes is a product: only a zero's sign differs, and a difference of
///   either zero adds nothing to any sum (they start from +0).
/// - (d + d) * scale is d * (2*scale): doubling is exact, and a d that would overflow has an infinite
///   square, whose step ends the run before its update.
/// - The sums come out of their trees in every lane.
/// The loss hangs off the chain; it is made while later steps are under way.
#pragma once

#include "kernels/body/lanes.inl"
#include "kernels/body/sums.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

/// Up to kLineGroups groups of kLanes rows have a loop of their own, which holds them in registers.
inline constexpr index_t kLineGroups = 2;

/// Columns of the points, filled up with +0 to whole groups of lanes.
template <class T>
struct LineColumns {
  T x[kChunkRows];
  T target[kChunkRows];
};

/// kGroups: how many groups of kLanes rows there are; 0: any number.
template <class T, int kGroups>
index_t line_steps(LineRun<T>& p, const LineColumns<T>& columns) noexcept {
  using S = Simd<T>;
  using V = typename S::V;
  constexpr int kParts = Lanes<T>::kParts;
  const index_t groups = kGroups > 0 ? kGroups : (p.rows + kLanes<T> - 1) / kLanes<T>;
  const index_t last = (groups - 1) * kLanes<T>;
  typename S::P present[kParts];  // of the last group
  for (int j = 0; j < kParts; ++j) {
    const index_t rest = p.rows - last - j * S::kWidth;
    present[j] = S::prefix(rest < 0 ? 0 : (rest < S::kWidth ? rest : S::kWidth));
  }
  const bool has_bias = p.bias != nullptr;
  const double divisor = p.divisor;
  const V lr = S::set1(static_cast<T>(p.lr));
  const V scale = S::set1(T(2) * static_cast<T>(1.0 / divisor));
  V weight = S::set1(*p.weight);
  V bias = S::set1(has_bias ? *p.bias : T(0));
  V old_weight = weight;
  V old_bias = bias;
  double* losses = p.losses;
  const index_t steps = p.steps;
  index_t step = 0;
  for (; step < steps; ++step) {
    Lanes<T> d_weight = Lanes<T>::zero();
    Lanes<T> d_bias = Lanes<T>::zero();
    Lanes<double> squares = Lanes<double>::zero();
    const auto group = [&](index_t r, auto is_last) __attribute__((always_inline)) {
      const Lanes<T> x = Lanes<T>::load(columns.x + r);
      const Lanes<T> target = Lanes<T>::load(columns.target + r);
      Lanes<T> square;
      Lanes<T> d;
      unroll<kParts>([&](auto j) __attribute__((always_inline)) {
        V difference = S::sub(S::add(S::mul(x.part[j], weight), bias), target.part[j]);
        if constexpr (is_last) difference = S::keep(present[j], difference);
        square.part[j] = S::mul(difference, difference);
        d.part[j] = S::mul(difference, scale);
      });
      d_weight = fma(x, d, d_weight);
      d_bias = add(d_bias, d);
      add_wide(square, squares);
    };
    for (index_t r = 0; r < last; r += kLanes<T>) group(r, Index<0>{});
    group(last, Index<1>{});
    const auto loss = static_cast<double>(static_cast<T>(tree_sum(squares) / divisor));
    losses[step] = loss;
    if (!(loss - loss == 0.0)) break;
    old_weight = weight;
    old_bias = bias;
    weight = S::fnma(lr, tree_sum_everywhere(d_weight), weight);
    if (has_bias) bias = S::fnma(lr, tree_sum_everywhere(d_bias), bias);
  }
  const auto value = [](V v) {
    T lanes[S::kWidth];
    S::store(lanes, v);
    return lanes[0];
  };
  *p.weight = value(weight);
  if (has_bias) *p.bias = value(bias);
  p.previous_weight = value(old_weight);
  p.previous_bias = value(old_bias);
  return step;
}

template <class T>
index_t run_line(LineRun<T>& p) noexcept {
  LineColumns<T> columns;
  for (index_t r = 0; r < kChunkRows; ++r) {
    columns.x[r] = r < p.rows ? p.x[r] : T(0);
    columns.target[r] = r < p.rows ? p.target[r] : T(0);
  }
  static_assert(kLineGroups == 2);
  if (p.rows <= kLanes<T>) return line_steps<T, 1>(p, columns);
  if (p.rows <= 2 * kLanes<T>) return line_steps<T, 2>(p, columns);
  return line_steps<T, 0>(p, columns);
}

template <class T>
constexpr void fill_line(Kernels<T>& table) {
  table.line = &run_line<T>;
}

}  // namespace
}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Softmax and log-softmax over the columns of each row, and their gradients.
///
/// Sums run in lanes (body/lanes.inl). A NaN anywhere in a row, a row of -inf, or a +inf in it gives
/// a NaN in every column that takes part, as in PyTorch.
#pragma once

#include "kernels/activation.hpp"
#include "kernels/body/elementary.inl"
#include "kernels/body/lanes.inl"

namespace schuss {
namespace {

/// Calls full(i, j) for every whole register of columns, at column i and register j of the lanes,
/// and part(i, j, first) for the columns that are left.
template <class T, class Full, class Part>
[[gnu::always_inline]] inline void for_lanes(index_t cols, Full full, Part part) {
  using S = Simd<T>;
  constexpr int kParts = Lanes<T>::kParts;
  index_t i = 0;
  for (; i + kLanes<T> <= cols; i += kLanes<T>) {
    for (int j = 0; j < kParts; ++j) full(i + j * S::kWidth, j);
  }
  for (int j = 0; j < kParts && i < cols; ++j, i += S::kWidth) {
    if (i + S::kWidth <= cols) {
      full(i, j);
    } else {
      part(i, j, S::prefix(cols - i));
    }
  }
}

/// The largest of x[0..n-1] that is not NaN, -inf when there is none. Zero is +0: the order in which
/// registers compare zeros of both signs must not show.
template <class T>
[[gnu::always_inline]] inline T row_max(const T* x, index_t n) {
  using S = Simd<T>;
  const auto lowest = S::set1(static_cast<T>(-__builtin_inf()));
  Vec<T> best = lowest;
  const auto take = [&](Vec<T> v) { best = S::select(S::lt(best, v), v, best); };
  index_t i = 0;
  for (; i + S::kWidth <= n; i += S::kWidth) take(S::load(x + i));
  if (i < n) {
    // Absent lanes are +0, which may be larger than every element: they become -inf.
    const auto first = S::prefix(n - i);
    const auto present = S::lt(S::zero(), S::keep(first, S::set1(T{1})));
    take(S::select(present, S::load(x + i, first), lowest));
  }
  return S::greatest(best) + T{0};
}

/// sum over columns of e^(x - max); with y, stores e^(x - max) there (y may be x).
template <class T, bool kStore>
[[gnu::always_inline]] inline T row_sum_exp(const T* x, index_t n, T max, T* y) {
  using S = Simd<T>;
  const auto shift = S::set1(max);
  auto sums = Lanes<T>::zero();
  for_lanes<T>(
      n,
      [&](index_t i, int j) {
        const auto e = v_exp<T>(S::sub(S::load(x + i), shift));
        if constexpr (kStore) S::store(y + i, e);
        sums.part[j] = S::add(sums.part[j], e);
      },
      [&](index_t i, int j, typename S::P first) {
        const auto e = v_exp<T>(S::sub(S::load(x + i, first), shift));
        if constexpr (kStore) S::store(y + i, first, e);
        sums.part[j] = S::add(sums.part[j], S::keep(first, e));
      });
  return tree_sum(sums);
}

/// y = e^(x - max) / sum; results below the smallest normal number are +0.
template <class T>
void softmax_forward(const T* x, index_t ldx, T* y, index_t ldy, index_t rows, index_t cols,
                     const ActivationOptions&) noexcept {
  using S = Simd<T>;
  for (index_t r = 0; r < rows; ++r) {
    const T* x_row = x + r * ldx;
    T* y_row = y + r * ldy;
    const T max = row_max(x_row, cols);
    const auto sum = S::set1(row_sum_exp<T, true>(x_row, cols, max, y_row));
    map(static_cast<const T*>(y_row), y_row, cols,
        [&](Vec<T> e) { return v_flush_subnormal<T>(S::div(e, sum)); });
  }
}

/// d_x = y * (d - sum over columns of d * y).
template <class T>
void softmax_backward(const T*, index_t, const T* y, index_t ldy, T* d, index_t ldd, index_t rows,
                      index_t cols, const ActivationOptions&) noexcept {
  using S = Simd<T>;
  for (index_t r = 0; r < rows; ++r) {
    const T* y_row = y + r * ldy;
    T* d_row = d + r * ldd;
    auto sums = Lanes<T>::zero();
    for_lanes<T>(
        cols,
        [&](index_t i, int j) {
          sums.part[j] = S::fma(S::load(d_row + i), S::load(y_row + i), sums.part[j]);
        },
        [&](index_t i, int j, typename S::P first) {
          const auto left = S::load(d_row + i, first);
          sums.part[j] = S::fma(left, S::load(y_row + i, first), sums.part[j]);
        });
    const auto mean = S::set1(tree_sum(sums));
    for_lanes<T>(
        cols,
        [&](index_t i, int) {
          S::store(d_row + i, S::mul(S::load(y_row + i), S::sub(S::load(d_row + i), mean)));
        },
        [&](index_t i, int, typename S::P first) {
          const auto centred = S::sub(S::load(d_row + i, first), mean);
          S::store(d_row + i, first, S::mul(S::load(y_row + i, first), centred));
        });
  }
}

/// ln of the sum of e^(x - max).
template <class T>
[[gnu::always_inline]] inline Vec<T> log_of_sum(T sum) {
  return v_log<T>(Simd<T>::set1(sum));
}

/// y = (x - max) - ln(sum over columns of e^(x - max)).
template <class T>
void log_softmax_forward(const T* x, index_t ldx, T* y, index_t ldy, index_t rows, index_t cols,
                         const ActivationOptions&) noexcept {
  using S = Simd<T>;
  for (index_t r = 0; r < rows; ++r) {
    const T* x_row = x + r * ldx;
    const T max = row_max(x_row, cols);
    const auto log_sum = log_of_sum(row_sum_exp<T, false>(x_row, cols, max, nullptr));
    const auto shift = S::set1(max);
    map(x_row, y + r * ldy, cols, [&](Vec<T> v) { return S::sub(S::sub(v, shift), log_sum); });
  }
}

/// d_x = d - e^y * sum over columns of d.
template <class T>
void log_softmax_backward(const T*, index_t, const T* y, index_t ldy, T* d, index_t ldd,
                          index_t rows, index_t cols, const ActivationOptions&) noexcept {
  using S = Simd<T>;
  for (index_t r = 0; r < rows; ++r) {
    const T* y_row = y + r * ldy;
    T* d_row = d + r * ldd;
    auto sums = Lanes<T>::zero();
    for_lanes<T>(
        cols, [&](index_t i, int j) { sums.part[j] = S::add(sums.part[j], S::load(d_row + i)); },
        [&](index_t i, int j, typename S::P first) {
          sums.part[j] = S::add(sums.part[j], S::load(d_row + i, first));
        });
    const auto sum = S::set1(tree_sum(sums));
    for_lanes<T>(
        cols,
        [&](index_t i, int) {
          const auto p = v_exp<T>(S::load(y_row + i));
          S::store(d_row + i, S::fnma(p, sum, S::load(d_row + i)));
        },
        [&](index_t i, int, typename S::P first) {
          const auto p = v_exp<T>(S::load(y_row + i, first));
          S::store(d_row + i, first, S::fnma(p, sum, S::load(d_row + i, first)));
        });
  }
}

}  // namespace
}  // namespace schuss

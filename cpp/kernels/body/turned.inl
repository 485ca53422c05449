// SPDX-License-Identifier: MIT
/// Products made turned. Registers hold neighbouring columns of c, and some numbers of columns leave
/// much of the last one empty; where the rows of c lie side by side in a, they can fill registers
/// instead: c^T = b^T a^T, some rows of c at a time, which change places as they join c.
#pragma once

#include "kernels/body/registers.inl"
#include "kernels/body/transpose.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

inline constexpr index_t kTurnedColumns = 12;

/// Two tiles of six columns each, and as many registers of rows as eight.
template <class T>
inline constexpr index_t kTurnedRows = 8 * Simd<T>::kWidth;

/// A quarter of the registers would be empty, and there is depth to pay for the turning.
template <class T>
bool is_turned(const Product<T>& p) {
  constexpr index_t kWidth = Simd<T>::kWidth;
  constexpr index_t kLeastDepth = 16;
  const index_t lanes = (p.n + kWidth - 1) / kWidth * kWidth;
  const bool joins =
      p.finish == Finish::kStore || p.finish == Finish::kAdd || p.finish == Finish::kDescend;
  return 4 * p.n <= 3 * lanes && p.n <= kTurnedColumns && p.n > 4 && p.m >= 4 * kWidth &&
         p.k >= kLeastDepth && p.a_row == 1 && p.a_depth != 1 && !p.packed && p.copy == nullptr &&
         p.start == Start::kZero && joins;
}

/// Rows first..first+count of c, whose chains are in `turned`.
template <class T>
void join_turned(const Product<T>& p, index_t first, index_t count, const T* turned) {
  using S = Simd<T>;
  const auto rate = S::set1(p.rate);
  for (index_t j = 0; j < p.n; j += S::kWidth) {
    const index_t columns = p.n - j < S::kWidth ? p.n - j : S::kWidth;
    with_register<T>(
        columns, [&](auto at) __attribute__((always_inline)) {
          for (index_t i = 0; i < count; i += S::kWidth) {
            typename S::V block[S::kWidth];
            with_register<T>(
                count - i, [&](auto rows) __attribute__((always_inline)) {
                  unroll<S::kWidth>([&](auto l) __attribute__((always_inline)) {
                    block[l] =
                        l < columns ? rows.load(turned + (j + l) * kTurnedRows<T> + i) : S::zero();
                  });
                });
            S::transpose(block);
            const index_t rows = count - i < S::kWidth ? count - i : S::kWidth;
            T* const c = p.c + (first + i) * p.ldc + j;
            for (index_t r = 0; r < rows; ++r) {
              T* const to = c + r * p.ldc;
              typename S::V value = block[r];
              if (p.finish == Finish::kAdd) value = S::add(at.load(to), value);
              if (p.finish == Finish::kDescend) value = S::fnma(rate, value, at.load(to));
              at.store(to, value);
            }
          }
        });
  }
}

/// product: any product, not turned.
template <class T, class F>
void run_turned(const Product<T>& p, F product) {
  alignas(64) T turned[kTurnedColumns * kTurnedRows<T>];
  for (index_t first = 0; first < p.m; first += kTurnedRows<T>) {
    const index_t count = p.m - first < kTurnedRows<T> ? p.m - first : kTurnedRows<T>;
    Product<T> q;
    q.a = p.b;
    q.a_row = 1;
    q.a_depth = p.ldb;
    q.b = p.a + first;
    q.ldb = p.a_depth;
    q.c = turned;
    q.ldc = kTurnedRows<T>;
    q.m = p.n;
    q.n = count;
    q.k = p.k;
    q.fetch = p.fetch;
    product(q);
    join_turned(p, first, count, turned);
  }
}

}  // namespace
}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Operations of a program on a few rows that no kernel has: choices, which are exact, and sums along
/// rows in the order of autograd/ops.hpp.
#pragma once

#include <algorithm>

#include "autograd/ops.hpp"
#include "autograd/sum_trees.hpp"
#include "kernels/dispatch.hpp"

namespace schuss::program {

template <class T, class F>
void compare_with(Run<T> a, Run<T> b, bool* y, index_t n, F holds) noexcept {
  if (a.step == 1 && b.step == 1) {
    for (index_t i = 0; i < n; ++i) y[i] = holds(a.at[i], b.at[i]);
  } else {
    for (index_t i = 0; i < n; ++i) y[i] = holds(a.at[i * a.step], b.at[i * b.step]);
  }
}

template <class T>
void compare(Compare op, Run<T> a, Run<T> b, bool* y, index_t n) noexcept {
  switch (op) {
    case Compare::kEq:
      return compare_with(a, b, y, n, [](T p, T q) { return p == q; });
    case Compare::kNe:
      return compare_with(a, b, y, n, [](T p, T q) { return p != q; });
    case Compare::kLt:
      return compare_with(a, b, y, n, [](T p, T q) { return p < q; });
    case Compare::kLe:
      return compare_with(a, b, y, n, [](T p, T q) { return p <= q; });
    case Compare::kGt:
      return compare_with(a, b, y, n, [](T p, T q) { return p > q; });
    case Compare::kGe:
      return compare_with(a, b, y, n, [](T p, T q) { return p >= q; });
  }
}

inline void logical(Logical op, const bool* a, const bool* b, bool* y, index_t n) noexcept {
  for (index_t i = 0; i < n; ++i) {
    const bool p = a[i];
    const bool q = b[i];
    y[i] = op == Logical::kAnd   ? p && q
           : op == Logical::kOr  ? p || q
           : op == Logical::kXor ? p != q
                                 : !p;
  }
}

/// y = chosen ? a : b.
template <class T>
void choose(const bool* chosen, index_t step, Run<T> a, Run<T> b, T* y, index_t n) noexcept {
  for (index_t i = 0; i < n; ++i) {
    const T left = a.at[i * a.step];
    const T right = b.at[i * b.step];
    y[i] = chosen[i * step] ? left : right;
  }
}

/// y = chosen == side ? d : 0.
template <class T>
void keep_chosen(const bool* chosen, index_t step, bool side, const T* d, T* y,
                 index_t n) noexcept {
  for (index_t i = 0; i < n; ++i) y[i] = chosen[i * step] == side ? d[i] : T(0);
}

/// y[r] = sum, or mean, of row r; y may be x.
template <class T>
void row_sums(const T* x, index_t rows, index_t width, bool mean, T* y) noexcept {
  if (width == 1) {
    if (x != y) std::copy_n(x, rows, y);
    return;
  }
  for (index_t r = 0; r < rows; ++r) y[r] = static_cast<T>(line_sum(x + r * width, width));
  if (!mean) return;
  const T divisor = static_cast<T>(width);
  for (index_t r = 0; r < rows; ++r) y[r] = y[r] / divisor;
}

/// Backward of row_sums: y[r,c] = d[r], or d[r] / width.
template <class T>
void spread(const T* d, index_t rows, index_t width, bool mean, T* y) noexcept {
  const T divisor = mean ? static_cast<T>(width) : T(1);
  for (index_t r = 0; r < rows; ++r) std::fill_n(y + r * width, width, d[r] / divisor);
}

/// The lowest index of the largest (smallest); the first NaN wins.
template <class T>
index_t extreme_index(bool largest, const T* x, index_t n) noexcept {
  index_t best = 0;
  for (index_t i = 0; i < n; ++i) {
    if (x[i] != x[i]) return i;
    if (largest ? x[best] < x[i] : x[i] < x[best]) best = i;
  }
  return best;
}

template <class T>
void row_extremes(bool largest, const T* x, index_t rows, index_t width, T* y) noexcept {
  for (index_t r = 0; r < rows; ++r) {
    const T* row = x + r * width;
    y[r] = row[extreme_index(largest, row, width)];
  }
}

template <class T>
void row_extremes_backward(bool largest, const T* x, const T* d, index_t rows, index_t width,
                           T* y) noexcept {
  std::fill_n(y, rows * width, T(0));
  for (index_t r = 0; r < rows; ++r) {
    y[r * width + extreme_index(largest, x + r * width, width)] = d[r];
  }
}

template <class T>
void copy_rows(const T* from, index_t ld_from, T* to, index_t ld_to, index_t rows,
               index_t width) noexcept {
  if (ld_from == width && ld_to == width) {
    std::copy_n(from, rows * width, to);
    return;
  }
  for (index_t r = 0; r < rows; ++r) std::copy_n(from + r * ld_from, width, to + r * ld_to);
}

}  // namespace schuss::program

// SPDX-License-Identifier: MIT
/// Exchanging rows and columns a block of registers at a time, and what that makes cheap.
#pragma once

#include "kernels/body/unroll.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

/// Lane r is the sum of the lanes of rows[r] in the contract's tree; destroys rows. Once rows and
/// lanes have changed places, a level of all trees is an addition of registers.
template <class T>
[[gnu::always_inline]] inline typename Simd<T>::V trees_of(
    typename Simd<T>::V (&rows)[Simd<T>::kWidth]) {
  Simd<T>::transpose(rows);
  for (int half = Simd<T>::kWidth / 2; half >= 1; half /= 2) {
    for (int j = 0; j < half; ++j) rows[j] = Simd<T>::add(rows[j], rows[j + half]);
  }
  return rows[0];
}

/// to[c*ldto + r] = from[r*ld + c], rows and cols up to kWidth; each row of `to` is stored whole,
/// with +0 where `from` has no row.
template <class T>
inline void transpose_block(const T* from, index_t ld, index_t rows, index_t cols, T* to,
                            index_t ldto) {
  using S = Simd<T>;
  typename S::V block[S::kWidth];
  if (rows == S::kWidth && cols == S::kWidth) {
    unroll<S::kWidth>([&](auto r)
                          __attribute__((always_inline)) { block[r] = S::load(from + r * ld); });
    S::transpose(block);
    unroll<S::kWidth>([&](auto c)
                          __attribute__((always_inline)) { S::store(to + c * ldto, block[c]); });
    return;
  }
  const auto first = S::prefix(cols);
  for (index_t r = 0; r < S::kWidth; ++r) {
    block[r] = r < rows ? S::load(from + r * ld, first) : S::zero();
  }
  S::transpose(block);
  for (index_t c = 0; c < cols; ++c) S::store(to + c * ldto, block[c]);
}

/// The same for any size; rows of `to` are stored up to `width`, whole registers of at least
/// `rows`.
template <class T>
inline void transpose_into(const T* from, index_t ld, index_t rows, index_t cols, T* to,
                           index_t ldto, index_t width) {
  constexpr index_t kWidth = Simd<T>::kWidth;
  for (index_t r = 0; r < width; r += kWidth) {
    const index_t block_rows = rows - r < kWidth ? rows - r : kWidth;
    for (index_t c = 0; c < cols; c += kWidth) {
      const index_t block_cols = cols - c < kWidth ? cols - c : kWidth;
      transpose_block(from + r * ld + c, ld, block_rows, block_cols, to + c * ldto + r, ldto);
    }
  }
}

}  // namespace
}  // namespace schuss

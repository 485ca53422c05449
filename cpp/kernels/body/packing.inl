// SPDX-License-Identifier: MIT
/// Packing: the right operand of a product in the order that the tiles read it.
#pragma once

#include "kernels/body/tiles.inl"
#include "kernels/body/transpose.inl"

namespace schuss {
namespace {

template <class T>
index_t packed_size(index_t k, index_t n) noexcept {
  constexpr index_t kPanel = TileShape<T>::kPanel;
  return (n + kPanel - 1) / kPanel * kPanel * k;
}

/// Whole panels side by side: some lines of a row for each page that is touched.
template <class T, int kPanels>
void copy_panels(const T* from, index_t b_depth, index_t k, T* to) {
  constexpr index_t kPanel = TileShape<T>::kPanel;
  constexpr int kVecs = TileShape<T>::kVecs;
  constexpr int kWidth = Simd<T>::kWidth;
  for (index_t l = 0; l < k; ++l) {
    unroll<kPanels * kVecs>([&](auto v) __attribute__((always_inline)) {
      constexpr int kPanelAt = v / kVecs;
      constexpr int kVec = v % kVecs;
      Simd<T>::store(to + kPanelAt * kPanel * k + l * kPanel + kVec * kWidth,
                     Simd<T>::load(from + l * b_depth + v * kWidth));
    });
  }
}

/// Panels copied at a time: more lines of a row for each page, fewer streams to write than L1 has ways.
inline constexpr index_t kPanelsTogether = 4;

/// Panels of kPanel columns, each [k, kPanel] and contiguous; absent columns are +0.
template <class T>
void pack(const T* b, index_t b_depth, index_t b_column, index_t k, index_t n, T* packed) noexcept {
  constexpr index_t kPanel = TileShape<T>::kPanel;
  index_t j = 0;
  if (b_column == 1) {
    for (; j + kPanelsTogether * kPanel <= n; j += kPanelsTogether * kPanel) {
      copy_panels<T, kPanelsTogether>(b + j, b_depth, k, packed + j * k);
    }
    for (; j + kPanel <= n; j += kPanel) copy_panels<T, 1>(b + j, b_depth, k, packed + j * k);
  }
  for (; j < n; j += kPanel) {
    const index_t columns = n - j < kPanel ? n - j : kPanel;
    const T* from = b + j * b_column;
    T* to = packed + j * k;
    if (b_depth == 1) {
      transpose_into(from, b_column, columns, k, to, kPanel, kPanel);
      continue;
    }
    // Any strides: four depths at a time, so that lines of the source are used whole.
    for (index_t l = 0; l < k; l += 4) {
      const index_t depths = k - l < 4 ? k - l : 4;
      for (index_t c = 0; c < kPanel; ++c) {
        for (index_t d = 0; d < depths; ++d) {
          to[(l + d) * kPanel + c] = c < columns ? from[(l + d) * b_depth + c * b_column] : T(0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace schuss

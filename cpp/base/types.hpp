// SPDX-License-Identifier: MIT
/// The few types that everything shares.
#pragma once

#include <cstddef>
#include <cstdint>

namespace schuss {

/// Sizes, counts and strides. Signed, so that differences and reversed strides are plain numbers.
using index_t = std::ptrdiff_t;

/// Rows of a segment and every workspace start on a cache line, on every instruction set.
inline constexpr index_t kAlignBytes = 64;

template <class T>
inline constexpr index_t kAlignElements = kAlignBytes / static_cast<index_t>(sizeof(T));

/// `n` elements rounded up to whole cache lines.
template <class T>
constexpr index_t padded(index_t n) {
  return (n + kAlignElements<T> - 1) / kAlignElements<T> * kAlignElements<T>;
}

}  // namespace schuss

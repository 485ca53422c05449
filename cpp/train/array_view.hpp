// SPDX-License-Identifier: MIT
/// The user's data as it lies in memory: any number type, layout and byte order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/types.hpp"

namespace schuss {

enum class ElementType : std::uint8_t {
  kBool,  // one byte, any value but 0 is true
  kInt8,
  kUInt8,
  kInt16,
  kUInt16,
  kInt32,
  kUInt32,
  kInt64,
  kUInt64,
  kFloat16,
  kFloat32,
  kFloat64,
};

constexpr index_t element_bytes(ElementType type) {
  switch (type) {
    case ElementType::kBool:
    case ElementType::kInt8:
    case ElementType::kUInt8:
      return 1;
    case ElementType::kInt16:
    case ElementType::kUInt16:
    case ElementType::kFloat16:
      return 2;
    case ElementType::kInt32:
    case ElementType::kUInt32:
    case ElementType::kFloat32:
      return 4;
    case ElementType::kInt64:
    case ElementType::kUInt64:
    case ElementType::kFloat64:
      return 8;
  }
  return 0;
}

constexpr bool is_floating(ElementType type) { return type >= ElementType::kFloat16; }

/// Element (row, col) is at data + row*row_stride + col*col_stride. Always two dimensions: a vector
/// of n is (n, 1). Strides are in bytes and may be negative, zero or odd. The memory is not ours: it
/// is only read, and whoever made the view keeps it alive.
struct ArrayView {
  const std::byte* data = nullptr;
  ElementType type = ElementType::kFloat32;
  bool byte_swapped = false;  // the other byte order than the machine's
  index_t rows = 0;
  index_t cols = 0;
  index_t row_stride = 0;
  index_t col_stride = 0;

  const std::byte* at(index_t row, index_t col) const {
    return data + row * row_stride + col * col_stride;
  }
};

}  // namespace schuss

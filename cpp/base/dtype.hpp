// SPDX-License-Identifier: MIT
/// The element types that a tensor may have.
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/types.hpp"

namespace schuss {

enum class DType : std::uint8_t { kFloat32, kFloat64 };

template <class T>
constexpr DType dtype_of() {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  return std::is_same_v<T, float> ? DType::kFloat32 : DType::kFloat64;
}

constexpr index_t item_bytes(DType dtype) { return dtype == DType::kFloat32 ? 4 : 8; }
constexpr const char* dtype_name(DType dtype) {
  return dtype == DType::kFloat32 ? "float32" : "float64";
}

/// Calls f.template operator()<T>() with the C++ type of `dtype`.
template <class F>
decltype(auto) dispatch_dtype(DType dtype, F&& f) {
  if (dtype == DType::kFloat32) return f.template operator()<float>();
  return f.template operator()<double>();
}

}  // namespace schuss

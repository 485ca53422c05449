// SPDX-License-Identifier: MIT
/// The element types that a tensor may have. Gradients exist for the floating ones alone.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "base/require.hpp"
#include "base/types.hpp"

namespace schuss {

enum class DType : std::uint8_t { kFloat32, kFloat64, kInt64, kBool };

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::kFloat32;
  if constexpr (std::is_same_v<T, double>) return DType::kFloat64;
  if constexpr (std::is_same_v<T, std::int64_t>) return DType::kInt64;
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double> ||
                std::is_same_v<T, std::int64_t> || std::is_same_v<T, bool>);
  return DType::kBool;
}

constexpr bool is_floating(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat64;
}
constexpr index_t item_bytes(DType dtype) {
  return dtype == DType::kFloat32 ? 4 : dtype == DType::kBool ? 1 : 8;
}
constexpr const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kFloat64:
      return "float64";
    case DType::kInt64:
      return "int64";
    case DType::kBool:
      return "bool";
  }
  return "";
}

/// Calls f.template operator()<T>() with the C++ type of a floating `dtype`. Throws TypeError for
/// others.
template <class F>
decltype(auto) dispatch_dtype(DType dtype, F&& f) {
  if (dtype == DType::kFloat32) return f.template operator()<float>();
  if (dtype != DType::kFloat64) {
    throw TypeError(std::string("got a tensor of ") + dtype_name(dtype) +
                    "; expected float32 or float64 (use .float())");
  }
  return f.template operator()<double>();
}

/// The same for every dtype.
template <class F>
decltype(auto) dispatch_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kInt64:
      return f.template operator()<std::int64_t>();
    case DType::kBool:
      return f.template operator()<bool>();
    case DType::kFloat64:
      return f.template operator()<double>();
    case DType::kFloat32:
      break;
  }
  return f.template operator()<float>();
}

}  // namespace schuss

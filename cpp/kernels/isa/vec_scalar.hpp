// SPDX-License-Identifier: MIT
/// The exact scalar vocabulary: one lane. It runs on every machine.
///
/// `fma` is the processor's or libm's, rounded once; it is the only library call of any kernel.
/// Included by exactly one translation unit, inside no namespace. Everything has internal linkage:
/// no symbol of this header may leave its object file.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa/vec_width.hpp"

namespace schuss {
namespace {

/// What both dtypes do with plain operators. Integers wrap around, as the lanes of vector units do.
template <class T, class Unsigned, class Signed>
struct OneLane {
  using Scalar = T;
  using V = T;
  using I = Unsigned;
  using M = bool;
  using P = bool;
  static constexpr int kWidth = 1;
  static constexpr int kRegisters = 16;

  static V load(const T* p) { return *p; }
  static void store(T* p, V a) { *p = a; }
  static P prefix(std::ptrdiff_t n) { return n > 0; }
  static V load(const T* p, P first) { return first ? *p : T{0}; }
  static void store(T* p, P first, V a) {
    if (first) *p = a;
  }
  static V keep(P first, V a) { return first ? a : T{0}; }

  static V zero() { return T{0}; }
  static V set1(T a) { return a; }
  static V broadcast(const T* p) { return *p; }
  static V add(V a, V b) { return a + b; }
  static V sub(V a, V b) { return a - b; }
  static V mul(V a, V b) { return a * b; }
  static V div(V a, V b) { return a / b; }

  static M lt(V a, V b) { return a < b; }
  static M le(V a, V b) { return a <= b; }
  static M eq(V a, V b) { return a == b; }
  static M unordered(V a, V b) { return __builtin_isunordered(a, b); }
  static M mask_and(M a, M b) { return a && b; }
  static M mask_or(M a, M b) { return a || b; }
  static bool any(M a) { return a; }
  static V select(M m, V yes, V no) { return m ? yes : no; }

  static I bits(V a) {
    I b;
    __builtin_memcpy(&b, &a, sizeof b);
    return b;
  }
  static V from_bits(I a) {
    V b;
    __builtin_memcpy(&b, &a, sizeof b);
    return b;
  }
  static I iset1(Signed a) { return static_cast<I>(a); }
  static I iadd(I a, I b) { return a + b; }
  static I isub(I a, I b) { return a - b; }
  static I iand(I a, I b) { return a & b; }
  static I ior(I a, I b) { return a | b; }
  static I ixor(I a, I b) { return a ^ b; }
  template <int kBits>
  static I shift_left(I a) {
    return a << kBits;
  }
  template <int kBits>
  static I shift_right(I a) {
    return a >> kBits;
  }

  static T tree(V a) { return a; }
  static V tree_everywhere(V a) { return a; }
  static void transpose(V (&)[kWidth]) {}
  static T greatest(V a) { return a; }
};

template <>
struct Simd<float> : OneLane<float, std::uint32_t, std::int32_t> {
  static V sqrt(V a) { return __builtin_sqrtf(a); }
  static V fma(V a, V b, V c) { return __builtin_fmaf(a, b, c); }
  static void accumulate(V& sum, V a, V b) { sum = fma(a, b, sum); }
  static V fnma(V a, V b, V c) { return __builtin_fmaf(-a, b, c); }
  template <int kBits>
  static I shift_right_signed(I a) {
    return static_cast<I>(static_cast<std::int32_t>(a) >> kBits);
  }
  static V from_int(I a) { return static_cast<float>(static_cast<std::int32_t>(a)); }
};

template <>
struct Simd<double> : OneLane<double, std::uint64_t, std::int64_t> {
  static V sqrt(V a) { return __builtin_sqrt(a); }
  static V fma(V a, V b, V c) { return __builtin_fma(a, b, c); }
  static void accumulate(V& sum, V a, V b) { sum = fma(a, b, sum); }
  static V fnma(V a, V b, V c) { return __builtin_fma(-a, b, c); }
};

/// A float to a double (exact).
inline void widen(float a, double out[1]) { out[0] = static_cast<double>(a); }

}  // namespace
}  // namespace schuss

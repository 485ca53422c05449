// SPDX-License-Identifier: MIT
/// Elementwise arithmetic of tensor expressions, and its derivatives. An operation is defined here
/// once: eager tensors and recorded programs call the same kernels, on whole tensors or on a chunk
/// of their rows, and every element comes out the same.
#pragma once

#include "base/types.hpp"

namespace schuss {

/// Functions of one operand.
enum class Map : std::uint8_t {
  kNeg,  // -x
  kAbs,  // |x|; the derivative at 0 is 0
  kExp,
  kExpm1,
  kLog,
  kLog1p,
  kSqrt,
  kSquare,      // x*x
  kReciprocal,  // 1/x
  kErf,
  kPow,    // x^a for a number a: by multiplication for whole |a| <= 64, by sqrt for a = +-1/2,
           // else as Pair::kPow
  kClamp,  // x < a ? a : x > b ? b : x; a NaN passes; the derivative is 1 at a and at b
};
inline constexpr int kMapCount = 12;

/// Functions of two operands.
enum class Pair : std::uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kPow,      // e^(b ln|a|) with the sign and the limits of IEEE's pow; float32 through float64
  kMaximum,  // a NaN in either gives a NaN; where both are equal each gets half the gradient
  kMinimum,
};
inline constexpr int kPairCount = 7;

/// Options stay float64 and are rounded to the operands' dtype once, inside the kernel.
struct MapOptions {
  double a = 0.0;  // exponent of kPow, lower limit of kClamp
  double b = 0.0;  // upper limit of kClamp
};

/// y[i] = f(x[i]), i in 0..n-1; y may be x.
template <class T>
using MapKernel = void (*)(const T* x, T* y, index_t n, const MapOptions& options) noexcept;

/// d_x[i] = d[i] * f'(x[i]), where y = f(x); d_x may be d.
template <class T>
using MapBackward = void (*)(const T* x, const T* y, const T* d, T* d_x, index_t n,
                             const MapOptions& options) noexcept;

/// An operand of a run of n elements: element i is at[i*step], step 0 (one number) or 1.
template <class T>
struct Run {
  const T* at = nullptr;
  index_t step = 1;
};

/// y[i] = f(a[i], b[i]); y may be a or b where their step is 1.
template <class T>
using PairKernel = void (*)(Run<T> a, Run<T> b, T* y, index_t n) noexcept;

/// d_a[i] = d[i] * df/da, d_b[i] = d[i] * df/db at (a[i], b[i]), y the forward result. Both of n
/// elements (a broadcast operand's gradient is their sum, taken by the caller); either may be null.
/// They overlap nothing else.
template <class T>
using PairBackward = void (*)(Run<T> a, Run<T> b, const T* y, const T* d, T* d_a, T* d_b,
                              index_t n) noexcept;

/// Which of x and y a MapBackward reads: the other is not touched, and may be null.
constexpr bool derivative_reads_input(Map map) {
  return map == Map::kAbs || map == Map::kLog || map == Map::kLog1p || map == Map::kSquare ||
         map == Map::kErf || map == Map::kClamp || map == Map::kPow;
}
constexpr bool derivative_reads_output(Map map) {
  return map == Map::kExp || map == Map::kExpm1 || map == Map::kSqrt || map == Map::kReciprocal;
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Float64 functions of one number, from + - * / and fma alone: the same bits on every machine.
/// (The kernels have their own, for registers of numbers.)
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace schuss {

/// base^exponent by binary exponentiation, lowest bit of the exponent first. x^0 is 1 for every x.
/// Each of the about 2*log2(exponent) products is rounded: for base in [0, 1] the error is below
/// 2*exponent units in the last place, and in practice far less (Adam's beta^t).
inline double exact_pow_int(double base, std::uint64_t exponent) {
  double result = 1.0;
  for (double square = base; exponent != 0; exponent >>= 1) {
    if ((exponent & 1U) != 0) result *= square;
    square *= square;
  }
  return result;
}

/// Natural logarithm, within 1 ulp (tests/test_random.py). log(0) = -inf, log(x < 0) = NaN,
/// log(+inf) = +inf, a NaN passes.
inline double scalar_log(double x) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (!(x > 0.0)) return x == 0.0 ? -kInfinity : std::numeric_limits<double>::quiet_NaN();
  if (x == kInfinity) return x;
  // x = 2^exponent * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)): adding the distance from
  // sqrt(1/2) to 1 to the bits carries into the exponent exactly when the fraction is above.
  double exponent = 0.0;
  if (x < std::numeric_limits<double>::min()) {
    x *= 0x1p54;
    exponent = -54.0;
  }
  constexpr std::uint64_t kOne = 0x3ff0000000000000U;
  constexpr std::uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdU;
  const std::uint64_t shifted = std::bit_cast<std::uint64_t>(x) + (kOne - kSqrtHalf);
  exponent += static_cast<double>(static_cast<std::int64_t>(shifted >> 52) - 1023);
  const double f = std::bit_cast<double>((shifted & 0x000fffffffffffffU) + kSqrtHalf) - 1.0;

  // log(1 + f) = 2*atanh(s), s = f/(2+f), |s| < 0.1716: 2s + 2s*(z/3 + z^2/5 + ...), z = s^2; the
  // first term left out is below 2^-58 of the sum. `rest` is what rounding took from s.
  const double denominator = 2.0 + f;
  const double s = f / denominator;
  const double denominator_low = f - (denominator - 2.0);
  const double rest = (std::fma(-s, denominator, f) - s * denominator_low) / denominator;
  const double z = s * s;
  double series = 1.0 / 23.0;
  for (int odd = 21; odd >= 3; odd -= 2) {
    series = std::fma(series, z, 1.0 / static_cast<double>(odd));
  }
  const double small = 2.0 * std::fma(s * z, series, rest);
  // ln 2 in two parts; the first has 11 low zero bits, so that its product with an exponent is exact.
  constexpr double kLn2High = 0x1.62e42fefa3800p-1;
  constexpr double kLn2Low = 0x1.ef35793c76730p-45;
  const double high = exponent * kLn2High;
  const double twice = 2.0 * s;
  const double sum = high + twice;
  const double lost = exponent == 0.0 ? 0.0 : (high - sum) + twice;  // |high| > |twice|
  return sum + (lost + std::fma(exponent, kLn2Low, small));
}

}  // namespace schuss

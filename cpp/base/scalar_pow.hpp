// SPDX-License-Identifier: MIT
/// Powers of float64 numbers, from + - * / and fma alone: the same bits on every machine.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/double_double.hpp"

namespace schuss {

namespace detail {

inline constexpr double kLn2High = 0x1.62e42fefa39efp-1;
inline constexpr double kLn2Low = 0x1.abc9e3b39803fp-56;

/// ln(x) for a finite x > 0, relative error below 2^-70.
inline DoubleDouble log_pair(double x) {
  // x = 2^exponent * m with sqrt(1/2) <= m < sqrt(2), as in scalar_log.
  double exponent = 0.0;
  if (x < std::numeric_limits<double>::min()) {
    x *= 0x1p54;
    exponent = -54.0;
  }
  constexpr std::uint64_t kOne = 0x3ff0000000000000U;
  constexpr std::uint64_t kSqrtHalf = 0x3fe6a09e667f3bcdU;
  const std::uint64_t shifted = std::bit_cast<std::uint64_t>(x) + (kOne - kSqrtHalf);
  exponent += static_cast<double>(static_cast<std::int64_t>(shifted >> 52) - 1023);
  const double m = std::bit_cast<double>((shifted & 0x000fffffffffffffU) + kSqrtHalf);
  // ln m = 2 atanh(s) = 2 s (1 + z/3 + z^2/5 + ...), s = (m - 1)/(m + 1), z = s^2 < 0.0295; the first
  // term left out, z^15/31, is below 2^-81.
  const DoubleDouble s = divide({m - 1.0, 0.0}, two_sum(m, 1.0));
  const DoubleDouble z = multiply(s, s);
  DoubleDouble series = divide({1.0, 0.0}, {29.0, 0.0});
  for (int odd = 27; odd >= 1; odd -= 2) {
    series = add(multiply(series, z), divide({1.0, 0.0}, {static_cast<double>(odd), 0.0}));
  }
  const DoubleDouble log_m = multiply({2.0 * s.high, 2.0 * s.low}, series);
  if (exponent == 0.0) return log_m;
  return add(multiply({exponent, 0.0}, {kLn2High, kLn2Low}), log_m);
}

/// e^(t.high + t.low), rounded once, also where it is subnormal; |t| < 800.
inline double exp_of_pair(DoubleDouble t) {
  // t = n ln 2 + r, |r| <= 0.35.
  constexpr double kInverseLn2 = 0x1.71547652b82fep+0;
  constexpr double kRounder = 0x1.8p52;
  const double n = (t.high * kInverseLn2 + kRounder) - kRounder;
  const DoubleDouble multiple = multiply({-n, 0.0}, {kLn2High, kLn2Low});
  const DoubleDouble r = add(t, multiple);
  // Taylor series by Horner's rule; the first term left out, r^20/20!, is below 2^-90.
  DoubleDouble y{1.0, 0.0};
  for (int k = 19; k >= 1; --k) {
    y = add({1.0, 0.0}, divide(multiply(y, r), {static_cast<double>(k), 0.0}));
  }
  // Times 2^n, in two steps where 2^n is no normal number.
  const auto power = [](std::int64_t e) {
    return std::bit_cast<double>(static_cast<std::uint64_t>(e + 1023) << 52);
  };
  const auto exponent = static_cast<std::int64_t>(n);
  if (exponent > 1023) return y.high * 2.0 * power(1023);
  if (exponent > -1022 || (exponent == -1022 && y.high >= 1.0)) return y.high * power(exponent);
  // Multiples of the smallest subnormal number, seen from y, are those of 2^(-1074-n): adding 2^52
  // of them rounds to one, and what that took decides ties.
  const double grid = 0x1p52 * power(-1074 - exponent);
  const double coarse = grid + y.high;
  const double rounded = (coarse + (((grid - coarse) + y.high) + y.low)) - grid;
  return rounded * power(exponent + 60) * 0x1p-60;  // exact
}

}  // namespace detail

/// x^y within 0.501 units in the last place (tests/test_scalar_functions.py), with the special cases
/// of C99: x^0 = 1^y = 1 also for a NaN, (-1)^(+-inf) = 1, NaN for a finite x < 0 and a y that is no
/// integer, the sign of x where y is odd, and the limits at zeros and infinities.
inline double scalar_pow(double x, double y) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (y == 0.0 || x == 1.0) return 1.0;
  if (x != x || y != y) return std::numeric_limits<double>::quiet_NaN();
  const auto magnitude_of = [](double v) {
    return std::bit_cast<double>(std::bit_cast<std::uint64_t>(v) & 0x7fffffffffffffffU);
  };
  const double a = magnitude_of(x);
  if (magnitude_of(y) == kInfinity) {
    if (a == 1.0) return 1.0;
    return (a > 1.0) == (y > 0.0) ? kInfinity : 0.0;
  }
  bool integer = magnitude_of(y) >= 0x1p53;  // all of these are even
  bool odd = false;
  if (!integer) {
    const auto truncated = static_cast<std::int64_t>(y);
    integer = static_cast<double>(truncated) == y;
    odd = integer && (truncated & 1) != 0;
  }
  const bool negative = (std::bit_cast<std::uint64_t>(x) >> 63) != 0;
  const double sign = negative && odd ? -1.0 : 1.0;
  if (a == 0.0 || a == kInfinity) return sign * ((a > 1.0) == (y > 0.0) ? kInfinity : 0.0);
  if (negative && !integer) return std::numeric_limits<double>::quiet_NaN();

  const DoubleDouble log_a = detail::log_pair(a);
  const double about = y * log_a.high;
  if (about > 710.0) return sign * kInfinity;
  if (about < -746.0) return sign * 0.0;
  const double rest = std::fma(y, log_a.high, -about) + y * log_a.low;
  return sign * detail::exp_of_pair(two_sum(about, rest));
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Cosine of one float64 number, from + - * and fma alone: the same bits on every machine.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "base/double_double.hpp"

namespace schuss {

inline constexpr double kPi =
    0x1.921fb54442d18p+1;  // the double nearest to it, as in Python's math

/// cos(x) for |x| <= 2^30, within 0.8 units in the last place (tests/test_scalar_functions.py).
/// NaN for larger |x|, whose neighbours are too far apart for a schedule to make sense, for
/// infinities and for a NaN.
inline double scalar_cos(double x) {
  if (!(x >= -0x1p30 && x <= 0x1p30)) return std::numeric_limits<double>::quiet_NaN();
  // x = n pi/2 + r + low, |r| <= pi/4 (1 + 2^-20); pi/2 in three parts, and products in two: no x in
  // the range comes nearer to a multiple of pi/2 than 2^-65, where r is still good to 2^-60 of it.
  constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;
  constexpr double kHalfPi = 0x1.921fb54442d18p+0;
  constexpr double kHalfPiMiddle = 0x1.1a62633145c07p-54;
  constexpr double kHalfPiLow = -0x1.f1976b7ed8fbcp-110;
  constexpr double kRounder = 0x1.8p52;  // adding it leaves integers
  const double n = (x * kTwoOverPi + kRounder) - kRounder;
  const DoubleDouble first = two_product(n, kHalfPi);
  const DoubleDouble second = two_product(n, kHalfPiMiddle);
  const DoubleDouble near = two_sum(x - first.high, -first.low);  // the difference is exact
  const DoubleDouble sum = two_sum(near.high, -second.high);
  const double rest = (near.low + sum.low) - (second.low + n * kHalfPiLow);
  const double r = sum.high + rest;
  const double low = (sum.high - r) + rest;

  // Taylor series: the first terms left out, r^20/20! and r^19/19!, are below 2^-65 of the sums.
  const double z = r * r;
  const auto quadrant = static_cast<std::int64_t>(n) & 3;
  double y = 0.0;
  if ((quadrant & 1) == 0) {
    double series = -1.0 / 6402373705728000.0;  // 18!
    series = std::fma(series, z, 1.0 / 20922789888000.0);
    series = std::fma(series, z, -1.0 / 87178291200.0);
    series = std::fma(series, z, 1.0 / 479001600.0);
    series = std::fma(series, z, -1.0 / 3628800.0);
    series = std::fma(series, z, 1.0 / 40320.0);
    series = std::fma(series, z, -1.0 / 720.0);
    series = std::fma(series, z, 1.0 / 24.0);
    // cos(r + low) = 1 - z/2 + z^2 series - r low, with what rounding took from 1 - z/2.
    const double half = 0.5 * z;
    const double top = 1.0 - half;
    const double square_low = 0.5 * std::fma(r, r, -z);
    y = top + (((1.0 - top) - half) - square_low + std::fma(z * z, series, -r * low));
  } else {
    double series = 1.0 / 355687428096000.0;  // 17!
    series = std::fma(series, z, -1.0 / 1307674368000.0);
    series = std::fma(series, z, 1.0 / 6227020800.0);
    series = std::fma(series, z, -1.0 / 39916800.0);
    series = std::fma(series, z, 1.0 / 362880.0);
    series = std::fma(series, z, -1.0 / 5040.0);
    series = std::fma(series, z, 1.0 / 120.0);
    series = std::fma(series, z, -1.0 / 6.0);
    // sin(r + low) = r + z r series + low cos(r)
    y = r + std::fma(z * r, series, low * std::fma(-0.5, z, 1.0));
  }
  return quadrant == 1 || quadrant == 2 ? -y : y;
}

}  // namespace schuss

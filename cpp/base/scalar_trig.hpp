// SPDX-License-Identifier: MIT
/// Sine and cosine of one float64 number, from integers, + - * and fma alone: the same bits on every
/// machine.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/double_double.hpp"

namespace schuss {

inline constexpr double kPi =
    0x1.921fb54442d18p+1;  // the double nearest to it, as in Python's math

/// x = (4 k + quadrant) pi/2 + r + low, |r| <= pi/4 (1 + 2^-20).
struct ReducedAngle {
  double r = 0.0;
  double low = 0.0;
  int quadrant = 0;
};

namespace trig {

inline constexpr double kHalfPi = 0x1.921fb54442d18p+0;
inline constexpr double kHalfPiMiddle = 0x1.1a62633145c07p-54;
inline constexpr double kHalfPiLow = -0x1.f1976b7ed8fbcp-110;
inline constexpr double kNearLimit = 0x1p30;

/// |x| <= kNearLimit: pi/2 in three parts, and products in two. No x in the range comes nearer to a
/// multiple of pi/2 than 2^-65, where r is still good to 2^-60 of it.
inline ReducedAngle reduce_near(double x) {
  constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;
  constexpr double kRounder = 0x1.8p52;  // adding it leaves integers
  const double n = (x * kTwoOverPi + kRounder) - kRounder;
  const DoubleDouble first = two_product(n, kHalfPi);
  const DoubleDouble second = two_product(n, kHalfPiMiddle);
  const DoubleDouble near = two_sum(x - first.high, -first.low);  // the difference is exact
  const DoubleDouble sum = two_sum(near.high, -second.high);
  const double rest = (near.low + sum.low) - (second.low + n * kHalfPiLow);
  const double r = sum.high + rest;
  return {r, (sum.high - r) + rest, static_cast<int>(static_cast<std::int64_t>(n) & 3)};
}

__extension__ using Wide = unsigned __int128;

/// Finite x > kNearLimit (M. H. Payne and R. N. Hanek, 1983): x is M 2^e with M of 53 bits, and of
/// the bits of 2/pi those that give multiples of 4 are passed over; the next 192 give x 2/pi modulo
/// 4 with an error below 2^-137, where the nearest that it comes to an integer is 2^-62.
inline ReducedAngle reduce_far(double x) {
  constexpr std::array<std::uint64_t, 20> kTwoOverPiBits = {
      0xa2f9836e4e441529U, 0xfc2757d1f534ddc0U, 0xdb6295993c439041U, 0xfe5163abdebbc561U,
      0xb7246e3a424dd2e0U, 0x06492eea09d1921cU, 0xfe1deb1cb129a73eU, 0xe88235f52ebb4484U,
      0xe99c7026b45f7e41U, 0x3991d639835339f4U, 0x9c845f8bbdf9283bU, 0x1ff897ffde05980fU,
      0xef2f118b5a0a6d1fU, 0x6d367ecf27cb09b7U, 0x4f463f669e5fea2dU, 0x7527bac7ebe5f17bU,
      0x3d0739f78a5292eaU, 0x6bfb5fb11f8d5d08U, 0x56033046fc7b6babU, 0xf0cfbc209af4361dU};
  const auto x_bits = std::bit_cast<std::uint64_t>(x);
  const std::uint64_t significand = (x_bits & 0xfffffffffffffU) | 0x10000000000000U;
  const int e = static_cast<int>(x_bits >> 52) - 1075;
  // 64 bits of 2/pi from position k on, counted from 1 behind the point; there are none before it.
  const auto bits_from = [&](int k) {
    const auto word = [&](int i) {
      return i < 0 ? std::uint64_t{0} : kTwoOverPiBits[static_cast<std::size_t>(i)];
    };
    const int at = k - 1 + 64;  // from 64 bits of zeros before the point
    const int shift = at % 64;
    const int i = at / 64 - 1;
    return shift == 0 ? word(i) : (word(i) << shift) | (word(i + 1) >> (64 - shift));
  };
  // The product modulo 2^192: its upper two bits are the quadrant, the others the part of it.
  const Wide low = Wide{bits_from(e + 127)} * significand;
  const Wide middle = Wide{bits_from(e + 63)} * significand + (low >> 64);
  const std::uint64_t top =
      bits_from(e - 1) * significand + static_cast<std::uint64_t>(middle >> 64);
  int quadrant = static_cast<int>(top >> 62);
  std::uint64_t high = (top << 2) | (static_cast<std::uint64_t>(middle) >> 62);
  std::uint64_t next =
      (static_cast<std::uint64_t>(middle) << 2) | (static_cast<std::uint64_t>(low) >> 62);
  std::uint64_t last = static_cast<std::uint64_t>(low) << 2;
  const bool past_half = (high >> 63) != 0;
  if (past_half) {  // from the multiple above: 1 - f, but for a unit in the last of 190 places
    quadrant = (quadrant + 1) & 3;
    high = ~high;
    next = ~next;
    last = ~last;
  }
  int zeros = 0;
  while ((high >> 63) == 0 && zeros < 128) {
    high = (high << 1) | (next >> 63);
    next = (next << 1) | (last >> 63);
    last <<= 1;
    ++zeros;
  }
  const double upper = std::ldexp(static_cast<double>(high >> 11), -53 - zeros);
  const double lower =
      std::ldexp(static_cast<double>(((high & 0x7ffU) << 42) | (next >> 22)), -106 - zeros);
  const DoubleDouble product = two_product(upper, kHalfPi);
  const double rest = product.low + std::fma(upper, kHalfPiMiddle, lower * kHalfPi);
  const double r = product.high + rest;
  const double r_low = (product.high - r) + rest;
  return past_half ? ReducedAngle{-r, -r_low, quadrant} : ReducedAngle{r, r_low, quadrant};
}

/// Any finite x.
inline ReducedAngle reduce(double x) {
  if (x >= -kNearLimit && x <= kNearLimit) return reduce_near(x);
  if (x > 0.0) return reduce_far(x);
  const ReducedAngle a = reduce_far(-x);
  return {-a.r, -a.low, (4 - a.quadrant) & 3};
}

// Taylor series: the first terms left out, r^20/20! and r^19/19!, are below 2^-65 of the sums.

inline double cos_series(double r, double low) {
  const double z = r * r;
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
  return top + (((1.0 - top) - half) - square_low + std::fma(z * z, series, -r * low));
}

inline double sin_series(double r, double low) {
  const double z = r * r;
  double series = 1.0 / 355687428096000.0;  // 17!
  series = std::fma(series, z, -1.0 / 1307674368000.0);
  series = std::fma(series, z, 1.0 / 6227020800.0);
  series = std::fma(series, z, -1.0 / 39916800.0);
  series = std::fma(series, z, 1.0 / 362880.0);
  series = std::fma(series, z, -1.0 / 5040.0);
  series = std::fma(series, z, 1.0 / 120.0);
  series = std::fma(series, z, -1.0 / 6.0);
  // sin(r + low) = r + z r series + low cos(r)
  return r + std::fma(z * r, series, low * std::fma(-0.5, z, 1.0));
}

inline double of_quadrant(const ReducedAngle& angle, int quadrant) {
  const double y =
      (quadrant & 1) == 0 ? cos_series(angle.r, angle.low) : sin_series(angle.r, angle.low);
  return quadrant == 1 || quadrant == 2 ? -y : y;
}

}  // namespace trig

/// cos(x) within 0.8 units in the last place (tests/test_scalar_functions.py). NaN for infinities
/// and for a NaN.
inline double scalar_cos(double x) {
  if (!(x - x == 0.0)) return std::numeric_limits<double>::quiet_NaN();
  const ReducedAngle angle = trig::reduce(x);
  return trig::of_quadrant(angle, angle.quadrant);
}

/// sin(x), likewise; the sine of -0 is -0.
inline double scalar_sin(double x) {
  if (!(x - x == 0.0)) return std::numeric_limits<double>::quiet_NaN();
  if (x > -0x1p-27 && x < 0x1p-27) return x;  // x^3/6 is below a quarter of a unit
  const ReducedAngle angle = trig::reduce(x);
  return trig::of_quadrant(angle, (angle.quadrant + 3) & 3);  // cos(x - pi/2)
}

}  // namespace schuss

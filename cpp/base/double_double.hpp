// SPDX-License-Identifier: MIT
/// Numbers of about 106 bits as the sum of two doubles, for results that have to round well.
#pragma once

#include <cmath>

namespace schuss {

/// high + low, with |low| at most half a unit in the last place of high.
struct DoubleDouble {
  double high = 0.0;
  double low = 0.0;
};

/// a + b exactly (D. E. Knuth's two-sum): any finite a and b whose sum does not overflow.
inline DoubleDouble two_sum(double a, double b) {
  const double sum = a + b;
  const double part = sum - a;
  return {sum, (a - (sum - part)) + (b - part)};
}

/// a * b exactly, where the product neither overflows nor comes near the subnormals.
inline DoubleDouble two_product(double a, double b) {
  const double product = a * b;
  return {product, std::fma(a, b, -product)};
}

/// Relative error below 2^-104 but where the high parts cancel.
inline DoubleDouble add(DoubleDouble a, DoubleDouble b) {
  const DoubleDouble sum = two_sum(a.high, b.high);
  return two_sum(sum.high, sum.low + (a.low + b.low));
}

/// Relative error below 2^-102.
inline DoubleDouble multiply(DoubleDouble a, DoubleDouble b) {
  const DoubleDouble product = two_product(a.high, b.high);
  const double cross = std::fma(a.high, b.low, a.low * b.high);
  return two_sum(product.high, product.low + cross);
}

/// Relative error below 2^-102; b.high is not zero.
inline DoubleDouble divide(DoubleDouble a, DoubleDouble b) {
  const double quotient = a.high / b.high;
  const double rest = std::fma(-quotient, b.high, a.high);  // exact
  return two_sum(quotient, (rest + std::fma(-quotient, b.low, a.low)) / b.high);
}

}  // namespace schuss

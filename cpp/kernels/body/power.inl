// SPDX-License-Identifier: MIT
/// a^b. Whole exponents multiply; others go through e^(b ln|a|) in float64, with ln|a| and the
/// product in two parts. Error, in units in the last place of float64: below 2 + |b|/8; in float32
/// below 0.51. Results below the smallest normal number are +0.
#pragma once

#include "kernels/body/elementary.inl"
#include "kernels/body/registers.inl"
#include "kernels/elementwise.hpp"

namespace schuss {
namespace {

inline constexpr index_t kPowerBlock = 16;
inline constexpr double kMostWholeExponent = 64.0;

/// |a|^b; a = 0, infinities and what needs a sign are for `power_with_limits`.
[[gnu::always_inline]] inline Vec<double> v_power(Vec<double> a, Vec<double> b) {
  using S = Simd<double>;
  using C = ElementaryConstants<double>;
  const auto magnitude = v_abs<double>(a);
  const auto subnormal = S::lt(magnitude, S::set1(C::kMinNormal));
  const auto scaled =
      S::select(subnormal, S::mul(magnitude, S::set1(C::kSubnormalScale)), magnitude);
  constexpr double kBase = C::kExponentBase + C::kExponentBias;
  const auto shift = S::select(subnormal, S::set1(kBase + C::kSubnormalShift), S::set1(kBase));
  const auto ln = log_parts<double>(scaled, shift, S::zero());
  const auto ln_high = S::add(ln.high, ln.low);
  const auto ln_low = S::sub(ln.low, S::sub(ln_high, ln.high));
  const auto product = S::mul(b, ln_high);
  const auto minus_product = S::mul(product, S::set1(-1.0));
  const auto low = S::fma(b, ln_low, S::fma(b, ln_high, minus_product));
  const auto e = v_exp<double>(product);
  const auto near = S::lt(v_abs<double>(product), S::set1(709.0));
  return S::select(near, S::fma(e, low, e), e);
}

/// a^b from r = |a|^b where that is what it should be; all of IEEE's special cases.
inline double power_with_limits(double a, double b, double r) {
  constexpr double kInfinity = __builtin_inf();
  if (b == 0.0 || a == 1.0) return 1.0;
  if (a != a || b != b) return a + b;
  const double size = a < 0.0 ? -a : a;
  const double b_size = b < 0.0 ? -b : b;
  const bool large = b_size >= 0x1p53;  // whole and even
  const bool whole = large || static_cast<double>(static_cast<std::int64_t>(b)) == b;
  const bool odd = !large && whole && (static_cast<std::int64_t>(b) & 1) != 0;
  if (size == 1.0) {
    r = 1.0;
  } else if (size == 0.0 || size == kInfinity || b_size == kInfinity) {
    const bool grows =
        b_size == kInfinity ? (size > 1.0) == (b > 0.0) : (size == kInfinity) == (b > 0.0);
    r = grows ? kInfinity : 0.0;
  }
  if (a < 0.0 && !whole && size != kInfinity) return __builtin_nan("");
  return odd && __builtin_signbit(a) != 0 ? -r : r;
}

template <class T>
inline T power_rounded(double r) {
  constexpr auto kMinNormal = static_cast<double>(ElementaryConstants<T>::kMinNormal);
  return r < kMinNormal && r > -kMinNormal && r != 0.0 ? T{0} : static_cast<T>(r);
}

/// y[i] = a[i]^b[i] for one block; n <= kPowerBlock.
template <class T>
void power_block(Run<T> a, Run<T> b, T* y, index_t n) {
  using S = Simd<double>;
  double left[kPowerBlock];
  double right[kPowerBlock];
  double result[kPowerBlock];
  for (index_t i = 0; i < kPowerBlock; ++i) {
    left[i] = i < n ? static_cast<double>(a.at[i * a.step]) : 1.0;
    right[i] = i < n ? static_cast<double>(b.at[i * b.step]) : 1.0;
  }
  for (index_t i = 0; i < kPowerBlock; i += S::kWidth) {
    S::store(result + i, v_power(S::load(left + i), S::load(right + i)));
  }
  for (index_t i = 0; i < n; ++i) {
    y[i] = power_rounded<T>(power_with_limits(left[i], right[i], result[i]));
  }
}

template <class T>
void power(Run<T> a, Run<T> b, T* y, index_t n) noexcept {
  T block[kPowerBlock];
  for (index_t i = 0; i < n; i += kPowerBlock) {
    const index_t count = n - i < kPowerBlock ? n - i : kPowerBlock;
    power_block<T>({a.at + i * a.step, a.step}, {b.at + i * b.step, b.step}, block, count);
    for (index_t j = 0; j < count; ++j) y[i + j] = block[j];
  }
}

/// d_a = d * (b * a^(b-1)), 0 where b = 0; d_b = d * (y * ln a), 0 where a = 0 and b >= 0.
template <class T>
void power_backward(Run<T> a, Run<T> b, const T* y, const T* d, T* d_a, T* d_b,
                    index_t n) noexcept {
  using S = Simd<T>;
  for (index_t i = 0; i < n; i += kPowerBlock) {
    const index_t count = n - i < kPowerBlock ? n - i : kPowerBlock;
    T base[kPowerBlock];
    T exponent[kPowerBlock];
    for (index_t j = 0; j < kPowerBlock; ++j) {
      base[j] = j < count ? a.at[(i + j) * a.step] : T{1};
      exponent[j] = (j < count ? b.at[(i + j) * b.step] : T{1}) - T{1};
    }
    if (d_a != nullptr) {
      T slope[kPowerBlock];
      power_block<T>({base, 1}, {exponent, 1}, slope, count);
      for (index_t j = 0; j < count; ++j) {
        const T e = b.at[(i + j) * b.step];
        d_a[i + j] = e == T{0} ? T{0} : d[i + j] * (e * slope[j]);
      }
    }
    if (d_b != nullptr) {
      T ln[kPowerBlock];
      for (index_t j = 0; j < kPowerBlock; j += S::kWidth) {
        S::store(ln + j, v_log<T>(S::load(base + j)));
      }
      for (index_t j = 0; j < count; ++j) {
        const bool flat = base[j] == T{0} && b.at[(i + j) * b.step] >= T{0};
        d_b[i + j] = flat ? T{0} : d[i + j] * (y[i + j] * ln[j]);
      }
    }
  }
}

/// x^exponent for a whole exponent, by binary exponentiation from its lowest bit.
template <class T>
[[gnu::always_inline]] inline Vec<T> v_whole_power(Vec<T> x, int exponent) {
  using S = Simd<T>;
  auto result = S::set1(T{1});
  auto square = x;
  bool started = false;
  for (int left = exponent < 0 ? -exponent : exponent; left != 0; left >>= 1) {
    if ((left & 1) != 0) {
      result = started ? S::mul(result, square) : square;
      started = true;
    }
    if (left > 1) square = S::mul(square, square);
  }
  return exponent < 0 ? S::div(S::set1(T{1}), result) : result;
}

/// y[i] = factor * d[i] * x[i]^exponent (d null: x[i]^exponent).
template <class T>
void scaled_power(const T* x, const T* d, T* y, index_t n, double exponent, T factor) {
  using S = Simd<T>;
  const auto store = [&](index_t i, auto at, Vec<T> power) {
    if (d != nullptr) power = S::mul(at.load(d + i), S::mul(S::set1(factor), power));
    at.store(y + i, power);
  };
  const auto each = [&](auto f) {
    constexpr int kWidth = S::kWidth;
    const WholeRegister<T> whole;
    index_t i = 0;
    for (; i + kWidth <= n; i += kWidth) store(i, whole, f(whole.load(x + i)));
    if (i < n) {
      const PartRegister<T> part{S::prefix(n - i)};
      store(i, part, f(part.load(x + i)));
    }
  };
  const bool short_whole = exponent >= -kMostWholeExponent && exponent <= kMostWholeExponent &&
                           static_cast<double>(static_cast<int>(exponent)) == exponent;
  if (short_whole) {
    const int whole = static_cast<int>(exponent);
    if (whole == 1) return each([](Vec<T> v) { return v; });
    if (whole == 2) return each([](Vec<T> v) { return S::mul(v, v); });
    return each([=](Vec<T> v) { return v_whole_power<T>(v, whole); });
  }
  if (exponent == 0.5) return each([](Vec<T> v) { return S::sqrt(v); });
  if (exponent == -0.5) return each([](Vec<T> v) { return S::div(S::set1(T{1}), S::sqrt(v)); });
  const T rounded = static_cast<T>(exponent);
  T block[kPowerBlock];
  for (index_t i = 0; i < n; i += kPowerBlock) {
    const index_t count = n - i < kPowerBlock ? n - i : kPowerBlock;
    power_block<T>({x + i, 1}, {&rounded, 0}, block, count);
    for (index_t j = 0; j < count; ++j) {
      y[i + j] = d == nullptr ? block[j] : d[i + j] * (factor * block[j]);
    }
  }
}

template <class T>
void power_of_number(const T* x, T* y, index_t n, const MapOptions& options) noexcept {
  scaled_power<T>(x, nullptr, y, n, options.a, T{1});
}

template <class T>
void power_of_number_backward(const T* x, const T*, const T* d, T* d_x, index_t n,
                              const MapOptions& options) noexcept {
  if (options.a == 0.0) {
    for (index_t i = 0; i < n; ++i) d_x[i] = T{0};
    return;
  }
  scaled_power<T>(x, d, d_x, n, options.a - 1.0, static_cast<T>(options.a));
}

}  // namespace
}  // namespace schuss

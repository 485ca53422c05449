// SPDX-License-Identifier: MIT
/// Elementary functions from IEEE add, multiply, divide, sqrt, fma and integer operations on bits:
/// the same bits on every instruction set.
///
/// A NaN gives a NaN, infinities and signed zeros give their limits. Results of exp, sigmoid,
/// softplus and erfc below the smallest normal number are +0. Bounds on the error in units in the
/// last place, the float32 ones checked over all 2^32 inputs by
/// tests/cpp/elementary_exhaustive.cpp, the float64 ones measured on random points:
///
///             exp   expm1  log   log1p  tanh  sigmoid  softplus  erf   erfc
///   float32   1.05  1.15   0.90  0.95   1.40  1.20     1.80      1.05  2.10
///   float64   1.00  0.95   0.75  0.80   1.25  1.05     1.35      0.85  1.90
#pragma once

#include "kernels/body/elementary_constants.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

template <class T>
using Vec = typename Simd<T>::V;

/// c[0] + c[1]*x + c[2]*x^2 + ..., by Horner's rule.
template <class T, int kCount, int kFirst = 0>
[[gnu::always_inline]] inline Vec<T> polynomial(Vec<T> x, const T (&c)[kCount]) {
  using S = Simd<T>;
  if constexpr (kFirst == kCount - 1) {
    return S::set1(c[kFirst]);
  } else {
    return S::fma(polynomial<T, kCount, kFirst + 1>(x, c), x, S::set1(c[kFirst]));
  }
}

template <class T>
[[gnu::always_inline]] inline Vec<T> v_abs(Vec<T> x) {
  using S = Simd<T>;
  return S::from_bits(S::iand(S::bits(x), S::iset1(ElementaryConstants<T>::kMagnitudeMask)));
}

/// `magnitude`, whose sign bit is clear, with the sign bit of `sign`.
template <class T>
[[gnu::always_inline]] inline Vec<T> v_with_sign(Vec<T> magnitude, Vec<T> sign) {
  using S = Simd<T>;
  const auto magnitude_mask = S::iset1(ElementaryConstants<T>::kMagnitudeMask);
  const auto sign_bit = S::ixor(S::bits(sign), S::iand(S::bits(sign), magnitude_mask));
  return S::from_bits(S::ior(S::bits(magnitude), sign_bit));
}

/// x > limit ? limit : x; a NaN passes.
template <class T>
[[gnu::always_inline]] inline Vec<T> v_at_most(Vec<T> x, T limit) {
  using S = Simd<T>;
  return S::select(S::lt(S::set1(limit), x), S::set1(limit), x);
}

/// Values below the smallest normal number in magnitude become +0; a NaN passes.
template <class T>
[[gnu::always_inline]] inline Vec<T> v_flush_subnormal(Vec<T> x) {
  using S = Simd<T>;
  const auto small = S::lt(v_abs<T>(x), S::set1(ElementaryConstants<T>::kMinNormal));
  return S::select(small, S::zero(), x);
}

/// x = n ln 2 + high + low with |high| <= ln(2)/2 and an integer n, for |x| below a few hundred.
template <class T>
struct Reduced {
  Vec<T> high;
  Vec<T> low;
  typename Simd<T>::I exponent;  // n in the exponent field of a number
};

template <class T>
[[gnu::always_inline]] inline Reduced<T> reduce(Vec<T> x) {
  using S = Simd<T>;
  using C = ElementaryConstants<T>;
  const auto shifted = S::fma(x, S::set1(C::kLog2E), S::set1(C::kRounder));
  const auto n = S::sub(shifted, S::set1(C::kRounder));
  const auto exact = S::fnma(n, S::set1(C::kLn2Hi), x);
  const auto high = S::fnma(n, S::set1(C::kLn2Lo), exact);
  const auto low = S::fnma(n, S::set1(C::kLn2Lo), S::sub(exact, high));
  return {high, low, S::template shift_left<C::kMantissaBits>(S::bits(shifted))};
}

/// 2^n for a normal power of two.
template <class T>
[[gnu::always_inline]] inline Vec<T> power_of_two(typename Simd<T>::I exponent) {
  using S = Simd<T>;
  return S::from_bits(S::iadd(exponent, S::iset1(ElementaryConstants<T>::kOneBits)));
}

/// e^r - 1 for |r| <= ln(2)/2.
template <class T>
[[gnu::always_inline]] inline Vec<T> expm1_near_zero(Vec<T> r) {
  using S = Simd<T>;
  return S::fma(S::mul(r, r), polynomial<T>(r, ElementaryConstants<T>::kExp), r);
}

/// high + low, low far below high.
template <class T>
struct HighLow {
  Vec<T> high;
  Vec<T> low;
};

/// e^(r.high + r.low).
template <class T>
[[gnu::always_inline]] inline HighLow<T> exp_pair(const Reduced<T>& r) {
  using S = Simd<T>;
  const auto one = S::set1(T{1});
  const auto square = S::mul(r.high, r.high);
  const auto tail = S::fma(square, polynomial<T>(r.high, ElementaryConstants<T>::kExp), r.low);
  const auto sum = S::add(one, r.high);
  const auto rest = S::add(tail, S::sub(r.high, S::sub(sum, one)));
  const auto high = S::add(sum, rest);
  return {high, S::sub(rest, S::sub(high, sum))};
}

/// e^x for kExpMin <= x <= kExpMax; anything for other x.
template <class T>
[[gnu::always_inline]] inline Vec<T> exp_in_range(Vec<T> x) {
  using S = Simd<T>;
  const auto r = reduce<T>(x);
  const auto p = S::add(S::set1(T{1}), expm1_near_zero<T>(r.high));
  return S::from_bits(S::iadd(S::bits(p), r.exponent));  // p * 2^n, even where 2^n overflows
}

template <class T>
[[gnu::always_inline]] inline Vec<T> v_exp(Vec<T> x) {
  using S = Simd<T>;
  using C = ElementaryConstants<T>;
  // x * kMax is the answer for what is left above: +inf, or NaN for a NaN.
  const auto y =
      S::select(S::le(x, S::set1(C::kExpMax)), exp_in_range<T>(x), S::mul(x, S::set1(C::kMax)));
  return S::select(S::lt(x, S::set1(C::kExpMin)), S::zero(), y);
}

template <class T>
[[gnu::always_inline]] inline Vec<T> v_expm1(Vec<T> x) {
  using S = Simd<T>;
  using C = ElementaryConstants<T>;
  const auto one = S::set1(T{1});
  const auto r = reduce<T>(x);
  const auto square = S::mul(r.high, r.high);
  const auto tail = S::mul(square, polynomial<T>(r.high, C::kExp));

  // e^x - 1 = 2^n high + (2^n - 1) + 2^n (tail + low), each sum with its rounding error.
  const auto scale = power_of_two<T>(r.exponent);
  const auto offset = S::sub(scale, one);
  const auto part = S::sub(offset, scale);
  const auto offset_low = S::sub(S::sub(scale, S::sub(offset, part)), S::add(one, part));
  const auto sum = S::fma(scale, r.high, offset);
  const auto sum_low = S::fma(scale, r.high, S::sub(offset, sum));
  auto y = S::add(sum, S::fma(scale, S::add(tail, r.low), S::add(sum_low, offset_low)));

  // Large x: e^x, whose scale may not be a finite number.
  const auto p = S::add(one, S::add(r.high, tail));
  const auto large = S::from_bits(S::iadd(S::bits(p), r.exponent));
  y = S::select(S::lt(S::set1(C::kExpm1Max), x), large, y);
  y = S::select(S::le(x, S::set1(C::kExpMax)), y, S::mul(x, S::set1(C::kMax)));
  y = S::select(S::lt(x, S::set1(C::kExpm1Min)), S::set1(T{-1}), y);
  return S::select(S::eq(x, S::zero()), x, y);
}

/// ln(x) + correction as an unevaluated sum, for a normal, finite x > 0; `shift` is what to take off
/// the exponent, and |correction| is far below 1.
template <class T>
[[gnu::always_inline]] inline HighLow<T> log_parts(Vec<T> x, Vec<T> shift, Vec<T> correction) {
  using S = Simd<T>;
  using C = ElementaryConstants<T>;
  // x = 2^k m with sqrt(1/2) <= m < sqrt(2).
  const auto raised = S::iadd(S::bits(x), S::iset1(C::kOneBits - C::kSqrtHalfBits));
  const auto m = S::from_bits(
      S::iadd(S::iand(raised, S::iset1(C::kMantissaMask)), S::iset1(C::kSqrtHalfBits)));
  const auto base = S::bits(S::set1(C::kExponentBase));
  const auto biased = S::from_bits(S::ior(S::template shift_right<C::kMantissaBits>(raised), base));
  const auto k = S::sub(biased, shift);

  // ln m = f - f^2/2 + s (f^2/2 + z P(z)), s = f / (2 + f), z = s^2.
  const auto f = S::sub(m, S::set1(T{1}));
  const auto s = S::div(f, S::add(S::set1(T{2}), f));
  const auto z = S::mul(s, s);
  const auto half_square = S::mul(S::mul(S::set1(T{0.5}), f), f);
  const auto series = S::fma(z, polynomial<T>(z, C::kLog), half_square);
  const auto rest = S::fnma(s, series, half_square);

  const auto k_ln2 = S::mul(k, S::set1(C::kLn2Hi));  // exact
  const auto sum = S::add(k_ln2, f);
  const auto sum_low = S::sub(f, S::sub(sum, k_ln2));  // exact: k_ln2 is 0 or larger than f
  const auto low = S::add(S::fma(k, S::set1(C::kLn2Lo), sum_low), correction);
  return {sum, S::sub(low, rest)};
}

template <class T>
[[gnu::always_inline]] inline Vec<T> log_in_range(Vec<T> x, Vec<T> shift, Vec<T> correction) {
  const auto parts = log_parts<T>(x, shift, correction);
  return Simd<T>::add(parts.high, parts.low);
}

template <class T>
[[gnu::always_inline]] inline Vec<T> v_log(Vec<T> x) {
  using S = Simd<T>;
  using C = ElementaryConstants<T>;
  const auto infinity = S::set1(static_cast<T>(__builtin_inf()));
  const auto subnormal = S::lt(x, S::set1(C::kMinNormal));
  const auto scaled = S::select(subnormal, S::mul(x, S::set1(C::kSubnormalScale)), x);
  const T base = C::kExponentBase + C::kExponentBias;
  const auto shift = S::select(subnormal, S::set1(base + C::kSubnormalShift), S::set1(base));
  const auto y = log_in_range<T>(scaled, shift, S::zero());
  const auto nan = S::set1(static_cast<T>(__builtin_nan("")));
  const auto negative = S::select(S::eq(x, S::zero()), S::sub(S::zero(), infinity), nan);
  const auto outside = S::select(S::eq(x, infinity), x, negative);
  return S::select(S::mask_and(S::lt(S::zero(), x), S::lt(x, infinity)), y, outside);
}

/// ln(1 + x) for a finite x > -1 but for the sign of zero.
template <class T>
[[gnu::always_inline]] inline Vec<T> log1p_in_range(Vec<T> x) {
  using S = Simd<T>;
  using C = ElementaryConstants<T>;
  const auto one = S::set1(T{1});
  const auto u = S::add(one, x);
  const auto part = S::sub(u, one);
  const auto lost = S::add(S::sub(one, S::sub(u, part)), S::sub(x, part));  // 1 + x - u, exact
  // ln(u + lost) = ln u + w - w^2/2 + ..., w = lost / u.
  const auto w = S::div(lost, u);
  const auto correction = S::fma(S::mul(S::set1(T{-0.5}), w), w, w);
  return log_in_range<T>(u, S::set1(C::kExponentBase + C::kExponentBias), correction);
}

template <class T>
[[gnu::always_inline]] inline Vec<T> v_log1p(Vec<T> x) {
  using S = Simd<T>;
  const auto infinity = S::set1(static_cast<T>(__builtin_inf()));
  const auto minus_one = S::set1(T{-1});
  const auto y = S::select(S::eq(x, S::zero()), x, log1p_in_range<T>(x));
  const auto nan = S::set1(static_cast<T>(__builtin_nan("")));
  const auto negative = S::select(S::eq(x, minus_one), S::sub(S::zero(), infinity), nan);
  const auto outside = S::select(S::eq(x, infinity), x, negative);
  return S::select(S::mask_and(S::lt(minus_one, x), S::lt(x, infinity)), y, outside);
}

/// A polynomial near zero, else 1 - 2 / (e^(2|x|) + 1).
template <class T>
[[gnu::always_inline]] inline Vec<T> v_tanh(Vec<T> x) {
  using S = Simd<T>;
  using C = ElementaryConstants<T>;
  const auto a = v_at_most<T>(v_abs<T>(x), C::kTanhOne);
  const auto z = S::mul(a, a);
  const auto small = S::fma(S::mul(a, z), polynomial<T>(z, C::kTanh), a);
  const auto e = exp_in_range<T>(S::add(a, a));
  const auto one = S::set1(T{1});
  const auto large = S::sub(one, S::div(S::set1(T{2}), S::add(e, one)));
  return v_with_sign<T>(S::select(S::lt(S::set1(C::kTanhSmall), a), large, small), x);
}

/// t = e / (1 + e) with e = e^-|x|, or 1 - t for x >= 0. What e and 1 + e lost in rounding is put
/// back once, which halves the error.
template <class T>
[[gnu::always_inline]] inline Vec<T> v_sigmoid(Vec<T> x) {
  using S = Simd<T>;
  using C = ElementaryConstants<T>;
  const auto one = S::set1(T{1});
  const auto a = v_abs<T>(x);
  const auto r = reduce<T>(S::sub(S::zero(), v_at_most<T>(a, -C::kExpMin)));
  const auto scale = power_of_two<T>(r.exponent);
  const auto p = exp_pair<T>(r);
  const auto e = S::mul(p.high, scale);
  const auto e_low = S::mul(p.low, scale);

  const auto d = S::add(one, e);
  const auto d_low = S::add(S::sub(e, S::sub(d, one)), e_low);
  const auto t = S::div(e, d);
  // (e + e_low)/(d + d_low) = t + (e_low - t d_low)/d to rounding, and 1/d is 1 - t.
  auto low = S::fma(S::fnma(t, d_low, e_low), S::sub(one, t), t);
  low = S::select(S::lt(S::set1(-C::kExpMin), a), S::zero(), low);
  return S::select(S::lt(x, S::zero()), low, S::sub(one, low));
}

/// ln(1 + e^x) = max(x, 0) + log1p(e^-|x|).
template <class T>
[[gnu::always_inline]] inline Vec<T> v_softplus(Vec<T> x) {
  using S = Simd<T>;
  const auto e = v_exp<T>(S::sub(S::zero(), v_abs<T>(x)));
  return S::add(S::select(S::lt(S::zero(), x), x, S::zero()), log1p_in_range<T>(e));
}

/// A polynomial up to 1, else 1 - e^(polynomial).
template <class T>
[[gnu::always_inline]] inline Vec<T> v_erf(Vec<T> x) {
  using S = Simd<T>;
  using C = ElementaryConstants<T>;
  const auto one = S::set1(T{1});
  const auto a = v_at_most<T>(v_abs<T>(x), C::kErfOne);
  const auto small = S::fma(a, polynomial<T>(S::mul(a, a), C::kErf), a);
  const auto exponent = polynomial<T>(S::sub(a, one), C::kLnErfc);
  const auto large = S::sub(one, exp_in_range<T>(exponent));
  return v_with_sign<T>(S::select(S::lt(one, a), large, small), x);
}

/// 1 - erf(x) near zero, else e^(-a^2) times erfcx(a) = P((a - c)/(a + c)) / (1 + 2a) for a = |x|,
/// and 2 minus that for x < 0.
template <class T>
[[gnu::always_inline]] inline Vec<T> v_erfc(Vec<T> x) {
  using S = Simd<T>;
  using C = ElementaryConstants<T>;
  const auto one = S::set1(T{1});
  const auto a = v_at_most<T>(v_abs<T>(x), C::kErfcMax);
  const auto centre = S::set1(C::kErfcCentre);
  const auto q = S::div(S::sub(a, centre), S::add(a, centre));
  const auto p = polynomial<T>(q, C::kErfcx);
  const auto reciprocal = S::div(one, S::fma(S::set1(T{2}), a, one));
  const auto erfcx = S::mul(p, reciprocal);
  // p / (1 + 2a) - erfcx, as 1 + 2a and the product are rounded.
  const auto residual = S::sub(S::fnma(S::add(a, a), erfcx, p), erfcx);
  const auto erfcx_low = S::mul(residual, reciprocal);

  // a^2 = square - square_low exactly, and e^square_low = 1 + square_low to rounding.
  const auto square = S::mul(a, a);
  const auto square_low = S::fnma(a, a, square);
  const auto r = reduce<T>(S::sub(S::zero(), square));
  const auto e = exp_pair<T>(r);
  const auto e_low = S::fma(e.high, square_low, e.low);
  auto y = S::fma(e.high, erfcx, S::fma(e_low, erfcx, S::mul(e.high, erfcx_low)));
  y = v_flush_subnormal<T>(S::mul(y, power_of_two<T>(r.exponent)));
  y = S::select(S::lt(x, S::zero()), S::sub(S::set1(T{2}), y), y);

  const auto small = S::sub(one, S::fma(x, polynomial<T>(S::mul(x, x), C::kErf), x));
  return S::select(S::lt(S::set1(C::kErfcSmall), a), y, small);
}

/// y[i] = f(x[i]); y may be x. Absent lanes of the last register are +0.
template <class T, class F>
[[gnu::always_inline]] inline void map(const T* x, T* y, index_t n, F f) {
  using S = Simd<T>;
  index_t i = 0;
  for (; i + S::kWidth <= n; i += S::kWidth) S::store(y + i, f(S::load(x + i)));
  if (i < n) {
    const auto first = S::prefix(n - i);
    S::store(y + i, first, f(S::load(x + i, first)));
  }
}

template <class T, Unary kFunction>
void unary(const T* x, T* y, index_t n) noexcept {
  map(x, y, n, [](Vec<T> v) {
    if constexpr (kFunction == Unary::kExp) return v_exp<T>(v);
    if constexpr (kFunction == Unary::kExpm1) return v_expm1<T>(v);
    if constexpr (kFunction == Unary::kLog) return v_log<T>(v);
    if constexpr (kFunction == Unary::kLog1p) return v_log1p<T>(v);
    if constexpr (kFunction == Unary::kTanh) return v_tanh<T>(v);
    if constexpr (kFunction == Unary::kSigmoid) return v_sigmoid<T>(v);
    if constexpr (kFunction == Unary::kSoftplus) return v_softplus<T>(v);
    if constexpr (kFunction == Unary::kErf) return v_erf<T>(v);
    if constexpr (kFunction == Unary::kErfc) return v_erfc<T>(v);
    if constexpr (kFunction == Unary::kSqrt) return Simd<T>::sqrt(v);
  });
}

template <class T>
constexpr void fill_unary(Kernels<T>& table) {
  const auto put = [&](Unary at, UnaryKernel<T> kernel) {
    table.unary[static_cast<int>(at)] = kernel;
  };
  put(Unary::kExp, unary<T, Unary::kExp>);
  put(Unary::kExpm1, unary<T, Unary::kExpm1>);
  put(Unary::kLog, unary<T, Unary::kLog>);
  put(Unary::kLog1p, unary<T, Unary::kLog1p>);
  put(Unary::kTanh, unary<T, Unary::kTanh>);
  put(Unary::kSigmoid, unary<T, Unary::kSigmoid>);
  put(Unary::kSoftplus, unary<T, Unary::kSoftplus>);
  put(Unary::kErf, unary<T, Unary::kErf>);
  put(Unary::kErfc, unary<T, Unary::kErfc>);
  put(Unary::kSqrt, unary<T, Unary::kSqrt>);
}

}  // namespace
}  // namespace schuss

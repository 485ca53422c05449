// SPDX-License-Identifier: MIT
/// Elementwise arithmetic and its derivatives, by the contract of kernels/elementwise.hpp.
#pragma once

#include "kernels/body/power.inl"
#include "kernels/elementwise.hpp"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

template <class T>
[[gnu::always_inline]] inline Vec<T> v_neg(Vec<T> x) {
  return Simd<T>::mul(x, Simd<T>::set1(T{-1}));  // 0 - x would lose the sign of zero
}

/// f(i, access) for each register of 0..n-1.
template <class T, class F>
[[gnu::always_inline]] inline void over_registers(index_t n, F f) {
  constexpr int kWidth = Simd<T>::kWidth;
  const WholeRegister<T> whole;
  index_t i = 0;
  for (; i + kWidth <= n; i += kWidth) f(i, whole);
  if (i < n) f(i, PartRegister<T>{Simd<T>::prefix(n - i)});
}

// ---- one operand ---------------------------------------------------------------------------------

template <class T, Map kMap>
[[gnu::always_inline]] inline Vec<T> map_forward(Vec<T> x, Vec<T> low, Vec<T> high) {
  using S = Simd<T>;
  if constexpr (kMap == Map::kNeg) return v_neg<T>(x);
  if constexpr (kMap == Map::kAbs) return v_abs<T>(x);
  if constexpr (kMap == Map::kExp) return v_exp<T>(x);
  if constexpr (kMap == Map::kExpm1) return v_expm1<T>(x);
  if constexpr (kMap == Map::kLog) return v_log<T>(x);
  if constexpr (kMap == Map::kLog1p) return v_log1p<T>(x);
  if constexpr (kMap == Map::kSqrt) return S::sqrt(x);
  if constexpr (kMap == Map::kSquare) return S::mul(x, x);
  if constexpr (kMap == Map::kReciprocal) return S::div(S::set1(T{1}), x);
  if constexpr (kMap == Map::kErf) return v_erf<T>(x);
  if constexpr (kMap == Map::kClamp) {
    const auto raised = S::select(S::lt(x, low), low, x);
    return S::select(S::lt(high, raised), high, raised);
  }
}

template <class T, Map kMap>
[[gnu::always_inline]] inline Vec<T> map_derivative(Vec<T> x, Vec<T> y, Vec<T> d, Vec<T> low,
                                                    Vec<T> high) {
  using S = Simd<T>;
  const auto zero = S::zero();
  if constexpr (kMap == Map::kNeg) return v_neg<T>(d);
  if constexpr (kMap == Map::kAbs) {
    const auto below = S::select(S::lt(x, zero), v_neg<T>(d), zero);
    const auto known = S::select(S::lt(zero, x), d, below);
    return S::select(S::unordered(x, x), x, known);
  }
  if constexpr (kMap == Map::kExp) return S::mul(d, y);
  if constexpr (kMap == Map::kExpm1) return S::fma(d, y, d);
  if constexpr (kMap == Map::kLog) return S::div(d, x);
  if constexpr (kMap == Map::kLog1p) return S::div(d, S::add(S::set1(T{1}), x));
  if constexpr (kMap == Map::kSqrt) return S::div(d, S::add(y, y));
  if constexpr (kMap == Map::kSquare) return S::mul(d, S::add(x, x));
  if constexpr (kMap == Map::kReciprocal) return v_neg<T>(S::mul(d, S::mul(y, y)));
  if constexpr (kMap == Map::kErf) {
    constexpr T kTwoOverSqrtPi = static_cast<T>(0x1.20dd750429b6dp+0);
    return S::mul(d, S::mul(S::set1(kTwoOverSqrtPi), v_exp<T>(v_neg<T>(S::mul(x, x)))));
  }
  if constexpr (kMap == Map::kClamp) {
    return S::select(S::mask_and(S::le(low, x), S::le(x, high)), d, zero);
  }
}

template <class T, Map kMap>
void map_kernel(const T* x, T* y, index_t n, const MapOptions& options) noexcept {
  const auto low = Simd<T>::set1(static_cast<T>(options.a));
  const auto high = Simd<T>::set1(static_cast<T>(options.b));
  over_registers<T>(
      n, [=](index_t i, auto at) __attribute__((always_inline)) {
        at.store(y + i, map_forward<T, kMap>(at.load(x + i), low, high));
      });
}

template <class T, Map kMap>
void map_backward(const T* x, const T* y, const T* d, T* d_x, index_t n,
                  const MapOptions& options) noexcept {
  const auto low = Simd<T>::set1(static_cast<T>(options.a));
  const auto high = Simd<T>::set1(static_cast<T>(options.b));
  over_registers<T>(
      n, [=](index_t i, auto at) __attribute__((always_inline)) {
        auto input = Simd<T>::zero();
        auto output = Simd<T>::zero();
        if constexpr (derivative_reads_input(kMap)) input = at.load(x + i);
        if constexpr (derivative_reads_output(kMap)) output = at.load(y + i);
        at.store(d_x + i, map_derivative<T, kMap>(input, output, at.load(d + i), low, high));
      });
}

// ---- two operands --------------------------------------------------------------------------------

template <class T, Pair kPair>
[[gnu::always_inline]] inline Vec<T> pair_forward(Vec<T> a, Vec<T> b) {
  using S = Simd<T>;
  if constexpr (kPair == Pair::kAdd) return S::add(a, b);
  if constexpr (kPair == Pair::kSub) return S::sub(a, b);
  if constexpr (kPair == Pair::kMul) return S::mul(a, b);
  if constexpr (kPair == Pair::kDiv) return S::div(a, b);
  if constexpr (kPair == Pair::kMaximum || kPair == Pair::kMinimum) {
    const auto b_wins = kPair == Pair::kMaximum ? S::lt(a, b) : S::lt(b, a);
    return S::select(S::mask_or(b_wins, S::unordered(b, b)), b, a);
  }
}

/// The gradients with respect to a and b.
template <class T, Pair kPair>
[[gnu::always_inline]] inline HighLow<T> pair_derivative(Vec<T> a, Vec<T> b, Vec<T> y, Vec<T> d) {
  using S = Simd<T>;
  if constexpr (kPair == Pair::kAdd) return {d, d};
  if constexpr (kPair == Pair::kSub) return {d, v_neg<T>(d)};
  if constexpr (kPair == Pair::kMul) return {S::mul(d, b), S::mul(d, a)};
  if constexpr (kPair == Pair::kDiv) {
    const auto d_a = S::div(d, b);
    return {d_a, v_neg<T>(S::mul(d_a, y))};
  }
  if constexpr (kPair == Pair::kMaximum || kPair == Pair::kMinimum) {
    const auto b_wins = kPair == Pair::kMaximum ? S::lt(a, b) : S::lt(b, a);
    const auto a_wins = kPair == Pair::kMaximum ? S::lt(b, a) : S::lt(a, b);
    const auto even = S::eq(a, b);
    const auto half = S::mul(d, S::set1(T{0.5}));
    return {S::select(even, half, S::select(b_wins, S::zero(), d)),
            S::select(even, half, S::select(a_wins, S::zero(), d))};
  }
}

/// A run as registers: loaded, or one number in every lane.
template <class T, bool kOne>
struct RunRegisters {
  using S = Simd<T>;
  explicit RunRegisters(Run<T> run) : at_(run.at), one_(kOne ? S::set1(*run.at) : S::zero()) {}
  template <class At>
  [[gnu::always_inline]] Vec<T> load(At at, index_t i) const {
    if constexpr (kOne) return one_;
    return at.load(at_ + i);
  }

 private:
  const T* at_;
  Vec<T> one_;
};

/// f(registers of a, registers of b), by their steps.
template <class T, class F>
[[gnu::always_inline]] inline void with_runs(Run<T> a, Run<T> b, F f) {
  if (a.step != 0 && b.step != 0) return f(RunRegisters<T, false>(a), RunRegisters<T, false>(b));
  if (a.step != 0) return f(RunRegisters<T, false>(a), RunRegisters<T, true>(b));
  if (b.step != 0) return f(RunRegisters<T, true>(a), RunRegisters<T, false>(b));
  return f(RunRegisters<T, true>(a), RunRegisters<T, true>(b));
}

template <class T, Pair kPair>
void pair_kernel(Run<T> a, Run<T> b, T* y, index_t n) noexcept {
  if (n == 0) return;
  with_runs(
      a, b, [=](auto left, auto right) __attribute__((always_inline)) {
        over_registers<T>(
            n, [=](index_t i, auto at) __attribute__((always_inline)) {
              at.store(y + i, pair_forward<T, kPair>(left.load(at, i), right.load(at, i)));
            });
      });
}

template <class T, Pair kPair>
void pair_backward(Run<T> a, Run<T> b, const T* y, const T* d, T* d_a, T* d_b, index_t n) noexcept {
  if (n == 0) return;
  with_runs(
      a, b, [=](auto left, auto right) __attribute__((always_inline)) {
        over_registers<T>(
            n, [=](index_t i, auto at) __attribute__((always_inline)) {
              auto output = Simd<T>::zero();
              if constexpr (kPair == Pair::kDiv) output = at.load(y + i);
              const auto both = pair_derivative<T, kPair>(left.load(at, i), right.load(at, i),
                                                          output, at.load(d + i));
              if (d_a != nullptr) at.store(d_a + i, both.high);
              if (d_b != nullptr) at.store(d_b + i, both.low);
            });
      });
}

template <class T, Map kMap>
constexpr void put_map(Kernels<T>& table) {
  table.map[static_cast<int>(kMap)] = map_kernel<T, kMap>;
  table.map_backward[static_cast<int>(kMap)] = map_backward<T, kMap>;
}

template <class T, Pair kPair>
constexpr void put_pair(Kernels<T>& table) {
  table.pair[static_cast<int>(kPair)] = pair_kernel<T, kPair>;
  table.pair_backward[static_cast<int>(kPair)] = pair_backward<T, kPair>;
}

template <class T>
constexpr void fill_elementwise(Kernels<T>& table) {
  put_map<T, Map::kNeg>(table);
  put_map<T, Map::kAbs>(table);
  put_map<T, Map::kExp>(table);
  put_map<T, Map::kExpm1>(table);
  put_map<T, Map::kLog>(table);
  put_map<T, Map::kLog1p>(table);
  put_map<T, Map::kSqrt>(table);
  put_map<T, Map::kSquare>(table);
  put_map<T, Map::kReciprocal>(table);
  put_map<T, Map::kErf>(table);
  put_map<T, Map::kClamp>(table);
  table.map[static_cast<int>(Map::kPow)] = power_of_number<T>;
  table.map_backward[static_cast<int>(Map::kPow)] = power_of_number_backward<T>;
  put_pair<T, Pair::kAdd>(table);
  put_pair<T, Pair::kSub>(table);
  put_pair<T, Pair::kMul>(table);
  put_pair<T, Pair::kDiv>(table);
  put_pair<T, Pair::kMaximum>(table);
  put_pair<T, Pair::kMinimum>(table);
  table.pair[static_cast<int>(Pair::kPow)] = power<T>;
  table.pair_backward[static_cast<int>(Pair::kPow)] = power_backward<T>;
}

}  // namespace
}  // namespace schuss

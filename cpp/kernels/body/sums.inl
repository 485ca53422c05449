// SPDX-License-Identifier: MIT
/// Sums in lanes: narrow outputs, gradients of small layers, losses; and sums down columns.
#pragma once

#include "kernels/body/lanes.inl"
#include "kernels/body/registers.inl"
#include "kernels/body/transpose.inl"
#include "kernels/body/unroll.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

template <class T>
inline T relu_of(T x) {
  return x <= T(0) ? T(0) : x;
}

/// y = (x*w + 0) + bias down a contiguous column: what the lanes and their tree give for one input.
template <class T>
void one_input_forward(const NarrowForward<T>& p) {
  using S = Simd<T>;
  const auto weight = S::set1(p.weight[0]);
  const auto bias = S::set1(p.bias == nullptr ? T(0) : p.bias[0]);
  const bool add_bias = p.bias != nullptr;
  for (index_t r = 0; r < p.rows; r += S::kWidth) {
    const auto first = S::prefix(p.rows - r < S::kWidth ? p.rows - r : S::kWidth);
    auto y = S::fma(S::load(p.x + r, first), weight, S::zero());
    if (add_bias) y = S::add(y, bias);
    if (p.relu) y = S::select(S::le(y, S::zero()), S::zero(), y);
    S::store(p.y + r, first, y);
  }
}

/// The lanes of kRows rows and all outputs, down to one register each: sums[row*kOutputs + o].
template <class T, int kRows, int kOutputs>
[[gnu::always_inline]] inline void narrow_lanes(const NarrowForward<T>& p, index_t r,
                                                typename Simd<T>::V* sums) {
  Lanes<T> acc[kRows * kOutputs];
  unroll<kRows * kOutputs>([&](auto i)
                               __attribute__((always_inline)) { acc[i] = Lanes<T>::zero(); });
  const auto columns = [&](index_t i, auto load) __attribute__((always_inline)) {
    Lanes<T> weight[kOutputs];  // padded with +0: whole loads
    unroll<kOutputs>([&](auto o) __attribute__((always_inline)) {
      weight[o] = Lanes<T>::load(p.weight + o * p.ldw + i);
    });
    unroll<kRows>([&](auto row) __attribute__((always_inline)) {
      const Lanes<T> x = load(p.x + (r + row) * p.ldx + i);
      unroll<kOutputs>([&](auto o) __attribute__((always_inline)) {
        acc[row * kOutputs + o] = fma(x, weight[o], acc[row * kOutputs + o]);
      });
    });
  };
  const index_t whole = p.n_in / kLanes<T> * kLanes<T>;
  for (index_t i = 0; i < whole; i += kLanes<T>) {
    columns(
        i, [](const T* x) __attribute__((always_inline)) { return Lanes<T>::load(x); });
  }
  if (whole < p.n_in) {
    const index_t rest = p.n_in - whole;
    columns(
        whole, [=](const T* x) __attribute__((always_inline)) { return Lanes<T>::load(x, rest); });
  }
  unroll<kRows * kOutputs>([&](auto i)
                               __attribute__((always_inline)) { sums[i] = tree_register(acc[i]); });
}

/// Rows whose outputs fill a register; the sums of as many as leave half of the registers free are
/// made together, and the last levels of all trees at once.
template <class T, int kOutputs>
void narrow_rows(const NarrowForward<T>& p) {
  using S = Simd<T>;
  using V = typename S::V;
  constexpr int kFit = S::kRegisters / 2 / Lanes<T>::kParts / kOutputs;
  constexpr int kAtOnce = kFit < 1 ? 1 : kFit;
  constexpr int kFull = S::kWidth / kOutputs;
  constexpr int kPieces = kFull / kAtOnce < 1 ? 1 : kFull / kAtOnce;
  constexpr int kPieceRows = kFull < kAtOnce ? kFull : kAtOnce;
  constexpr int kGroup = kPieces * kPieceRows;
  index_t r = 0;
  if constexpr (kGroup > 1) {
    T bias[S::kWidth] = {};
    for (int i = 0; i < kGroup * kOutputs; ++i) {
      bias[i] = p.bias == nullptr ? T(0) : p.bias[i % kOutputs];
    }
    const bool add_bias = p.bias != nullptr;
    const bool in_place = kOutputs == 1 && kGroup == S::kWidth && p.ldy == 1;
    for (; r + kGroup <= p.rows; r += kGroup) {
      V sums[S::kWidth];
      unroll<S::kWidth>([&](auto i) __attribute__((always_inline)) { sums[i] = S::zero(); });
      unroll<kPieces>([&](auto piece) __attribute__((always_inline)) {
        constexpr int kFirst = piece * kPieceRows;
        narrow_lanes<T, kPieceRows, kOutputs>(p, r + kFirst, sums + kFirst * kOutputs);
      });
      V y = trees_of<T>(sums);
      if (add_bias) y = S::add(y, S::load(bias));
      if (p.relu) y = S::select(S::le(y, S::zero()), S::zero(), y);
      if (in_place) {
        S::store(p.y + r, y);
        continue;
      }
      T line[S::kWidth];
      S::store(line, y);
      unroll<kGroup * kOutputs>([&](auto i) __attribute__((always_inline)) {
        p.y[(r + i / kOutputs) * p.ldy + i % kOutputs] = line[i];
      });
    }
  }
  for (; r < p.rows; ++r) {
    V sums[kOutputs];
    narrow_lanes<T, 1, kOutputs>(p, r, sums);
    unroll<kOutputs>([&](auto o) __attribute__((always_inline)) {
      T y = S::tree(sums[o]);
      if (p.bias != nullptr) y = y + p.bias[o];
      p.y[r * p.ldy + o] = p.relu ? relu_of(y) : y;
    });
  }
}

template <class T>
void narrow_forward(const NarrowForward<T>& p) noexcept {
  static_assert(kNarrowOutputs == 4);
  if (p.n_in == 1 && p.n_out == 1 && p.ldx == 1 && p.ldy == 1) return one_input_forward(p);
  switch (p.n_out) {
    case 1:
      return narrow_rows<T, 1>(p);
    case 2:
      return narrow_rows<T, 2>(p);
    case 3:
      return narrow_rows<T, 3>(p);
    default:
      return narrow_rows<T, 4>(p);
  }
}

/// A column of up to kChunkRows elements as a contiguous run: in place when it is one already.
template <class T>
const T* contiguous_column(const T* column, index_t ld, index_t rows, T* copy) {
  if (ld == 1) return column;
  for (index_t r = 0; r < rows; ++r) copy[r] = column[r * ld];
  return copy;
}

/// Sum of a[r]*b[r] (b null: of a[r]) over rows in lanes and their tree.
template <class T>
T lane_dot(const T* a, const T* b, index_t rows) {
  Lanes<T> acc = Lanes<T>::zero();
  for (index_t r = 0; r < rows; r += kLanes<T>) {
    const index_t n = rows - r < kLanes<T> ? rows - r : kLanes<T>;
    const Lanes<T> left = n == kLanes<T> ? Lanes<T>::load(a + r) : Lanes<T>::load(a + r, n);
    if (b == nullptr) {
      acc = add(acc, left);
    } else {
      const Lanes<T> right = n == kLanes<T> ? Lanes<T>::load(b + r) : Lanes<T>::load(b + r, n);
      acc = fma(left, right, acc);
    }
  }
  return tree_sum(acc);
}

template <class T>
void small_gradient(const SmallGradient<T>& p) noexcept {
  T x_copy[kSmallInputs][kChunkRows];
  T d_copy[kChunkRows];
  const T* x[kSmallInputs];
  for (index_t i = 0; i < p.n_in; ++i) {
    x[i] = contiguous_column(p.x + i, p.ldx, p.rows, x_copy[i]);
  }
  for (index_t o = 0; o < p.n_out; ++o) {
    const T* d = contiguous_column(p.d_y + o, p.ldd, p.rows, d_copy);
    for (index_t i = 0; i < p.n_in; ++i) {
      T* to = p.d_weight + o * p.ldw + i;
      const T sum = lane_dot(x[i], d, p.rows);
      *to = p.add ? *to + sum : sum;
    }
    if (p.d_bias != nullptr) {
      const T sum = lane_dot<T>(d, nullptr, p.rows);
      p.d_bias[o] = p.add ? p.d_bias[o] + sum : sum;
    }
  }
}

/// Sums down kVecs registers of columns, the last of which may be in part.
template <class T, int kVecs, class Last>
[[gnu::always_inline]] inline void sums_down(const T* x, index_t ldx, index_t rows, T* sums,
                                             Start start, Finish finish, Last last) {
  using S = Simd<T>;
  const auto load = [&](auto v, const T* from) __attribute__((always_inline)) {
    if constexpr (v == kVecs - 1) {
      return last.load(from + v * S::kWidth);
    } else {
      return S::load(from + v * S::kWidth);
    }
  };
  typename S::V acc[kVecs];
  unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
    acc[v] = start == Start::kResume ? load(v, sums) : S::zero();
  });
  for (index_t r = 0; r < rows; ++r) {
    unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
      acc[v] = S::add(acc[v], load(v, x + r * ldx));
    });
  }
  unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
    if (finish == Finish::kAdd) acc[v] = S::add(load(v, sums), acc[v]);
    if constexpr (v == kVecs - 1) {
      last.store(sums + v * S::kWidth, acc[v]);
    } else {
      S::store(sums + v * S::kWidth, acc[v]);
    }
  });
}

template <class T>
void column_sums(const T* x, index_t ldx, index_t rows, index_t cols, T* sums, Start start,
                 Finish finish) noexcept {
  constexpr index_t kWidth = Simd<T>::kWidth;
  index_t j = 0;
  const auto run = [&](auto vecs) __attribute__((always_inline)) {
    with_register<T>(
        cols - j - (vecs - 1) * kWidth, [&](auto last) __attribute__((always_inline)) {
          sums_down<T, vecs>(x + j, ldx, rows, sums + j, start, finish, last);
        });
    j += vecs * kWidth;
  };
  // Eight chains cover an addition's latency.
  while (j < cols) {
    const index_t left = (cols - j + kWidth - 1) / kWidth;
    if (left >= 8) {
      run(Index<8>{});
    } else if (left >= 4) {
      run(Index<4>{});
    } else if (left >= 2) {
      run(Index<2>{});
    } else {
      run(Index<1>{});
    }
  }
}

template <class T>
double sum_f64(const T* x, index_t n) noexcept {
  Lanes<double> acc = Lanes<double>::zero();
  index_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) add_wide(Lanes<T>::load(x + i), acc);
  if (i < n) add_wide(Lanes<T>::load(x + i, n - i), acc);
  return tree_sum(acc);
}

template <class T>
void add_into(const T* from, T* to, index_t n) noexcept {
  using S = Simd<T>;
  index_t i = 0;
  for (; i + S::kWidth <= n; i += S::kWidth) {
    S::store(to + i, S::add(S::load(to + i), S::load(from + i)));
  }
  for (; i < n; ++i) to[i] = to[i] + from[i];
}

/// x - x is +0 for a finite x and NaN for the others.
template <class T>
bool all_finite(const T* x, index_t n) noexcept {
  using S = Simd<T>;
  index_t i = 0;
  for (; i + S::kWidth <= n; i += S::kWidth) {
    const auto v = S::load(x + i);
    const auto zero = S::sub(v, v);
    if (S::any(S::unordered(zero, zero))) return false;
  }
  for (; i < n; ++i) {
    if (!(x[i] - x[i] == T(0))) return false;
  }
  return true;
}

template <class T>
constexpr void fill_sums(Kernels<T>& table) {
  table.narrow_forward = &narrow_forward<T>;
  table.small_gradient = &small_gradient<T>;
  table.column_sums = &column_sums<T>;
  table.sum_f64 = &sum_f64<T>;
  table.add = &add_into<T>;
  table.all_finite = &all_finite<T>;
}

}  // namespace
}  // namespace schuss

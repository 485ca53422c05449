// SPDX-License-Identifier: MIT
/// Wide layers with few outputs: the rows of x are read where they lie.
///
/// Forward, registers hold the outputs of a few rows. Backward, they hold inputs: with ten outputs,
/// say, registers along the outputs would be idle in six lanes of sixteen.
#pragma once

#include "kernels/body/lanes.inl"
#include "kernels/body/unroll.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

template <class T>
[[gnu::always_inline]] inline const T* row_at(const T* x, index_t ldx, const index_t* list,
                                              index_t r) {
  return x + (list != nullptr ? list[r] : r) * ldx;
}

/// Rows of one forward tile: accumulators fill the registers but for the weights' and one.
template <class T>
constexpr int few_rows() {
  constexpr int kRows = (Simd<T>::kRegisters >= 32 ? 24 : 12) / Lanes<T>::kParts;
  return kRows < 1 ? 1 : (kRows > 12 ? 12 : kRows);
}

/// Rows first..first+kRows-1. A cache line of each row goes with the same line of one that comes
/// kRows later, which is fetched meanwhile.
template <class T, int kRows>
void few_forward_tile(const FewForward<T>& p, index_t first) {
  using S = Simd<T>;
  constexpr int kParts = Lanes<T>::kParts;
  constexpr index_t kLine = kLanes<T>;
  const T* row[kRows];
  const T* next[kRows];
  Lanes<T> acc[kRows];
  unroll<kRows>([&](auto r) __attribute__((always_inline)) {
    const index_t later = first + r + few_rows<T>();
    row[r] = row_at(p.x, p.ldx, p.list, first + r);
    next[r] = row_at(p.x, p.ldx, p.list, later < p.known ? later : first + r);
    if (p.resume) {
      acc[r] = Lanes<T>::load(p.y + (first + r) * kLine);
    } else {
      acc[r] = p.bias == nullptr ? Lanes<T>::zero() : Lanes<T>::load(p.bias);
    }
  });
  const T* w = p.weight;
  const auto step = [&](index_t i) __attribute__((always_inline)) {
    const Lanes<T> weight = Lanes<T>::load(w);
    w += kLine;
    unroll<kRows>([&](auto r) __attribute__((always_inline)) {
      const auto x = S::broadcast(row[r] + i);
      unroll<kParts>([&](auto j) __attribute__((always_inline)) {
        acc[r].part[j] = S::fma(x, weight.part[j], acc[r].part[j]);
      });
    });
  };
  index_t i = 0;
  for (; i + kLine <= p.n_in; i += kLine) {
    unroll<kRows>([&](auto r) __attribute__((always_inline)) { __builtin_prefetch(next[r] + i); });
    for (index_t j = i; j < i + kLine; ++j) step(j);
  }
  for (; i < p.n_in; ++i) step(i);
  unroll<kRows>([&](auto r) __attribute__((always_inline)) {
    __builtin_prefetch(next[r] + p.n_in - 1);
    acc[r].store(p.y + (first + r) * kLine, kLine);
  });
}

template <class T>
using FewForwardTile = void (*)(const FewForward<T>& p, index_t first);

/// Tiles of 1..few_rows() rows.
template <class T>
struct FewForwardTiles {
  FewForwardTile<T> of[few_rows<T>()];

  template <int... kIndices>
  static constexpr FewForwardTiles make(std::integer_sequence<int, kIndices...>) {
    return {{&few_forward_tile<T, kIndices + 1>...}};
  }
  static constexpr FewForwardTiles make() {
    return make(std::make_integer_sequence<int, few_rows<T>()>{});
  }
};

template <class T>
void few_forward(const FewForward<T>& p) noexcept {
  static constexpr auto kTiles = FewForwardTiles<T>::make();
  constexpr int kRows = few_rows<T>();
  index_t first = 0;
  for (; first + kRows <= p.rows; first += kRows) few_forward_tile<T, kRows>(p, first);
  if (first < p.rows) kTiles.of[p.rows - first - 1](p, first);
}

/// Registers of inputs side by side, and outputs, of one gradient tile.
inline constexpr int kFewVecs = 2;
inline constexpr index_t kFewOutputs = 6;

/// Chains of kOutputs outputs from `first` on and the `columns` inputs from `at` on.
template <class T, int kOutputs, bool kPartial>
void few_gradient_tile(const FewGradient<T>& p, index_t at, index_t columns, index_t first,
                       T* sums) {
  using S = Simd<T>;
  using V = typename S::V;
  typename S::P present[kFewVecs];
  V acc[kOutputs][kFewVecs];
  unroll<kFewVecs>([&](auto v) __attribute__((always_inline)) {
    const index_t n = columns - v * S::kWidth;
    present[v] = S::prefix(!kPartial || n > S::kWidth ? S::kWidth : (n < 0 ? 0 : n));
  });
  unroll<kOutputs * kFewVecs>([&](auto i) __attribute__((always_inline)) {
    acc[i / kFewVecs][i % kFewVecs] = S::zero();
  });
  const T* d = p.d + first;
  for (index_t r = 0; r < p.rows; ++r) {
    const T* x = row_at(p.x, p.ldx, p.list, r) + at;
    if (first == 0) __builtin_prefetch(x + kFewVecs * S::kWidth);
    V value[kFewVecs];
    unroll<kFewVecs>([&](auto v) __attribute__((always_inline)) {
      if constexpr (kPartial) {
        value[v] = S::load(x + v * S::kWidth, present[v]);
      } else {
        value[v] = S::load(x + v * S::kWidth);
      }
    });
    unroll<kOutputs>([&](auto o) __attribute__((always_inline)) {
      const V slope = S::broadcast(d + o);
      unroll<kFewVecs>([&](auto v) __attribute__((always_inline)) {
        acc[o][v] = S::fma(value[v], slope, acc[o][v]);
      });
    });
    d += kLanes<T>;
  }
  unroll<kOutputs * kFewVecs>([&](auto i) __attribute__((always_inline)) {
    constexpr index_t kColumn = i % kFewVecs * S::kWidth;
    S::store(sums + (first + i / kFewVecs) * (kFewVecs * S::kWidth) + kColumn,
             acc[i / kFewVecs][i % kFewVecs]);
  });
}

template <class T>
using FewGradientTile = void (*)(const FewGradient<T>& p, index_t at, index_t columns,
                                 index_t first, T* sums);

/// Tiles of 1..kFewOutputs outputs.
template <class T, bool kPartial>
inline FewGradientTile<T> few_gradient_tile_of(index_t outputs) {
  static_assert(kFewOutputs == 6);
  static constexpr FewGradientTile<T> kTiles[kFewOutputs] = {
      &few_gradient_tile<T, 1, kPartial>, &few_gradient_tile<T, 2, kPartial>,
      &few_gradient_tile<T, 3, kPartial>, &few_gradient_tile<T, 4, kPartial>,
      &few_gradient_tile<T, 5, kPartial>, &few_gradient_tile<T, 6, kPartial>};
  return kTiles[outputs - 1];
}

template <class T>
void few_gradient(const FewGradient<T>& p) noexcept {
  constexpr index_t kColumns = kFewVecs * Simd<T>::kWidth;
  T sums[kLanes<T> * kColumns];  // [outputs, columns]: the transpose of what d_weight holds
  for (index_t at = 0; at < p.n_in; at += kColumns) {
    const index_t columns = p.n_in - at < kColumns ? p.n_in - at : kColumns;
    index_t first = 0;
    for (index_t tiles = (p.n_out + kFewOutputs - 1) / kFewOutputs; tiles > 0; --tiles) {
      const index_t n = (p.n_out - first + tiles - 1) / tiles;
      const auto tile = columns == kColumns ? few_gradient_tile_of<T, false>(n)
                                            : few_gradient_tile_of<T, true>(n);
      tile(p, at, columns, first, sums);
      first += n;
    }
    for (index_t i = 0; i < columns; ++i) {
      T* to = p.d_weight + (at + i) * kLanes<T>;
      for (index_t o = 0; o < p.n_out; ++o) {
        const T sum = sums[o * kColumns + i];
        to[o] = p.add ? to[o] + sum : sum;
      }
    }
  }
}

template <class T>
constexpr void fill_few(Kernels<T>& table) {
  table.few_forward = &few_forward<T>;
  table.few_gradient = &few_gradient<T>;
}

}  // namespace
}  // namespace schuss

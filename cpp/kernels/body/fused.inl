// SPDX-License-Identifier: MIT
/// Narrow layers in one walk: outputs, losses and gradients of a few rows while they are in L1.
#pragma once

#include <cstddef>

#include "kernels/body/lanes.inl"
#include "kernels/body/unroll.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

/// Rows that are in flight together: a third of a 32 KiB cache, so that the next ones fit beside them.
inline constexpr index_t kWalkBytes = 12 * 1024;
inline constexpr index_t kWalkRows = 64;
inline constexpr index_t kLineSize = 64;

template <class T>
inline index_t walk_rows(index_t n_in) {
  constexpr index_t kGrain = 8;
  const index_t rows = kWalkBytes / (n_in * static_cast<index_t>(sizeof(T))) / kGrain * kGrain;
  return rows < kGrain ? kGrain : (rows > kWalkRows ? kWalkRows : rows);
}

/// Asks for every line of the elements from p on.
template <class T>
[[gnu::always_inline]] inline void fetch_ahead(const T* p, index_t n) {
  const auto* bytes = reinterpret_cast<const std::byte*>(p);
  const index_t size = n * static_cast<index_t>(sizeof(T));
  for (index_t i = 0; i < size; i += kLineSize) __builtin_prefetch(bytes + i);
  __builtin_prefetch(bytes + size - 1);
}

/// Outputs of kRows rows: sums in lanes and their tree. Rows side by side are independent chains.
template <class T, int kOutputs, int kRows>
[[gnu::always_inline]] inline void narrow_outputs(const NarrowPass<T>& p, const T* const* row,
                                                  T* y) {
  using S = Simd<T>;
  constexpr int kParts = Lanes<T>::kParts;
  constexpr index_t kStep = kLanes<T>;
  const index_t whole = p.n_in / kStep * kStep;
  const index_t rest = p.n_in - whole;
  Lanes<T> acc[kRows][kOutputs];
  unroll<kRows * kOutputs>([&](auto i) __attribute__((always_inline)) {
    acc[i / kOutputs][i % kOutputs] = Lanes<T>::zero();
  });
  for (index_t i = 0; i < whole; i += kStep) {
    unroll<kParts>([&](auto part) __attribute__((always_inline)) {
      constexpr index_t kAt = part * S::kWidth;
      typename S::V w[kOutputs];
      unroll<kOutputs>([&](auto o) __attribute__((always_inline)) {
        w[o] = S::load(p.weight + o * p.ldw + i + kAt);
      });
      unroll<kRows>([&](auto r) __attribute__((always_inline)) {
        const auto x = S::load(row[r] + i + kAt);
        unroll<kOutputs>([&](auto o) __attribute__((always_inline)) {
          acc[r][o].part[part] = S::fma(x, w[o], acc[r][o].part[part]);
        });
      });
    });
  }
  if (rest > 0) {
    unroll<kParts>([&](auto part) __attribute__((always_inline)) {
      constexpr index_t kAt = part * S::kWidth;
      // Absent lanes multiply +0 by padding, as in every sum in lanes; where a register has no
      // others, nothing is read: memory past the row would have to come first.
      const index_t left = rest - kAt;
      const bool some = left > 0;
      const auto present = S::prefix(left < 0 ? 0 : (left < S::kWidth ? left : S::kWidth));
      typename S::V w[kOutputs];
      unroll<kOutputs>([&](auto o) __attribute__((always_inline)) {
        w[o] = S::load(p.weight + o * p.ldw + whole + kAt);
      });
      unroll<kRows>([&](auto r) __attribute__((always_inline)) {
        const auto x = some ? S::load(row[r] + whole + kAt, present) : S::zero();
        unroll<kOutputs>([&](auto o) __attribute__((always_inline)) {
          acc[r][o].part[part] = S::fma(x, w[o], acc[r][o].part[part]);
        });
      });
    });
  }
  unroll<kRows * kOutputs>([&](auto i) __attribute__((always_inline)) {
    const T sum = tree_sum(acc[i / kOutputs][i % kOutputs]);
    y[i] = p.bias != nullptr ? sum + p.bias[i % kOutputs] : sum;
  });
}

/// Columns at.. of the weight gradient: kVecs registers of one chain an element, over rows.
template <class T, int kOutputs, int kVecs, bool kPartial>
void gradient_chains(const T* const* row, index_t rows, index_t at, index_t tail, const T* d, T* to,
                     index_t ldw, Start start) {
  using S = Simd<T>;
  using V = typename S::V;
  const auto last = S::prefix(kPartial ? tail : S::kWidth);
  V acc[kOutputs][kVecs];
  unroll<kOutputs * kVecs>([&](auto i) __attribute__((always_inline)) {
    constexpr int kVec = i % kVecs;
    const T* from = to + (i / kVecs) * ldw + at + kVec * S::kWidth;
    if (start == Start::kZero) {
      acc[i / kVecs][kVec] = S::zero();
    } else if constexpr (kPartial && kVec == kVecs - 1) {
      acc[i / kVecs][kVec] = S::load(from, last);
    } else {
      acc[i / kVecs][kVec] = S::load(from);
    }
  });
  for (index_t r = 0; r < rows; ++r) {
    V slope[kOutputs];
    unroll<kOutputs>([&](auto o) __attribute__((always_inline)) {
      slope[o] = S::broadcast(d + r * kOutputs + o);
    });
    const T* x = row[r] + at;
    unroll<kVecs>([&](auto v) __attribute__((always_inline)) {
      V value;
      if constexpr (kPartial && v == kVecs - 1) {
        value = S::load(x + v * S::kWidth, last);
      } else {
        value = S::load(x + v * S::kWidth);
      }
      unroll<kOutputs>([&](auto o) __attribute__((always_inline)) {
        acc[o][v] = S::fma(slope[o], value, acc[o][v]);
      });
    });
  }
  unroll<kOutputs * kVecs>([&](auto i) __attribute__((always_inline)) {
    constexpr int kVec = i % kVecs;
    T* into = to + (i / kVecs) * ldw + at + kVec * S::kWidth;
    if constexpr (kPartial && kVec == kVecs - 1) {
      S::store(into, last, acc[i / kVecs][kVec]);
    } else {
      S::store(into, acc[i / kVecs][kVec]);
    }
  });
}

template <class T>
using GradientChains = void (*)(const T* const* row, index_t rows, index_t at, index_t tail,
                                const T* d, T* to, index_t ldw, Start start);

/// The chains of 1..kMost registers, whole and with a last one in part.
template <class T, int kOutputs>
struct GradientTiles {
  static constexpr int kMost = 8 / kOutputs;  // covers an fma's latency, and leaves registers free
  GradientChains<T> whole[kMost];
  GradientChains<T> partial[kMost];

  template <int... kIndices>
  static constexpr GradientTiles make(std::integer_sequence<int, kIndices...>) {
    return {{&gradient_chains<T, kOutputs, kIndices + 1, false>...},
            {&gradient_chains<T, kOutputs, kIndices + 1, true>...}};
  }
  static constexpr GradientTiles make() { return make(std::make_integer_sequence<int, kMost>{}); }
};

template <class T, int kOutputs>
inline void gradient_rows(const NarrowPass<T>& p, const T* const* row, index_t rows, const T* d,
                          Start start) {
  static constexpr auto kTiles = GradientTiles<T, kOutputs>::make();
  constexpr index_t kMost = GradientTiles<T, kOutputs>::kMost;
  constexpr index_t kWidth = Simd<T>::kWidth;
  index_t vecs = (p.n_in + kWidth - 1) / kWidth;
  const index_t tail = p.n_in - (vecs - 1) * kWidth;
  index_t tiles = (vecs + kMost - 1) / kMost;
  for (index_t at = 0; tiles > 0; --tiles) {
    const index_t n = (vecs + tiles - 1) / tiles;
    const bool partial = tiles == 1 && tail < kWidth;
    const auto run = partial ? kTiles.partial[n - 1] : kTiles.whole[n - 1];
    run(row, rows, at, tail, d, p.d_weight, p.ldw, start);
    at += n * kWidth;
    vecs -= n;
  }
}

/// The rows' part of a loss block.
template <class T>
inline LossBlock<T> loss_of_rows(const NarrowPass<T>& p, index_t first, index_t rows) {
  LossBlock<T> b = p.block;
  b.rows = rows;
  b.prediction = b.d_prediction = p.d + first * p.n_out;
  b.ld_prediction = b.ld_d_prediction = p.n_out;
  if (b.target != nullptr) b.target += first * b.ld_target;
  if (b.labels != nullptr) b.labels += first;
  if (b.row_loss != nullptr) b.row_loss += first;
  return b;
}

template <class T, int kOutputs>
void walk_narrow(const NarrowPass<T>& p) {
  constexpr int kParts = Lanes<T>::kParts;
  constexpr int kWide = 8 / (kParts * kOutputs);
  constexpr int kRows = kWide < 1 ? 1 : kWide;
  const index_t at_once = walk_rows<T>(p.n_in);
  const index_t ahead = at_once;
  Start start = p.start;
  for (index_t first = 0; first < p.rows; first += at_once) {
    const index_t rows = p.rows - first < at_once ? p.rows - first : at_once;
    const T* row[kWalkRows];
    for (index_t r = 0; r < rows; ++r) {
      row[r] = p.x + (p.list != nullptr ? p.list[first + r] : first + r) * p.ldx;
    }
    T* d = p.d + first * kOutputs;
    const auto outputs = [&](auto n, index_t r) __attribute__((always_inline)) {
      if (p.list != nullptr) {
        for (index_t i = first + r + ahead; i < first + r + ahead + n && i < p.listed; ++i) {
          fetch_ahead(p.x + p.list[i] * p.ldx, p.n_in);
        }
      }
      narrow_outputs<T, kOutputs, n>(p, row + r, d + r * kOutputs);
    };
    index_t r = 0;
    for (; r + kRows <= rows; r += kRows) outputs(Index<kRows>{}, r);
    for (; r < rows; ++r) outputs(Index<1>{}, r);
    p.loss(loss_of_rows(p, first, rows));
    if (p.d_weight == nullptr) continue;
    gradient_rows<T, kOutputs>(p, row, rows, d, start);
    start = Start::kResume;
  }
}

template <class T>
void narrow_pass(const NarrowPass<T>& p) noexcept {
  static_assert(kNarrowOutputs == 4);
  switch (p.n_out) {
    case 1:
      return walk_narrow<T, 1>(p);
    case 2:
      return walk_narrow<T, 2>(p);
    case 3:
      return walk_narrow<T, 3>(p);
    default:
      return walk_narrow<T, 4>(p);
  }
}

template <class T>
constexpr void fill_fused(Kernels<T>& table) {
  table.narrow_pass = &narrow_pass<T>;
}

}  // namespace
}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Narrow layers in one walk: outputs, losses and gradients of a few rows while they are in L1.
#pragma once

#include <cstddef>

#include "kernels/body/elementary.inl"
#include "kernels/body/lanes.inl"
#include "kernels/body/unroll.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

inline constexpr index_t kLineSize = 64;

/// Asks for every line of the elements from p on.
template <class T>
[[gnu::always_inline]] inline void fetch_ahead(const T* p, index_t n) {
  const auto* bytes = reinterpret_cast<const std::byte*>(p);
  const index_t size = n * static_cast<index_t>(sizeof(T));
  for (index_t i = 0; i < size; i += kLineSize) __builtin_prefetch(bytes + i);
  __builtin_prefetch(bytes + size - 1);
}

/// Sums of kRows rows before the part of the tree that is inside a register. Rows side by side are
/// independent chains.
template <class T, int kOutputs, int kRows>
[[gnu::always_inline]] inline void narrow_sums(const NarrowPass<T>& p, const T* const* row,
                                               Vec<T>* sums) {
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
    sums[i] = tree_register(acc[i / kOutputs][i % kOutputs]);
  });
}

/// Outputs of kRows rows.
template <class T, int kOutputs, int kRows>
[[gnu::always_inline]] inline void narrow_outputs(const NarrowPass<T>& p, const T* const* row,
                                                  T* y) {
  Vec<T> sums[kRows * kOutputs];
  narrow_sums<T, kOutputs, kRows>(p, row, sums);
  unroll<kRows * kOutputs>([&](auto i) __attribute__((always_inline)) {
    const T sum = Simd<T>::tree(sums[i]);
    y[i] = p.bias != nullptr ? sum + p.bias[i % kOutputs] : sum;
  });
}

/// The one output of each of a register of rows: rows and lanes change places, and the tree of all
/// rows is that of one.
template <class T, int kRows>
[[gnu::always_inline]] inline void narrow_column(const NarrowPass<T>& p, const T* const* row,
                                                 T* y) {
  using S = Simd<T>;
  static_assert(S::kWidth % kRows == 0);
  Vec<T> sums[S::kWidth];
  unroll<S::kWidth / kRows>([&](auto i) __attribute__((always_inline)) {
    narrow_sums<T, 1, kRows>(p, row + i * kRows, sums + i * kRows);
  });
  S::transpose(sums);
  for (int half = S::kWidth / 2; half >= 1; half /= 2) {
    for (int j = 0; j < half; ++j) sums[j] = S::add(sums[j], sums[j + half]);
  }
  S::store(y, p.bias != nullptr ? S::add(sums[0], S::set1(*p.bias)) : sums[0]);
}

/// Columns at.. of the weight gradient: kVecs registers of one chain an element, over rows. A chain
/// leaves time to ask for the same columns of other rows, where `fetch` is not null.
template <class T, int kOutputs, int kVecs, bool kPartial>
void gradient_chains(const T* const* row, const T* const* fetch, index_t rows, index_t at,
                     index_t tail, const T* d, T* to, index_t ldw, Start start) {
  using S = Simd<T>;
  using V = typename S::V;
  const auto last = S::prefix(kPartial ? tail : S::kWidth);
  const index_t last_column = at + (kVecs - 1) * S::kWidth + (kPartial ? tail : S::kWidth) - 1;
  constexpr int kPerLine = static_cast<int>(kLineSize / (S::kWidth * static_cast<int>(sizeof(T))));
  constexpr int kLineVecs = kPerLine < 1 ? 1 : kPerLine;
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
  const auto add_row = [&](index_t r) __attribute__((always_inline)) {
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
  };
  if (fetch == nullptr) {
    for (index_t r = 0; r < rows; ++r) add_row(r);
  } else {
    for (index_t r = 0; r < rows; ++r) {
      const T* later = fetch[r];
      unroll<(kVecs + kLineVecs - 1) / kLineVecs>([&](auto line) __attribute__((always_inline)) {
        __builtin_prefetch(later + at + line * kLineVecs * S::kWidth);
      });
      __builtin_prefetch(later + last_column);
      add_row(r);
    }
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
using GradientChains = void (*)(const T* const* row, const T* const* fetch, index_t rows,
                                index_t at, index_t tail, const T* d, T* to, index_t ldw,
                                Start start);

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

/// The registers of a row's columns, in tiles as equal as can be.
template <class T, int kOutputs>
struct GradientCut {
  explicit GradientCut(index_t n_in)
      : vecs((n_in + Simd<T>::kWidth - 1) / Simd<T>::kWidth),
        tiles((vecs + GradientTiles<T, kOutputs>::kMost - 1) / GradientTiles<T, kOutputs>::kMost) {}
  /// Takes the next tile's registers away, and returns their number.
  index_t take() {
    const index_t n = (vecs + tiles - 1) / tiles;
    vecs -= n;
    --tiles;
    return n;
  }
  index_t vecs;
  index_t tiles;
};

/// Columns that are asked for during the passes forward; the gradient's tiles ask for the others, all
/// of them where there is one tile: its chains wait for each other anyway.
template <class T, int kOutputs>
inline index_t columns_fetched_first(index_t n_in) {
  GradientCut<T, kOutputs> cut(n_in);
  index_t at = 0;
  for (index_t first = cut.tiles / 2; first > 0; --first) at += cut.take() * Simd<T>::kWidth;
  return at;
}

/// `fetch`: rows to ask for, from column fetch_from on, or null.
template <class T, int kOutputs>
inline void gradient_rows(const NarrowPass<T>& p, const T* const* row, const T* const* fetch,
                          index_t fetch_from, index_t rows, const T* d, Start start) {
  static constexpr auto kTiles = GradientTiles<T, kOutputs>::make();
  constexpr index_t kWidth = Simd<T>::kWidth;
  GradientCut<T, kOutputs> cut(p.n_in);
  const index_t tail = p.n_in - (cut.vecs - 1) * kWidth;
  for (index_t at = 0; cut.tiles > 0;) {
    const index_t n = cut.take();
    const bool partial = cut.tiles == 0 && tail < kWidth;
    const auto run = partial ? kTiles.partial[n - 1] : kTiles.whole[n - 1];
    run(row, at < fetch_from ? nullptr : fetch, rows, at, tail, d, p.d_weight, p.ldw, start);
    at += n * kWidth;
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

/// Where `count` rows of an array are, from the first-th of `list` on, or from row `first` on.
template <class T>
[[gnu::always_inline]] inline void point_to_rows(const T* x, const index_t* list, index_t ldx,
                                                 index_t first, index_t count, const T** to) {
  if (list != nullptr) {
    for (index_t r = 0; r < count; ++r) to[r] = x + list[first + r] * ldx;
  } else {
    for (index_t r = 0; r < count; ++r) to[r] = x + (first + r) * ldx;
  }
}

/// The same for rows of a pass and, after them, those wanted next. Returns how many there are.
template <class T>
[[gnu::always_inline]] inline index_t point_ahead(const NarrowPass<T>& p, index_t first,
                                                  index_t count, const T** to) {
  index_t own = 0;
  if (first < p.rows) {
    own = p.rows - first < count ? p.rows - first : count;
    point_to_rows(p.x, p.list, p.ldx, first, own, to);
  }
  const index_t past = first + own - p.rows;
  const index_t left = p.next_rows - past;
  const index_t next = left < 0 ? 0 : (left < count - own ? left : count - own);
  point_to_rows(p.next, p.next_list, p.ldx, past, next, to + own);
  return own + next;
}

template <class T, int kOutputs>
void walk_narrow(const NarrowPass<T>& p) {
  constexpr int kParts = Lanes<T>::kParts;
  constexpr int kWide = 8 / (kParts * kOutputs);
  constexpr int kRows = kWide < 1 ? 1 : kWide;
  constexpr int kGroup = kOutputs == 1 ? Simd<T>::kWidth : kRows;
  const index_t at_once = walk_rows<T>(p.n_in);
  const index_t fetch_from =
      p.d_weight == nullptr ? p.n_in : columns_fetched_first<T, kOutputs>(p.n_in);
  Start start = p.start;
  for (index_t first = 0; first < p.rows; first += at_once) {
    const index_t rows = p.rows - first < at_once ? p.rows - first : at_once;
    const T* row[kWalkRows];
    const T* later[kWalkRows];
    point_to_rows(p.x, p.list, p.ldx, first, rows, row);
    const bool fetches = p.list != nullptr || p.next_rows > 0;
    if (fetches) {
      const index_t known = point_ahead(p, first + at_once, rows, later);
      for (index_t r = known; r < rows; ++r) later[r] = row[r];
    }
    T* d = p.d + first * kOutputs;
    const auto ask = [&](auto n, index_t r) __attribute__((always_inline)) {
      if (!fetches || fetch_from == 0) return;
      for (index_t i = r; i < r + n; ++i) fetch_ahead(later[i], fetch_from);
    };
    index_t r = 0;
    for (; r + kGroup <= rows; r += kGroup) {
      ask(Index<kGroup>{}, r);
      if constexpr (kOutputs == 1) {
        narrow_column<T, kRows>(p, row + r, d + r);
      } else {
        narrow_outputs<T, kOutputs, kRows>(p, row + r, d + r * kOutputs);
      }
    }
    for (; r < rows; ++r) {
      ask(Index<1>{}, r);
      narrow_outputs<T, kOutputs, 1>(p, row + r, d + r * kOutputs);
    }
    p.loss(loss_of_rows(p, first, rows));
    if (p.d_weight == nullptr) continue;
    gradient_rows<T, kOutputs>(p, row, fetches ? later : nullptr, fetch_from, rows, d, start);
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

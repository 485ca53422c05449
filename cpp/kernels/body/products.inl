// SPDX-License-Identifier: MIT
/// Matrix products: each element of the result is one chain of fused multiply-adds in order of depth.
/// Tiles of registers hold the chains; storing and reloading them keeps the bits, so tile sizes and
/// blocking belong to the instruction set.
#pragma once

#include "kernels/body/transpose.inl"
#include "kernels/body/unroll.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

/// 16 registers: 6x2 accumulators + 2 of b + 1 of a = 15. 32 registers: 8x3 + 3 + 1 = 28.
/// At least 8 chains are needed to cover an fma's latency of 4 on two ports.
template <class T>
struct TileShape {
  static constexpr bool kMany = Simd<T>::kRegisters >= 32;
  static constexpr int kVecs = kMany ? 3 : 2;
  static constexpr index_t kPanel = kVecs * Simd<T>::kWidth;  // columns of a packed panel
  static constexpr int rows(int vecs) { return vecs == 1 ? 12 : (kMany ? 24 : 12) / vecs; }
  /// Vectors side by side when m rows alone would leave too few chains (b is not packed).
  static constexpr int wide_vecs(index_t m) { return m == 1 ? 8 : (m <= 3 ? 4 : kVecs); }
};

/// Depth after which the accumulators go to memory and back: a panel of b stays in L1.
inline constexpr index_t kDepthBlock = 256;

template <class T>
struct Tile {
  const T* a;
  index_t a_row;
  index_t a_depth;
  const T* b;
  index_t ldb;
  T* c;
  index_t ldc;
  index_t depth;
  index_t tail;  // columns in the last vector, when it is partial
  Start start;
  Finish finish;
  const T* bias;
  const T* gate;
  index_t ldgate;
};

template <class T, bool kPartial>
struct Edge {
  using S = Simd<T>;
  using V = typename S::V;
  typename S::P prefix;

  template <bool kLast>
  V load(const T* p) const {
    if constexpr (kPartial && kLast) {
      return S::load(p, prefix);
    } else {
      return S::load(p);
    }
  }
  template <bool kLast>
  void store(T* p, V v) const {
    if constexpr (kPartial && kLast) {
      S::store(p, prefix, v);
    } else {
      S::store(p, v);
    }
  }
};

/// One tile of kRows x kVecs registers.
template <class T, int kRows, int kVecs, bool kPartial>
void run_tile(const Tile<T>& t) {
  using S = Simd<T>;
  using V = typename S::V;
  constexpr int kWidth = S::kWidth;
  const Edge<T, kPartial> edge{S::prefix(kPartial ? t.tail : kWidth)};
  V acc[kRows][kVecs];

  if (t.start == Start::kZero) {
    unroll<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
      acc[i / kVecs][i % kVecs] = S::zero();
    });
  } else if (t.start == Start::kBias) {
    unroll<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
      constexpr int kVec = i % kVecs;
      acc[i / kVecs][kVec] = edge.template load<kVec == kVecs - 1>(t.bias + kVec * kWidth);
    });
  } else {
    unroll<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
      constexpr int kVec = i % kVecs;
      acc[i / kVecs][kVec] =
          edge.template load<kVec == kVecs - 1>(t.c + (i / kVecs) * t.ldc + kVec * kWidth);
    });
  }

  // A base for each three rows: three addresses come from one register and a scaled index.
  const T* a[(kRows + 2) / 3];
  unroll<(kRows + 2) / 3>([&](auto i)
                              __attribute__((always_inline)) { a[i] = t.a + 3 * i * t.a_row; });
  const T* b = t.b;
  const index_t a_row = t.a_row;
  const index_t a_depth = t.a_depth;
  for (index_t l = 0; l < t.depth; ++l) {
    V row[kVecs];
    unroll<kVecs>([&](auto j) __attribute__((always_inline)) {
      row[j] = edge.template load<j == kVecs - 1>(b + j * kWidth);
    });
    unroll<kRows>([&](auto i) __attribute__((always_inline)) {
      const V x = S::broadcast(a[i / 3] + (i % 3) * a_row);
      unroll<kVecs>([&](auto j) __attribute__((always_inline)) {
        acc[i][j] = S::fma(x, row[j], acc[i][j]);
      });
    });
    unroll<(kRows + 2) / 3>([&](auto i) __attribute__((always_inline)) { a[i] += a_depth; });
    b += t.ldb;
  }

  if (t.finish == Finish::kStore) {
    unroll<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
      constexpr int kVec = i % kVecs;
      edge.template store<kVec == kVecs - 1>(t.c + (i / kVecs) * t.ldc + kVec * kWidth,
                                             acc[i / kVecs][kVec]);
    });
  } else if (t.finish == Finish::kAdd) {
    unroll<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
      constexpr int kVec = i % kVecs;
      T* c = t.c + (i / kVecs) * t.ldc + kVec * kWidth;
      edge.template store<kVec == kVecs - 1>(
          c, S::add(edge.template load<kVec == kVecs - 1>(c), acc[i / kVecs][kVec]));
    });
  } else {
    const bool masked = t.finish == Finish::kReLUMask;
    unroll<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
      constexpr int kVec = i % kVecs;
      const V value = acc[i / kVecs][kVec];
      V gate = value;
      if (masked) {
        gate =
            edge.template load<kVec == kVecs - 1>(t.gate + (i / kVecs) * t.ldgate + kVec * kWidth);
      }
      edge.template store<kVec == kVecs - 1>(t.c + (i / kVecs) * t.ldc + kVec * kWidth,
                                             S::select(S::le(gate, S::zero()), S::zero(), value));
    });
  }
}

template <class T>
using TileFunction = void (*)(const Tile<T>&);

/// Tile functions for 1..kRows rows of kVecs vectors.
template <class T, int kVecs, bool kPartial>
struct TileRow {
  static constexpr int kRows = TileShape<T>::rows(kVecs);
  TileFunction<T> at[kRows];

  template <int... kIndices>
  static constexpr TileRow make(std::integer_sequence<int, kIndices...>) {
    return {{&run_tile<T, kIndices + 1, kVecs, kPartial>...}};
  }
  static constexpr TileRow make() { return make(std::make_integer_sequence<int, kRows>{}); }
};

/// All rows of one column panel of kVecs vectors. Row tiles are as equal as possible: no tile of one
/// row at the end that would leave the ports idle.
template <class T, int kVecs, bool kPartial>
void run_panel(Tile<T> t, index_t m) {
  static constexpr auto kTiles = TileRow<T, kVecs, kPartial>::make();
  constexpr index_t kMost = TileShape<T>::rows(kVecs);
  static_assert(kMost >= 1);
  index_t tiles = (m + kMost - 1) / kMost;
  while (tiles > 0) {
    const index_t rows = (m + tiles - 1) / tiles;
    kTiles.at[rows - 1](t);
    t.a += rows * t.a_row;
    t.c += rows * t.ldc;
    if (t.gate != nullptr) t.gate += rows * t.ldgate;
    m -= rows;
    --tiles;
  }
}

template <class T, int kVecs>
void run_panel(Tile<T> t, index_t m, index_t columns) {
  t.tail = columns - (kVecs - 1) * Simd<T>::kWidth;
  if (t.tail == Simd<T>::kWidth) {
    run_panel<T, kVecs, false>(t, m);
  } else {
    run_panel<T, kVecs, true>(t, m);
  }
}

/// The most vectors that there is a tile for, at most `vecs`.
template <class T>
constexpr int fitting_vecs(int vecs) {
  if (vecs >= 8) return 8;
  if (vecs >= 4) return 4;
  return vecs == 3 && TileShape<T>::kVecs < 3 ? 2 : vecs;
}

template <class T>
void run_panel_of(int vecs, const Tile<T>& t, index_t m, index_t columns) {
  switch (vecs) {
    case 1:
      return run_panel<T, 1>(t, m, columns);
    case 2:
      return run_panel<T, 2>(t, m, columns);
    case 3:
      if constexpr (TileShape<T>::kVecs == 3) run_panel<T, 3>(t, m, columns);
      return;
    case 4:
      return run_panel<T, 4>(t, m, columns);
    default:
      return run_panel<T, 8>(t, m, columns);
  }
}

template <class T>
void run_depth_block(const Product<T>& p, index_t first, index_t depth) {
  constexpr index_t kPanel = TileShape<T>::kPanel;
  constexpr index_t kWidth = Simd<T>::kWidth;
  Tile<T> t{};
  t.a = p.a + first * p.a_depth;
  t.a_row = p.a_row;
  t.a_depth = p.a_depth;
  t.ldb = p.packed ? kPanel : p.ldb;
  t.ldc = p.ldc;
  t.depth = depth;
  t.start = first == 0 ? p.start : Start::kResume;
  t.finish = first + depth == p.k ? p.finish : Finish::kStore;
  t.ldgate = p.ldgate;
  const int most = p.packed ? TileShape<T>::kVecs : TileShape<T>::wide_vecs(p.m);
  index_t j = 0;
  while (j < p.n) {
    t.b = p.packed ? p.b + j * p.k + first * kPanel : p.b + first * p.ldb + j;
    t.c = p.c + j;
    t.bias = p.bias == nullptr ? nullptr : p.bias + j;
    t.gate = p.gate == nullptr ? nullptr : p.gate + j;
    const index_t left = (p.n - j + kWidth - 1) / kWidth;  // vectors
    const int vecs = fitting_vecs<T>(left < most ? static_cast<int>(left) : most);
    const index_t columns = p.n - j < vecs * kWidth ? p.n - j : vecs * kWidth;
    run_panel_of(vecs, t, p.m, columns);
    j += columns;
  }
}

template <class T>
void product(const Product<T>& p) noexcept {
  if (p.m <= 0 || p.n <= 0) return;
  // Adding to c needs the whole chain in registers first.
  const index_t block = p.finish == Finish::kAdd ? p.k : kDepthBlock;
  index_t first = 0;
  do {
    const index_t depth = p.k - first < block ? p.k - first : block;
    run_depth_block(p, first, depth);
    first += depth;
  } while (first < p.k);
}

template <class T>
index_t packed_size(index_t k, index_t n) noexcept {
  constexpr index_t kPanel = TileShape<T>::kPanel;
  return (n + kPanel - 1) / kPanel * kPanel * k;
}

/// Panels of kPanel columns, each [k, kPanel] and contiguous; absent columns are +0.
template <class T>
void pack(const T* b, index_t b_depth, index_t b_column, index_t k, index_t n, T* packed) noexcept {
  constexpr index_t kPanel = TileShape<T>::kPanel;
  for (index_t j = 0; j < n; j += kPanel) {
    const index_t columns = n - j < kPanel ? n - j : kPanel;
    const T* from = b + j * b_column;
    T* to = packed + j * k;
    if (b_column == 1 && columns == kPanel) {
      for (index_t l = 0; l < k; ++l) {
        unroll<TileShape<T>::kVecs>([&](auto v) __attribute__((always_inline)) {
          constexpr index_t kAt = v * Simd<T>::kWidth;
          Simd<T>::store(to + l * kPanel + kAt, Simd<T>::load(from + l * b_depth + kAt));
        });
      }
      continue;
    }
    if (b_depth == 1) {
      transpose_into(from, b_column, columns, k, to, kPanel, kPanel);
      continue;
    }
    // Any strides: four depths at a time, so that lines of the source are used whole.
    for (index_t l = 0; l < k; l += 4) {
      const index_t depths = k - l < 4 ? k - l : 4;
      for (index_t c = 0; c < kPanel; ++c) {
        for (index_t d = 0; d < depths; ++d) {
          to[(l + d) * kPanel + c] = c < columns ? from[(l + d) * b_depth + c * b_column] : T(0);
        }
      }
    }
  }
}

template <class T>
constexpr void fill_products(Kernels<T>& table) {
  table.product = &product<T>;
  table.packed_size = &packed_size<T>;
  table.pack = &pack<T>;
}

}  // namespace
}  // namespace schuss

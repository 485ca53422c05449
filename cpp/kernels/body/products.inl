// SPDX-License-Identifier: MIT
/// Matrix products: which tile comes when, and what is copied near before it is read. Blocking belongs
/// to the instruction set and the sizes; it never changes a bit.
#pragma once

#include "kernels/body/packing.inl"
#include "kernels/body/shallow.inl"
#include "kernels/body/tiles.inl"
#include "kernels/body/turned.inl"

namespace schuss {
namespace {

template <class T>
using TileFunction = void (*)(const Tile<T>&);

/// Tile functions for 1..kRows rows of kVecs vectors.
template <class T, int kVecs, bool kPartial, Walk kWalk>
struct TileRow {
  static constexpr int kRows = TileShape<T>::rows(kVecs);
  TileFunction<T> at[kRows];

  template <int... kIndices>
  static constexpr TileRow make(std::integer_sequence<int, kIndices...>) {
    return {{&run_tile<T, kIndices + 1, kVecs, kPartial, kWalk>...}};
  }
  static constexpr TileRow make() { return make(std::make_integer_sequence<int, kRows>{}); }
};

/// Cuts m rows into tiles of at most `most`, as equal as possible: no tile of one row at the end that
/// would leave the ports idle.
struct RowTiles {
  index_t tiles;   // still to come
  index_t higher;  // of these, the first, which have a row more
  index_t rows;    // of the others

  RowTiles(index_t m, index_t most) : tiles((m + most - 1) / most), higher(0), rows(0) {
    if (tiles == 0) return;
    rows = m / tiles;
    higher = m - rows * tiles;
  }
  /// Rows of the next tile, which it takes; 0 after the last.
  index_t next() {
    const index_t height = peek();
    --tiles;
    --higher;
    return height;
  }
  index_t peek() const { return tiles <= 0 ? 0 : rows + (higher > 0 ? 1 : 0); }
};

/// a of a depth block. Packed: tile after tile, each [depth, rows of the tile].
template <class T>
struct Left {
  const T* data;
  index_t lda;
  Walk walk;
  bool packed;
  index_t m;
  Fetch* fetch;
};

inline constexpr index_t kFetchLine = 64;

/// The next lines of rows that will be read after the product.
inline void fetch_lines(Fetch& f) {
  for (index_t i = 0; i < f.lines && f.row < f.count; ++i) {
    __builtin_prefetch(f.data + f.numbers[f.row] * f.stride + f.at, 0, 2);
    f.at += kFetchLine;
    if (f.at < f.bytes) continue;
    f.at = 0;
    ++f.row;
  }
}

/// From this size on, b comes from beyond the second-level cache; and with so many rows to a panel
/// there is time to ask for the next one.
inline constexpr index_t kFarBytes = 512 * 1024;
inline constexpr index_t kRowsToAsk = 48;

/// What will be read of b after a panel: each tile of the panel asks for some of it.
template <class T>
struct NextPanel {
  const T* row = nullptr;
  index_t stride = 0;
  index_t rows = 0;  // still to be asked for
  index_t each = 0;  // with a tile

  void ask() {
    constexpr index_t kBytes = TileShape<T>::kPanel * static_cast<index_t>(sizeof(T));
    const T* const end = row + (each < rows ? each : rows) * stride;
    rows -= each;
    for (; row < end; row += stride) {
      for (index_t at = 0; at < kBytes; at += kFetchLine) {
        __builtin_prefetch(reinterpret_cast<const std::byte*>(row) + at, 0, 2);
      }
    }
  }
};

/// What follows the `columns` columns from j on, of depths first..first+depth: the panel beside them, or
/// past the last one the first of the next depths (where a is copied in blocks, the last block's).
template <class T>
NextPanel<T> next_panel(const Product<T>& p, index_t j, index_t columns, index_t first,
                        index_t depth, index_t tiles) {
  constexpr index_t kPanel = TileShape<T>::kPanel;
  NextPanel<T> next;
  const bool beside = j + columns < p.n;
  const index_t column = beside ? j + columns : 0;
  const index_t from = beside ? first : first + depth;
  const index_t left = p.k - from;
  next.rows = left < depth ? left : depth;
  next.each = (next.rows + tiles - 1) / tiles;
  next.stride = p.packed ? kPanel : p.ldb;
  next.row = p.packed ? p.b + column * p.k + from * kPanel : p.b + from * p.ldb + column;
  return next;
}

/// Results up to this size stay in L1 from one product to the next.
inline constexpr index_t kNearBytes = 16 * 1024;

/// All rows of one column panel of kVecs vectors.
template <class T, int kVecs, bool kPartial, Walk kWalk>
void run_panel(Tile<T> t, const Left<T>& a, NextPanel<T>* next) {
  static constexpr auto kTiles = TileRow<T, kVecs, kPartial, kWalk>::make();
  RowTiles tiles(a.m, TileShape<T>::rows(kVecs));
  const bool comes_near =
      t.depth >= kFarDepth && a.m * t.ldc * static_cast<index_t>(sizeof(T)) > kNearBytes;
  while (const index_t rows = tiles.next()) {
    // The next tile's results come near while this one is worked out.
    const index_t ahead = comes_near ? tiles.peek() : 0;
    for (index_t i = rows; i < rows + ahead; ++i) __builtin_prefetch(t.c + i * t.ldc, 1);
    if (next != nullptr && next->rows > 0) next->ask();
    if (a.fetch != nullptr) fetch_lines(*a.fetch);
    if (a.packed) t.lda = rows;
    kTiles.at[rows - 1](t);
    t.a += kWalk == Walk::kAlong ? rows * a.lda : (a.packed ? rows * t.depth : rows);
    t.c += rows * t.ldc;
    if (t.gate != nullptr) t.gate += rows * t.ldgate;
    if (t.copy != nullptr) t.copy += rows * TileShape<T>::kPanel;
  }
}

template <class T, int kVecs>
void run_panel(Tile<T> t, const Left<T>& a, NextPanel<T>* next, index_t columns) {
  t.tail = columns - (kVecs - 1) * Simd<T>::kWidth;
  const bool along = a.walk == Walk::kAlong;
  // Where masks are cheap, a second copy of the rarer tiles is not worth its code.
  if constexpr (!TileShape<T>::kMany || kVecs == TileShape<T>::kVecs) {
    if (t.tail == Simd<T>::kWidth) {
      return along ? run_panel<T, kVecs, false, Walk::kAlong>(t, a, next)
                   : run_panel<T, kVecs, false, Walk::kAcross>(t, a, next);
    }
  }
  return along ? run_panel<T, kVecs, true, Walk::kAlong>(t, a, next)
               : run_panel<T, kVecs, true, Walk::kAcross>(t, a, next);
}

/// The most vectors that there is a tile for, at most `vecs`.
template <class T>
constexpr int fitting_vecs(int vecs) {
  if (vecs >= 8) return 8;
  if (vecs >= 4) return 4;
  return vecs == 3 && TileShape<T>::kVecs < 3 ? 2 : vecs;
}

template <class T>
void run_panel_of(int vecs, const Tile<T>& t, const Left<T>& a, NextPanel<T>* next,
                  index_t columns) {
  switch (vecs) {
    case 1:
      return run_panel<T, 1>(t, a, next, columns);
    case 2:
      return run_panel<T, 2>(t, a, next, columns);
    case 3:
      if constexpr (TileShape<T>::kVecs == 3) run_panel<T, 3>(t, a, next, columns);
      return;
    case 4:
      return run_panel<T, 4>(t, a, next, columns);
    default:
      return run_panel<T, 8>(t, a, next, columns);
  }
}

/// Rows row..row+a.m of c, all columns from `column` on, depths first..first+depth.
template <class T>
void run_block(const Product<T>& p, const Left<T>& a, index_t row, index_t column, index_t first,
               index_t depth) {
  constexpr index_t kPanel = TileShape<T>::kPanel;
  constexpr index_t kWidth = Simd<T>::kWidth;
  Tile<T> t{};
  t.a = a.data;
  t.lda = a.lda;
  t.ldb = p.packed ? kPanel : p.ldb;
  t.ldc = p.ldc;
  t.depth = depth;
  t.start = first == 0 ? p.start : Start::kResume;
  t.finish = first + depth == p.k ? p.finish : Finish::kStore;
  t.ldgate = p.ldgate;
  t.rate = p.rate;
  const bool fixed = p.packed || a.packed || p.copy != nullptr;
  const int most = fixed ? TileShape<T>::kVecs : TileShape<T>::wide_vecs(a.m);
  const bool asks = a.m >= kRowsToAsk && p.k * p.n * static_cast<index_t>(sizeof(T)) >= kFarBytes;
  index_t j = column;
  while (j < p.n) {
    const index_t in_panel = j % kPanel;  // 0, except where a product begins at another column
    t.b =
        p.packed ? p.b + (j - in_panel) * p.k + first * kPanel + in_panel : p.b + first * p.ldb + j;
    t.c = p.c + row * p.ldc + j;
    t.bias = p.bias == nullptr ? nullptr : p.bias + j;
    t.gate = p.gate == nullptr ? nullptr : p.gate + row * p.ldgate + j;
    t.copy = p.copy == nullptr ? nullptr : p.copy + j / kPanel * p.copy_panel + row * kPanel;
    const index_t left = (p.n - j + kWidth - 1) / kWidth;  // vectors
    const int vecs = fitting_vecs<T>(left < most ? static_cast<int>(left) : most);
    const index_t columns = p.n - j < vecs * kWidth ? p.n - j : vecs * kWidth;
    const int most_rows = TileShape<T>::rows(vecs);
    NextPanel<T> next;
    if (asks) next = next_panel(p, j, columns, first, depth, (a.m + most_rows - 1) / most_rows);
    run_panel_of(vecs, t, a, asks ? &next : nullptr, columns);
    j += columns;
  }
}

/// Of a block whose share of a is copied.
inline constexpr index_t kMostDepth = kDepthBlock * 3 / 2;

/// What a copied block of a takes on the stack: a part of the second-level cache.
inline constexpr index_t kLeftBytes = 96 * 1024;

/// Every panel of b walks through all of a. That is cheap while a stays near; else a is copied, some
/// rows at a time, into lines that follow one another. Narrower panels than the usual one are few
/// when this is true, so one tile height serves all.
template <class T>
bool left_is_copied(const Product<T>& p) {
  constexpr index_t kPanel = TileShape<T>::kPanel;
  constexpr auto kBytes = static_cast<index_t>(sizeof(T));
  const index_t rest = p.n % kPanel;
  if (p.n < 4 * kPanel || p.m < 32 || p.k < 32) return false;
  if (rest != 0 && rest <= kPanel - Simd<T>::kWidth) return false;
  const index_t bytes = p.m * (p.k < kDepthBlock ? p.k : kDepthBlock) * kBytes;
  // Across: a line for each depth. Along: rows a page apart share a few sets of the caches.
  if (p.a_depth != 1) return bytes > 80 * 1024;
  return bytes > 256 * 1024 || (p.a_row * kBytes % 4096 == 0 && p.k >= kDepthBlock);
}

/// Between rows of a copy of a whose rows are contiguous: no power of two.
template <class T>
constexpr index_t left_lda(index_t depth) {
  return depth + 2 * Simd<T>::kWidth;
}

/// Rows row..row+m and depths first..first+depth of a. Along: rows `left_lda` apart. Across: tile after
/// tile, each [depth, rows of the tile].
template <class T>
void copy_left(const Product<T>& p, index_t row, index_t m, index_t first, index_t depth, T* to) {
  constexpr index_t kMost = TileShape<T>::rows(TileShape<T>::kVecs);
  constexpr index_t kWidth = Simd<T>::kWidth;
  const T* from = p.a + row * p.a_row + first * p.a_depth;
  if (p.a_depth == 1) {
    const index_t lda = left_lda<T>(depth);
    for (index_t i = 0; i < m; ++i) {
      const T* a = from + i * p.a_row;
      T* out = to + i * lda;
      index_t l = 0;
      for (; l + kWidth <= depth; l += kWidth) Simd<T>::store(out + l, Simd<T>::load(a + l));
      for (; l < depth; ++l) out[l] = a[l];
    }
    return;
  }
  RowTiles tiles(m, kMost);
  index_t i = 0;
  while (const index_t rows = tiles.next()) {
    // A whole register may be written where the rest of it will be written again.
    const index_t spill = (kWidth + rows - 1) / rows - 1;
    const index_t fast = i + kWidth <= m && rows <= kWidth ? depth - spill : 0;
    const T* a = from + i;
    index_t l = 0;
    for (; l < fast; ++l) Simd<T>::store(to + l * rows, Simd<T>::load(a + l * p.a_depth));
    for (; l < depth; ++l) {
      for (index_t r = 0; r < rows; ++r) to[l * rows + r] = a[l * p.a_depth + r];
    }
    i += rows;
    to += rows * depth;
  }
}

/// A depth block with a copied, some rows at a time.
template <class T>
void run_copied(const Product<T>& p, index_t first, index_t depth) {
  constexpr index_t kMost = TileShape<T>::rows(TileShape<T>::kVecs);
  constexpr index_t kElements = kLeftBytes / static_cast<index_t>(sizeof(T));
  alignas(64) T copy[kElements];
  const bool along = p.a_depth == 1;
  const index_t lda = left_lda<T>(depth);
  const index_t most = kElements / lda / kMost * kMost;
  RowTiles blocks(p.m, most);
  index_t row = 0;
  while (const index_t m = blocks.next()) {
    copy_left(p, row, m, first, depth, copy);
    run_block(p, {copy, lda, along ? Walk::kAlong : Walk::kAcross, !along, m, p.fetch}, row, 0,
              first, depth);
    row += m;
  }
}

template <class T>
void run_product(const Product<T>& p) {
  // Adding to c, or taking from it, needs the whole chain in registers first.
  const bool onto_c = p.finish == Finish::kAdd || p.finish == Finish::kDescend;
  const index_t block = !onto_c ? kDepthBlock : (p.k > 0 ? p.k : 1);
  const Walk walk = p.a_depth == 1 ? Walk::kAlong : Walk::kAcross;
  const index_t lda = walk == Walk::kAlong ? p.a_row : p.a_depth;
  const bool copies = left_is_copied(p);
  const index_t column = shallow_columns(p);
  if (column == p.n) return;
  // Blocks of nearly equal depth: a short one would cost as many stores and loads of c as the others.
  index_t blocks = (p.k + block / 2) / block;
  index_t first = 0;
  do {
    const index_t left = p.k - first;
    const index_t depth = blocks > 1 ? (left / blocks + kSteps - 1) / kSteps * kSteps : left;
    --blocks;
    if (copies && depth <= kMostDepth) {
      run_copied(p, first, depth);
    } else {
      run_block(p, {p.a + first * p.a_depth, lda, walk, false, p.m, p.fetch}, 0, column, first,
                depth);
    }
    first += depth;
  } while (first < p.k);
}

template <class T>
void product(const Product<T>& p) noexcept {
  if (p.m <= 0 || p.n <= 0) return;
  if (is_turned(p)) return run_turned(p, &run_product<T>);
  run_product(p);
}

template <class T>
constexpr void fill_products(Kernels<T>& table) {
  table.product = &product<T>;
  table.packed_size = &packed_size<T>;
  table.pack = &pack<T>;
}

}  // namespace
}  // namespace schuss

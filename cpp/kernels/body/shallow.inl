// SPDX-License-Identifier: MIT
/// Products of little depth. A tile of registers would take longer to begin and to end than to go
/// through the depth; so b's part of a register of columns stays in registers, and rows stream past it.
#pragma once

#include "kernels/body/tiles.inl"

namespace schuss {
namespace {

/// As much of b, 8 chains and an element of a take 16 registers.
inline constexpr int kShallowDepth = 6;

/// One register of columns; the pointers move down the rows.
template <class T, int kDepth>
struct Shallow {
  using V = typename Simd<T>::V;
  V b[kDepth];
  V start;
  Finish finish;
  const T* a;
  index_t lda;
  T* c;
  index_t ldc;
  const T* gate;
  index_t ldgate;

  template <int kRows>
  [[gnu::always_inline]] void run() {
    using S = Simd<T>;
    V acc[kRows];
    const T* row[kRows];
    unroll<kRows>([&](auto i) __attribute__((always_inline)) {
      acc[i] = start;
      row[i] = a + i * lda;
      make_opaque(row[i]);
    });
    unroll<kDepth>([&](auto l) __attribute__((always_inline)) {
      unroll<kRows>([&](auto i) __attribute__((always_inline)) {
        S::accumulate(acc[i], S::broadcast(row[i] + l), b[l]);
      });
      stay_in_step();
    });
    if (finish == Finish::kStore) {
      unroll<kRows>([&](auto i) __attribute__((always_inline)) { S::store(c + i * ldc, acc[i]); });
    } else {
      const bool masked = finish == Finish::kReLUMask;
      unroll<kRows>([&](auto i) __attribute__((always_inline)) {
        const V of = masked ? S::load(gate + i * ldgate) : acc[i];
        S::store(c + i * ldc, S::select(S::le(of, S::zero()), S::zero(), acc[i]));
      });
    }
    a += kRows * lda;
    c += kRows * ldc;
    gate += kRows * ldgate;
  }
};

/// All rows of the first `columns`, whole registers of them.
template <class T, int kDepth>
void run_shallow(const Product<T>& p, index_t columns) {
  using S = Simd<T>;
  constexpr index_t kPanel = TileShape<T>::kPanel;
  constexpr int kRows = 8;
  const index_t ldb = p.packed ? kPanel : p.ldb;
  const bool masked = p.finish == Finish::kReLUMask;
  Shallow<T, kDepth> s;
  s.finish = p.finish;
  s.lda = p.a_row;
  s.ldc = p.ldc;
  s.ldgate = masked ? p.ldgate : 0;
  for (index_t j = 0; j < columns; j += S::kWidth) {
    const T* const from = p.packed ? p.b + j / kPanel * kPanel * kDepth + j % kPanel : p.b + j;
    unroll<kDepth>([&](auto l)
                       __attribute__((always_inline)) { s.b[l] = S::load(from + l * ldb); });
    s.start = p.start == Start::kBias ? S::load(p.bias + j) : S::zero();
    s.a = p.a;
    s.c = p.c + j;
    s.gate = masked ? p.gate + j : s.c;
    index_t left = p.m;
    for (; left >= kRows; left -= kRows) s.template run<kRows>();
    for (; left > 0; --left) s.template run<1>();
  }
}

template <class T>
struct ShallowByDepth {
  void (*at[kShallowDepth])(const Product<T>&, index_t);

  template <int... kIndices>
  static constexpr ShallowByDepth make(std::integer_sequence<int, kIndices...>) {
    return {{&run_shallow<T, kIndices + 1>...}};
  }
};

/// Does what columns it is good for, and says how many: they are the first ones.
template <class T>
index_t shallow_columns(const Product<T>& p) {
  constexpr index_t kLeastRows = 4;
  static constexpr auto kByDepth =
      ShallowByDepth<T>::make(std::make_integer_sequence<int, kShallowDepth>{});
  const bool finishes =
      p.finish == Finish::kStore || p.finish == Finish::kReLU || p.finish == Finish::kReLUMask;
  const index_t columns = p.n / Simd<T>::kWidth * Simd<T>::kWidth;
  if (columns == 0 || p.k < 1 || p.k > kShallowDepth || p.m < kLeastRows || p.a_depth != 1 ||
      !finishes || p.start == Start::kResume) {
    return 0;
  }
  kByDepth.at[p.k - 1](p, columns);
  return columns;
}

}  // namespace
}  // namespace schuss

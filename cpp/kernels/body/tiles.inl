// SPDX-License-Identifier: MIT
/// Tiles of registers: the inner loop of every product. A tile holds rows x vectors of the result, each
/// element one chain of fused multiply-adds in order of depth; storing and reloading the chains keeps
/// their bits, so the sizes of tiles belong to the instruction set.
#pragma once

#include <cstddef>

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

/// About the depth after which the accumulators go to memory and back: a panel of b stays in L1.
inline constexpr index_t kDepthBlock = 256;

/// Tiles at least this deep give a line of c the time to arrive.
inline constexpr index_t kFarDepth = 64;

/// How a tile walks through a.
enum class Walk : std::uint8_t {
  kAlong,   // a_depth = 1: each row is contiguous
  kAcross,  // a_row = 1: the rows of a depth are contiguous (a transposed a, or a packed one)
};

template <class T>
struct Tile {
  const T* a;
  index_t lda;  // between rows (kAlong) or between depths (kAcross)
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
  T rate;
  T* copy;  // rows a panel's width apart
};

template <class T, bool kPartial>
struct Edge {
  using S = Simd<T>;
  using V = typename S::V;
  typename S::P prefix;

  template <bool kLast>
  V keep(V v) const {
    if constexpr (kPartial && kLast) {
      return S::keep(prefix, v);
    } else {
      return v;
    }
  }

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

/// The compiler knows nothing of a value after this: what is made of it stays where it is written.
template <class V>
[[gnu::always_inline]] inline void make_opaque(V& value) {
  asm("" : "+r"(value));
}

/// No load moves past this: those of an unrolled step stay in it, with few registers.
[[gnu::always_inline]] inline void stay_in_step() { asm("" ::: "memory"); }

/// Steps of an inner loop whose addresses are made of the same registers.
inline constexpr int kSteps = 4;

/// Lines a constant stride apart, of kSteps depths: each is one register and a scaled index away, so
/// the addresses of a step are parts of its loads and take no instructions. Left alone, compilers make
/// them beforehand, and run out of registers.
template <class T>
struct Lines {
  const std::byte* at;
  index_t stride;  // in bytes
  index_t thrice;

  [[gnu::always_inline]] Lines(const T* first, index_t step)
      : at(reinterpret_cast<const std::byte*>(first)),
        stride(step * static_cast<index_t>(sizeof(T))),
        thrice(3 * stride) {
    make_opaque(thrice);
  }
  template <int kLine, int kElement>
  [[gnu::always_inline]] const T* element() {
    static_assert(kLine < kSteps && kSteps == 4);
    constexpr auto kOffset = kElement * static_cast<index_t>(sizeof(T));
    make_opaque(stride);
    if constexpr (kLine == 3) make_opaque(thrice);
    const std::byte* line = kLine == 3 ? at + thrice : at + kLine * stride;
    return reinterpret_cast<const T*>(line + kOffset);
  }
  [[gnu::always_inline]] void advance(index_t bytes) {
    at += bytes;
    make_opaque(at);
  }
};

/// Where the elements of a for some depths are.
template <class T, int kRows, Walk kWalk>
struct Rows;

template <class T, int kRows>
struct Rows<T, kRows, Walk::kAlong> {
  static constexpr int kBases = (kRows + 2) / 3;
  const std::byte* base[kBases];
  index_t stride;

  [[gnu::always_inline]] Rows(const T* a, index_t lda)
      : stride(lda * static_cast<index_t>(sizeof(T))) {
    unroll<kBases>([&](auto i) __attribute__((always_inline)) {
      base[i] = reinterpret_cast<const std::byte*>(a + 3 * i * lda);
    });
  }
  template <int kRow, int kStep>
  [[gnu::always_inline]] const T* element() {
    make_opaque(stride);
    const std::byte* row = base[kRow / 3] + (kRow % 3) * stride;
    return reinterpret_cast<const T*>(row + kStep * static_cast<index_t>(sizeof(T)));
  }
  template <int kCount>
  [[gnu::always_inline]] void advance() {
    unroll<kBases>([&](auto i) __attribute__((always_inline)) {
      base[i] += kCount * static_cast<index_t>(sizeof(T));
      make_opaque(base[i]);
    });
  }
};

template <class T, int kRows>
struct Rows<T, kRows, Walk::kAcross> {
  Lines<T> depths;

  [[gnu::always_inline]] Rows(const T* a, index_t lda) : depths(a, lda) {}
  template <int kRow, int kStep>
  [[gnu::always_inline]] const T* element() {
    return depths.template element<kStep, kRow>();
  }
  template <int kCount>
  [[gnu::always_inline]] void advance() {
    depths.advance(kCount * depths.stride);
  }
};

/// One tile of kRows x kVecs registers.
template <class T, int kRows, int kVecs, bool kPartial, Walk kWalk>
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

  // Unrolled where there are chains enough to fill the ports: the loop's own work is then hidden.
  constexpr int kMost = TileShape<T>::rows(kVecs) * kVecs;
  constexpr int kUnroll = kRows * kVecs * 3 >= kMost * 2 ? kSteps : 1;
  Rows<T, kRows, kWalk> a(t.a, t.lda);
  Lines<T> b(t.b, t.ldb);
  const auto step = [&](auto at) __attribute__((always_inline)) {
    V row[kVecs];
    unroll<kVecs>([&](auto j) __attribute__((always_inline)) {
      row[j] = edge.template load<j == kVecs - 1>(b.template element<at, j * kWidth>());
    });
    unroll<kRows>([&](auto i) __attribute__((always_inline)) {
      const V x = S::broadcast(a.template element<i, at>());
      unroll<kVecs>([&](auto j)
                        __attribute__((always_inline)) { S::accumulate(acc[i][j], x, row[j]); });
    });
    stay_in_step();
  };
  const index_t rest = t.depth % kUnroll;
  for (index_t left = t.depth / kUnroll; left > 0; --left) {
    unroll<kUnroll>(step);
    a.template advance<kUnroll>();
    b.advance(kUnroll * b.stride);
  }
  if constexpr (kUnroll > 1) {
    for (index_t left = rest; left > 0; --left) {
      step(Index<0>{});
      a.template advance<1>();
      b.advance(b.stride);
    }
  }

  T* const c = t.c;
  const index_t ldc = t.ldc;
  if (t.finish == Finish::kStore) {
    unroll<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
      constexpr int kVec = i % kVecs;
      edge.template store<kVec == kVecs - 1>(c + (i / kVecs) * ldc + kVec * kWidth,
                                             acc[i / kVecs][kVec]);
    });
  } else if (t.finish == Finish::kAdd) {
    unroll<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
      constexpr int kVec = i % kVecs;
      T* to = c + (i / kVecs) * ldc + kVec * kWidth;
      edge.template store<kVec == kVecs - 1>(
          to, S::add(edge.template load<kVec == kVecs - 1>(to), acc[i / kVecs][kVec]));
    });
  } else if (t.finish == Finish::kDescend) {
    const V rate = S::set1(t.rate);
    T* const copy = t.copy;
    unroll<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
      constexpr int kVec = i % kVecs;
      T* to = c + (i / kVecs) * ldc + kVec * kWidth;
      V& value = acc[i / kVecs][kVec];
      value = S::fnma(rate, value, edge.template load<kVec == kVecs - 1>(to));
      edge.template store<kVec == kVecs - 1>(to, value);
    });
    if (copy == nullptr) return;
    unroll<kRows * kVecs>([&](auto i) __attribute__((always_inline)) {
      constexpr int kVec = i % kVecs;
      S::store(copy + (i / kVecs) * TileShape<T>::kPanel + kVec * kWidth,
               edge.template keep<kVec == kVecs - 1>(acc[i / kVecs][kVec]));
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
      edge.template store<kVec == kVecs - 1>(c + (i / kVecs) * ldc + kVec * kWidth,
                                             S::select(S::le(gate, S::zero()), S::zero(), value));
    });
  }
}

}  // namespace
}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Sums in lanes: one cache line of accumulators, whatever the register width.
///
/// Element i goes to lane i mod kLanes<T>, absent elements are +0, and `tree_sum` adds the lanes
/// (i, i+8), (i, i+4), (i, i+2), (i, i+1) (float64: from (i, i+4)). The same bits on every ISA.
#pragma once

#include "kernels/kernels.hpp"

namespace schuss {
namespace {

template <class T>
struct Lanes {
  using S = Simd<T>;
  using V = typename S::V;
  static constexpr int kParts = static_cast<int>(kLanes<T>) / S::kWidth;  // registers
  V part[kParts];

  static Lanes zero() {
    Lanes a;
    for (int j = 0; j < kParts; ++j) a.part[j] = S::zero();
    return a;
  }
  static Lanes set1(T x) {
    Lanes a;
    for (int j = 0; j < kParts; ++j) a.part[j] = S::set1(x);
    return a;
  }
  /// kLanes elements from p.
  static Lanes load(const T* p) {
    Lanes a;
    for (int j = 0; j < kParts; ++j) a.part[j] = S::load(p + j * S::kWidth);
    return a;
  }
  /// The first n elements from p (0 <= n <= kLanes), the others +0.
  static Lanes load(const T* p, index_t n) {
    Lanes a;
    for (int j = 0; j < kParts; ++j) {
      const index_t rest = n - j * S::kWidth;
      if (rest >= S::kWidth) {
        a.part[j] = S::load(p + j * S::kWidth);
      } else if (rest > 0) {
        a.part[j] = S::load(p + j * S::kWidth, S::prefix(rest));
      } else {
        a.part[j] = S::zero();
      }
    }
    return a;
  }
  /// Stores the first n lanes.
  void store(T* p, index_t n) const {
    for (int j = 0; j < kParts; ++j) {
      const index_t rest = n - j * S::kWidth;
      if (rest >= S::kWidth) {
        S::store(p + j * S::kWidth, part[j]);
      } else if (rest > 0) {
        S::store(p + j * S::kWidth, S::prefix(rest), part[j]);
      }
    }
  }
};

/// a*b + c, a lane each.
template <class T>
inline Lanes<T> fma(const Lanes<T>& a, const Lanes<T>& b, const Lanes<T>& c) {
  Lanes<T> r;
  for (int j = 0; j < Lanes<T>::kParts; ++j) {
    r.part[j] = Simd<T>::fma(a.part[j], b.part[j], c.part[j]);
  }
  return r;
}

template <class T>
inline Lanes<T> add(const Lanes<T>& a, const Lanes<T>& b) {
  Lanes<T> r;
  for (int j = 0; j < Lanes<T>::kParts; ++j) r.part[j] = Simd<T>::add(a.part[j], b.part[j]);
  return r;
}

/// The levels of the tree that add whole registers.
template <class T>
inline typename Simd<T>::V tree_register(Lanes<T> a) {
  for (int half = Lanes<T>::kParts / 2; half >= 1; half /= 2) {
    for (int j = 0; j < half; ++j) a.part[j] = Simd<T>::add(a.part[j], a.part[j + half]);
  }
  return a.part[0];
}

/// The sum of all lanes in the contract's tree.
template <class T>
inline T tree_sum(const Lanes<T>& a) {
  return Simd<T>::tree(tree_register(a));
}

/// The same sum in every lane of a register: the way back to the next step takes no broadcast.
template <class T>
inline typename Simd<T>::V tree_sum_everywhere(const Lanes<T>& a) {
  return Simd<T>::tree_everywhere(tree_register(a));
}

/// acc + x in float64 lanes: element i of x goes to lane i mod kLanes<double>, in order of i.
inline void add_wide(const Lanes<double>& x, Lanes<double>& acc) { acc = add(acc, x); }
inline void add_wide(const Lanes<float>& x, Lanes<double>& acc) {
  using Wide = Simd<double>;
  constexpr int kEach = Simd<float>::kWidth / Wide::kWidth;
  for (int j = 0; j < Lanes<float>::kParts; ++j) {
    Wide::V wide[kEach];
    widen(x.part[j], wide);
    for (int i = 0; i < kEach; ++i) {
      Wide::V& lane = acc.part[(j * kEach + i) % Lanes<double>::kParts];
      lane = Wide::add(lane, wide[i]);
    }
  }
}

}  // namespace
}  // namespace schuss

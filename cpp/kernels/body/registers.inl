// SPDX-License-Identifier: MIT
/// Access to one register of elements in memory, whole or in part.
///
/// Partial loads and stores are many times slower than whole ones on some processors, so code that
/// meets both is compiled for both.
#pragma once

#include "kernels/kernels.hpp"

namespace schuss {
namespace {

template <class T>
struct WholeRegister {
  using S = Simd<T>;
  using V = typename S::V;
  [[gnu::always_inline]] V load(const T* p) const { return S::load(p); }
  [[gnu::always_inline]] void store(T* p, V v) const { S::store(p, v); }
  [[gnu::always_inline]] V keep(V v) const { return v; }
};

/// The first lanes of a register; the others load, and are kept as, +0.
template <class T>
struct PartRegister {
  using S = Simd<T>;
  using V = typename S::V;
  typename S::P first;
  [[gnu::always_inline]] V load(const T* p) const { return S::load(p, first); }
  [[gnu::always_inline]] void store(T* p, V v) const { S::store(p, first, v); }
  [[gnu::always_inline]] V keep(V v) const { return S::keep(first, v); }
};

/// f(access) for the first n >= 1 elements of a register, or all of it where n is more.
template <class T, class F>
[[gnu::always_inline]] inline void with_register(index_t n, F f) {
  if (n >= Simd<T>::kWidth) {
    f(WholeRegister<T>{});
  } else {
    f(PartRegister<T>{Simd<T>::prefix(n)});
  }
}

}  // namespace
}  // namespace schuss

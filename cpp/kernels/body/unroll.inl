// SPDX-License-Identifier: MIT
/// Loops over registers, unrolled at compile time so that arrays of registers never touch memory.
#pragma once

#include <utility>

namespace schuss {
namespace {

template <int kValue>
struct Index {
  constexpr operator int() const { return kValue; }
};

template <class F, int... kValues>
[[gnu::always_inline]] inline void unroll_each(std::integer_sequence<int, kValues...>, F& f) {
  (f(Index<kValues>{}), ...);
}

/// f(Index<0>{}), ..., f(Index<kCount - 1>{}).
template <int kCount, class F>
[[gnu::always_inline]] inline void unroll(F f) {
  unroll_each(std::make_integer_sequence<int, kCount>{}, f);
}

}  // namespace
}  // namespace schuss

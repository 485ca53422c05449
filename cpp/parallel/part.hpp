// SPDX-License-Identifier: MIT
/// Cutting work into equal pieces.
#pragma once

#include "base/types.hpp"

namespace schuss {

/// Some neighbours of several equal parts of a piece of work; the default is all of it.
struct Part {
  int index = 0;  // the first
  int count = 1;  // into how many the work is cut
  int size = 1;   // how many, from index on

  /// The part of 0..n-1, cut at multiples of `grain`.
  index_t begin(index_t n, index_t grain) const { return cut(n, grain, index); }
  index_t end(index_t n, index_t grain) const { return cut(n, grain, index + size); }
  bool is_last() const { return index + size == count; }

 private:
  index_t cut(index_t n, index_t grain, int at) const {
    if (at >= count) return n;
    const index_t grains = (n + grain - 1) / grain;
    const index_t edge = grains * at / count * grain;
    return edge < n ? edge : n;
  }
};

}  // namespace schuss

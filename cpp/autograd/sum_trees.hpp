// SPDX-License-Identifier: MIT
/// The fixed tree in which the sums of row chunks combine.
#pragma once

#include <vector>

#include "base/aligned_buffer.hpp"
#include "kernels/kernels.hpp"

namespace schuss {

/// The tree over chunks: kTreeFanout sums in order, then their sums in order, and so on.
/// For chunk c = 0, 1, 2, ... call `target(c)`, put the chunk's gradient there (stored when
/// `finish(c)` is kStore, else added), then `close(c, last)`. The result is in `result()`.
template <class T>
class GradientTree {
 public:
  GradientTree(index_t elements, index_t chunks);

  T* target(index_t chunk);
  static Finish finish(index_t chunk) {
    return chunk % kTreeFanout == 0 ? Finish::kStore : Finish::kAdd;
  }
  /// Whether `close` has anything to add.
  bool closes(index_t chunk, bool last) const {
    return levels_.size() > 1 && (last || chunk % kTreeFanout == kTreeFanout - 1);
  }
  /// Adds sums that are complete into the level above; `last`: chunk is the batch's last.
  void close(index_t chunk, bool last);
  T* result() { return levels_.back().data(); }
  AlignedBuffer<T>& result_buffer() { return levels_.back(); }

 private:
  T* buffer(std::size_t level, index_t group);

  std::vector<AlignedBuffer<T>> levels_;
  index_t elements_ = 0;
};

extern template class GradientTree<float>;
extern template class GradientTree<double>;

/// The same tree for one float64 number (losses).
class SumTree {
 public:
  void add(double chunk_sum);
  double result() const;

 private:
  static constexpr int kLevels = 8;  // 64^8 chunks
  double sum_[kLevels] = {};
  index_t count_[kLevels] = {};
};

/// line(x, n) of autograd/ops.hpp: the sum of n numbers in a row, chunk by chunk through the tree.
template <class T>
double line_sum(const T* x, index_t n) noexcept;

extern template double line_sum(const float*, index_t) noexcept;
extern template double line_sum(const double*, index_t) noexcept;

}  // namespace schuss

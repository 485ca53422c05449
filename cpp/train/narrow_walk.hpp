// SPDX-License-Identifier: MIT
/// Chunks of rows through a network of one narrow layer, read where the user's array holds them.
#pragma once

#include "base/aligned_buffer.hpp"
#include "nn/gradients.hpp"
#include "nn/loss.hpp"
#include "train/feed.hpp"

namespace schuss {

/// What one thread needs to take a chunk from the user's rows to its loss and gradients in one walk
/// (kernels/fused.hpp). Rows of another dtype or layout are converted a few at a time, just before
/// they are used. The bits are those of the passes over a staged chunk.
template <class T>
class NarrowWalk {
 public:
  /// One dense layer, narrow but not small (small ones sum their gradients in lanes of rows), with
  /// no activation after it.
  static bool fits(const Network& network);

  /// `rows`: of a chunk, at most.
  NarrowWalk(const ArrayView& x, index_t n_out, index_t rows);

  /// Forward, loss, gradients of the chunk's rows: `rows` starts at row 0 of the chunk. `block`
  /// has the loss's options, targets, scale and row_loss. `gradients`: an arena laid out by `map`,
  /// into which the chunk's sums are stored. False: an element overflows T.
  [[nodiscard]] bool run(const Stage& layer, const RowSet& rows, const BoundLoss<T>& loss,
                         const LossBlock<T>& block, const GradientMap& map, T* gradients,
                         BadElement* bad);

 private:
  static constexpr index_t kStagedRows = 32;

  ArrayView view_;
  const T* direct_;
  AlignedBuffer<T> staging_;
  AlignedBuffer<T> d_;
};

extern template class NarrowWalk<float>;
extern template class NarrowWalk<double>;

}  // namespace schuss

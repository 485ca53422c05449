// SPDX-License-Identifier: MIT
/// Chunks of rows through a network of one wide layer with few outputs, read where the user's array
/// holds them.
#pragma once

#include "base/aligned_buffer.hpp"
#include "nn/gradients.hpp"
#include "nn/loss.hpp"
#include "parallel/part.hpp"
#include "train/feed.hpp"

namespace schuss {

/// What the threads of a region share while they take a chunk from the user's rows to its gradients.
/// They may forward disjoint rows, and then make disjoint parts of the gradients, at the same time.
/// Rows of another dtype or layout are converted into a buffer of one chunk, just before their use.
/// The bits are those of the passes over a staged chunk.
template <class T>
class FewWalk {
 public:
  /// One dense layer whose outputs fill more than half of a cache line, and no more, with no
  /// activation after it: there the kernels of kernels/few.hpp are the faster ones.
  static bool fits(const Network& network);

  /// `rows`: of a chunk, at most.
  FewWalk(const ArrayView& x, index_t rows, bool shuffle);

  /// Outputs, losses and their gradients of some rows of the chunk. `block` has the loss's options,
  /// scale, and targets and row_loss of the chunk. False: an element overflows T.
  [[nodiscard]] bool forward(const Stage& layer, const RowSet& rows, const BoundLoss<T>& loss,
                             const LossBlock<T>& block, BadElement* bad);

  /// The same in three parts, when rows are read in place, for threads that share the inputs: what
  /// `gradients` has to know of a chunk's rows, by one of them; the chains of rows at..at+count-1 of
  /// `rows` through inputs begin..end-1, where those before `begin` have passed; and, where all have,
  /// the losses of rows at..at+count-1 of the chunk.
  bool in_place() const { return direct_ != nullptr; }
  void remember(const RowSet& rows);
  void forward_columns(const Stage& layer, const RowSet& rows, index_t at, index_t count,
                       index_t begin, index_t end);
  void losses(index_t at, index_t count, const BoundLoss<T>& loss, const LossBlock<T>& block);

  /// Gradients of the chunk's `count` rows into an arena laid out by `map`, stored or added. A part
  /// does its rows of the weight's storage (cut at multiples of `grain`), the last one the bias.
  void gradients(const Stage& layer, index_t count, const GradientMap& map, T* arena, Finish finish,
                 Part part, index_t grain);

 private:
  FewForward<T> pass_of(const Stage& layer) const;
  void point_at(const RowSet& rows, index_t at, FewForward<T>* pass) const;

  /// Rows that go from conversion to loss together: as many as stay in the second-level cache.
  static constexpr index_t kRowsAtOnce = 48;

  ArrayView view_;
  const T* direct_;
  index_t ld_;
  index_t first_ = 0;               // in order and in place: the chunk's row 0
  AlignedBuffer<index_t> numbers_;  // shuffled and in place: the chunk's rows
  AlignedBuffer<T> staging_;        // else: a copy of them
  AlignedBuffer<T> d_;              // outputs, then their gradients
};

extern template class FewWalk<float>;
extern template class FewWalk<double>;

}  // namespace schuss

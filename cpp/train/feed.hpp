// SPDX-License-Identifier: MIT
/// Chunks of rows from the user's arrays, in the model's dtype.
#pragma once

#include <optional>

#include "base/aligned_buffer.hpp"
#include "nn/workspace.hpp"
#include "train/array_view.hpp"
#include "train/gather.hpp"

namespace schuss {

/// Which rows a chunk takes: `count` of them, by number, or first, first+1, ...
struct RowSet {
  const index_t* numbers = nullptr;
  index_t first = 0;
  index_t count = 0;
};

/// Feeds chunks of a two-dimensional array. In order and of the model's dtype they are used where
/// they lie; else they are converted into a buffer of one chunk.
template <class T>
class Feed {
 public:
  Feed(const ArrayView& view, index_t chunk_rows)
      : view_(view), direct_(direct_rows<T>(view)), chunk_rows_(chunk_rows) {}

  /// The chunk as a block whose row 0 is the set's first. False: an element overflows T; see bad().
  [[nodiscard]] bool take(const RowSet& rows, Block<const T>* block) {
    if (direct_ != nullptr && rows.numbers == nullptr) {
      const index_t ld = direct_ld(view_);
      *block = {direct_ + rows.first * ld, ld};
      return true;
    }
    const index_t ld = workspace_ld<T>(view_.cols);
    if (staging_.empty()) staging_ = AlignedBuffer<T>(chunk_rows_ * ld);
    *block = {staging_.data(), ld};
    return gather_rows<T>(view_, rows.numbers, rows.first, rows.count, staging_.data(), ld, &bad_);
  }

  const ArrayView& view() const { return view_; }
  const BadElement& bad() const { return bad_; }

 private:
  ArrayView view_;
  const T* direct_;
  index_t chunk_rows_;
  AlignedBuffer<T> staging_;
  BadElement bad_;
};

/// Targets of a loss: rows of numbers, or class labels.
template <class T>
class TargetFeed {
 public:
  TargetFeed(const ArrayView& view, bool labels, index_t chunk_rows)
      : numbers_(view, chunk_rows), labels_(labels ? chunk_rows : 0) {}

  bool by_labels() const { return !labels_.empty(); }
  /// Fills in a loss block's target. False: an element overflows T; see bad().
  [[nodiscard]] bool take(const RowSet& rows, LossBlock<T>* block) {
    if (by_labels()) {
      block->labels = labels(rows);
      return true;
    }
    Block<const T> target;
    const bool good = numbers_.take(rows, &target);
    block->target = target.data;
    block->ld_target = target.ld;
    return good;
  }
  const std::int64_t* labels(const RowSet& rows) {
    gather_labels(numbers_.view(), rows.numbers, rows.first, rows.count, labels_.data());
    return labels_.data();
  }
  const BadElement& bad() const { return numbers_.bad(); }

 private:
  Feed<T> numbers_;
  AlignedBuffer<std::int64_t> labels_;
};

}  // namespace schuss

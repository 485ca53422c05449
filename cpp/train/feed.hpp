// SPDX-License-Identifier: MIT
/// Chunks of rows from the user's arrays, in the model's dtype.
#pragma once

#include "base/aligned_buffer.hpp"
#include "nn/workspace.hpp"
#include "train/array_view.hpp"
#include "train/gather.hpp"

namespace schuss {

/// Which rows a piece of a chunk takes: by number, or first, first+1, ...; it starts at row `at` of
/// the chunk.
struct RowSet {
  const index_t* numbers = nullptr;
  index_t first = 0;
  index_t count = 0;
  index_t at = 0;
  index_t known = 0;  // of `numbers`: those past `count` come next
  // What will be asked for after these rows, probably: by number, or next_first, next_first + 1, ...
  const index_t* next = nullptr;
  index_t next_first = 0;
  index_t next_count = 0;
};

/// Feeds chunks of a two-dimensional array. In order and of the model's dtype they are used where
/// they lie; else they are converted into a buffer of one chunk. Threads may take disjoint pieces of
/// a chunk at the same time.
template <class T>
class Feed {
 public:
  Feed(const ArrayView& view, index_t chunk_rows, bool in_order)
      : view_(view), direct_(in_order ? direct_rows<T>(view) : nullptr) {
    if (direct_ == nullptr) staging_ = AlignedBuffer<T>(chunk_rows * ld());
  }

  /// Makes the piece's rows readable, and gives the chunk's block: its row `at` is the piece's first
  /// row. False: an element overflows T.
  [[nodiscard]] bool take(const RowSet& rows, Block<const T>* chunk, BadElement* bad) {
    if (direct_ != nullptr) {
      *chunk = {direct_ + (rows.first - rows.at) * ld(), ld()};
      return true;
    }
    *chunk = {staging_.data(), ld()};
    return gather_rows<T>(view_, rows.numbers, rows.first, rows.count,
                          staging_.data() + rows.at * ld(), ld(), bad);
  }

  const ArrayView& view() const { return view_; }

 private:
  index_t ld() const { return direct_ != nullptr ? direct_ld(view_) : workspace_ld<T>(view_.cols); }

  ArrayView view_;
  const T* direct_;
  AlignedBuffer<T> staging_;
};

/// Targets of a loss: rows of numbers, or class labels.
template <class T>
class TargetFeed {
 public:
  /// `n_classes` and `ignore_index`: what labels may be; n_classes = 0 for targets that are numbers.
  TargetFeed(const ArrayView& view, index_t n_classes, std::int64_t ignore_index,
             index_t chunk_rows, bool in_order)
      : numbers_(view, n_classes > 0 ? 0 : chunk_rows, in_order),
        labels_(n_classes > 0 ? chunk_rows : 0),
        n_classes_(n_classes),
        ignore_index_(ignore_index) {}

  bool by_labels() const { return !labels_.empty(); }
  /// Sets the block's target to the chunk's row 0. False: an element overflows T, or a label is out
  /// of range.
  [[nodiscard]] bool take(const RowSet& rows, LossBlock<T>* block, BadElement* bad) {
    if (by_labels()) {
      block->labels = labels_.data();
      return take_labels(rows, bad) != nullptr;
    }
    Block<const T> target;
    const bool good = numbers_.take(rows, &target, bad);
    block->target = target.data;
    block->ld_target = target.ld;
    return good;
  }
  /// Has the targets of these rows fetched, as far as each is one number.
  void fetch_ahead(const index_t* rows, index_t count) const {
    if (numbers_.view().cols == 1) prefetch_starts(numbers_.view(), rows, count);
  }
  /// The chunk's labels, of the rows taken so far.
  const std::int64_t* labels() const { return labels_.data(); }
  /// The piece's labels. They were in range when the call began; the array may have changed since,
  /// and kernels index by them: null when one is out of range.
  const std::int64_t* take_labels(const RowSet& rows, BadElement* bad) {
    std::int64_t* to = labels_.data() + rows.at;
    gather_labels(numbers_.view(), rows.numbers, rows.first, rows.count, to);
    for (index_t r = 0; r < rows.count; ++r) {
      if ((to[r] >= 0 && to[r] < n_classes_) || to[r] == ignore_index_) continue;
      *bad = {rows.numbers != nullptr ? rows.numbers[r] : rows.first + r, 0,
              static_cast<double>(to[r])};
      return nullptr;
    }
    return to;
  }

 private:
  Feed<T> numbers_;
  AlignedBuffer<std::int64_t> labels_;
  index_t n_classes_;
  std::int64_t ignore_index_;
};

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// A batch cut into row ranges whose sums combine pairwise, so that one process and 2, 4 or 8 that
/// share the ranges compute the same bits.
#pragma once

#include <array>
#include <bit>
#include <utility>

#include "nn/gradients.hpp"

namespace schuss {

inline constexpr index_t kMostShards = 8;

constexpr bool is_shard_count(index_t shards) {
  return shards >= 1 && shards <= kMostShards && std::has_single_bit(static_cast<unsigned>(shards));
}

/// One chunk of a batch.
struct ChunkPlace {
  index_t at = 0;  // its first row, counted in the batch
  index_t rows = 0;
  index_t shard = 0;
  index_t chunk = 0;  // counted in its shard
  bool ends_shard = false;
  bool last = false;  // of the batch
};

/// Shard s of n rows is rows ceil(s*n / shards) up to ceil((s+1)*n / shards), whose chunks start at
/// the shard's first row. The ranges of few shards are unions of those of more. With fewer rows than
/// shards some are empty.
class ShardPlan {
 public:
  ShardPlan(index_t rows, index_t shards)
      : rows_(rows), shards_(shards), log2_(std::countr_zero(static_cast<unsigned>(shards))) {}

  index_t shards() const { return shards_; }
  index_t begin(index_t shard) const { return (shard * rows_ + shards_ - 1) >> log2_; }
  index_t size(index_t shard) const { return begin(shard + 1) - begin(shard); }
  index_t chunks() const {
    index_t all = 0;
    for (index_t s = 0; s < shards_; ++s) all += chunks_of(size(s));
    return all;
  }
  /// The most chunks that a shard has.
  index_t deepest() const { return chunks_of((rows_ + shards_ - 1) >> log2_); }

  /// The batch's i-th chunk; 0 <= i < chunks().
  ChunkPlace place(index_t i) const {
    index_t shard = 0;
    for (index_t n = chunks_of(size(0)); i >= n; n = chunks_of(size(++shard))) i -= n;
    const index_t end = begin(shard + 1);
    const index_t at = begin(shard) + i * kChunkRows;
    const index_t rows = end - at < kChunkRows ? end - at : kChunkRows;
    return {at, rows, shard, i, at + rows == end, at + rows == rows_};
  }

 private:
  static index_t chunks_of(index_t rows) { return (rows + kChunkRows - 1) / kChunkRows; }

  index_t rows_;
  index_t shards_;
  int log2_;
};

/// Values of shards 0, 1, 2, ... combine as ((0+1)+(2+3))+((4+5)+(6+7)). A shard without rows is left
/// out: x + nothing is x. Add(left, value) makes value = left + value. Values are swapped, not copied.
template <class Value>
class PairwiseSum {
 public:
  static constexpr auto kLevels =
      static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(kMostShards)));
  using Pending = std::array<Value, kLevels>;

  /// One a level; buffers that are as large as what comes.
  Pending& pending() { return pending_; }

  /// `value` of a shard; shards come in order, those without rows do not come. Shard 0, which has
  /// rows when any has, starts anew. What `value` is afterwards is scratch.
  template <class Add>
  void push(index_t shard, Value& value, const Add& add) {
    if (shard == 0) {
      count_ = 0;
      some_ = {};
    }
    while (count_ < shard) carry(nullptr, add);
    carry(&value, add);
  }
  /// After the last shard: `value` becomes the sum of all.
  template <class Add>
  void finish(Value& value, const Add& add) {
    Value* sum = nullptr;
    for (std::size_t level = 0; level < kLevels; ++level) sum = joined(level, sum, add);
    if (sum != nullptr) std::swap(value, *sum);
  }

 private:
  /// Counts up by a shard, or by one without rows (null): a binary counter whose digits hold sums.
  template <class Add>
  void carry(Value* sum, const Add& add) {
    std::size_t level = 0;
    for (; ((count_ >> level) & 1) != 0; ++level) sum = joined(level, sum, add);
    if (sum != nullptr) std::swap(pending_[level], *sum);
    some_[level] = sum != nullptr;
    ++count_;
  }
  /// Where the sum of the level's pending value and `sum` is.
  template <class Add>
  Value* joined(std::size_t level, Value* sum, const Add& add) {
    if (!some_[level]) return sum;
    some_[level] = false;
    if (sum == nullptr) return &pending_[level];
    add(pending_[level], *sum);
    return sum;
  }

  Pending pending_{};
  std::array<bool, kLevels> some_{};
  index_t count_ = 0;
};

/// A float64 sum over a batch: chunks by the tree, shards pairwise.
class ShardedSum {
 public:
  void add(double chunk_sum, const ChunkPlace& place) {
    tree_.add(chunk_sum);
    if (!place.ends_shard) return;
    double sum = tree_.result();
    pairs_.push(place.shard, sum, plus);
    tree_ = SumTree();
    if (place.last) pairs_.finish(result_, plus);
  }
  /// After the batch's last chunk; 0 for a batch without rows.
  double result() const { return result_; }

 private:
  static void plus(double left, double& value) { value = left + value; }

  SumTree tree_;
  PairwiseSum<double> pairs_;
  double result_ = 0.0;
};

/// Sums the gradients that a `GradientTree` gives for each shard of a batch.
template <class T>
class ShardedGradient {
 public:
  ShardedGradient(index_t elements, index_t shards) : elements_(elements), shards_(shards) {
    if (shards == 1) return;
    const auto levels = static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(shards)));
    for (std::size_t level = 0; level < levels; ++level) {
      pairs_.pending()[level] = AlignedBuffer<T>(elements);
    }
  }

  /// Whether `close` has anything to do.
  bool any() const { return shards_ > 1; }
  /// After a shard's last chunk; after the batch's last chunk the tree's result is the batch's.
  void close(GradientTree<T>& tree, const ChunkPlace& place);

 private:
  index_t elements_;
  index_t shards_;
  PairwiseSum<AlignedBuffer<T>> pairs_;
};

extern template class ShardedGradient<float>;
extern template class ShardedGradient<double>;

}  // namespace schuss

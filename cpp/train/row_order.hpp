// SPDX-License-Identifier: MIT
/// The numbers of the rows that are trained on next.
#pragma once

#include <algorithm>
#include <cstring>

#include "base/aligned_buffer.hpp"
#include "base/permutation.hpp"

namespace schuss {

/// A stretch of an epoch's order. Many numbers are computed at once, and some ahead of their use, so
/// that whoever reads the rows can have the next ones fetched.
class RowOrder {
 public:
  struct Numbers {
    const index_t* at = nullptr;
    index_t known = 0;  // at[0]..at[known-1]
  };

  /// `most`: the largest count asked for. `ahead`: how many more to know, when the epoch has them.
  /// With ahead = 0 stretches do not follow each other, and nothing is computed beyond them.
  /// `look`: the largest count that is looked at.
  RowOrder(index_t most, index_t ahead, index_t look = 0)
      : ahead_(ahead),
        numbers_(ahead > 0 ? std::max(kStretch, 2 * (most + ahead)) : most),
        looked_at_(look) {}

  /// Another order. It outlives its use here.
  void set(const Permutation& permutation) {
    permutation_ = &permutation;
    first_ = known_ = 0;
  }

  /// Those of positions position..position+count-1 of the epoch.
  Numbers take(index_t position, index_t count) {
    const auto n = static_cast<index_t>(permutation_->size());
    const index_t until = std::min(position + count + ahead_, n);
    if (position < first_ || until > first_ + known_) compute(position, count, n);
    return {numbers_.data() + (position - first_), first_ + known_ - position};
  }

  /// The first of those at `position` and after it, as many as the epoch has, up to the constructor's
  /// `look`; what was taken stays.
  Numbers look(index_t position) {
    const auto n = static_cast<index_t>(permutation_->size());
    const index_t count = std::clamp<index_t>(n - position, 0, looked_at_.size());
    if (count > 0) {
      permutation_->fill(static_cast<std::uint64_t>(position), count, looked_at_.data());
    }
    return {looked_at_.data(), count};
  }

 private:
  static constexpr index_t kStretch = 1024;

  void compute(index_t position, index_t count, index_t n) {
    const bool follows = position >= first_ && position < first_ + known_;
    const index_t kept = follows ? first_ + known_ - position : 0;
    if (follows) {
      std::memmove(numbers_.data(), numbers_.data() + (position - first_),
                   static_cast<std::size_t>(kept) * sizeof(index_t));
    }
    first_ = position;
    known_ = std::min(ahead_ > 0 ? numbers_.size() : count, n - position);
    if (known_ <= kept) return;
    permutation_->fill(static_cast<std::uint64_t>(position + kept), known_ - kept,
                       numbers_.data() + kept);
  }

  const Permutation* permutation_ = nullptr;
  index_t ahead_;
  AlignedBuffer<index_t> numbers_;
  AlignedBuffer<index_t> looked_at_;
  index_t first_ = 0;
  index_t known_ = 0;
};

}  // namespace schuss

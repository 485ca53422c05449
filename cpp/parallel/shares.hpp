// SPDX-License-Identifier: MIT
/// Equal shares of a phase's work; who is done early takes from the others.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "parallel/part.hpp"

namespace schuss {

/// Pieces 0..n-1 of a phase between two meetings. Each thread has a range of its own, from whose front
/// it takes half of what is left, again and again; a thread without any takes half of what is left at
/// the back of another's. So a thread that the machine slows down gets less of the work, threads of
/// equal speed keep to the same memory in every step, and few pieces are cut.
///
/// Who takes a piece never changes an operation: it is for work whose pieces are independent.
class Shares {
 public:
  explicit Shares(int threads = 1) : ranges_(static_cast<std::size_t>(threads)) {}

  /// One thread, when every piece dealt before is done. Who takes a piece sees what this thread wrote
  /// before it dealt. A thread alone gets everything at once.
  void deal(int pieces) {
    const auto threads = static_cast<int>(ranges_.size());
    pieces_ = threads == 1 ? 1 : pieces;
    for (int i = 0; i < threads; ++i) {
      const Part own{i, threads};
      const auto begin = static_cast<std::uint32_t>(own.begin(pieces_, 1));
      const auto end = static_cast<std::uint32_t>(own.end(pieces_, 1));
      ranges_[static_cast<std::size_t>(i)].word.store(join(begin, end), std::memory_order_release);
    }
  }

  /// The next pieces for this thread, none (Part::size 0) when all are taken.
  Part take(int thread) {
    const auto threads = static_cast<int>(ranges_.size());
    for (int i = 0; i < threads; ++i) {
      const int whose = (thread + i) % threads;
      Part part;
      if (take_from(ranges_[static_cast<std::size_t>(whose)].word, i == 0, &part)) return part;
    }
    return {0, 1, 0};
  }

 private:
  struct alignas(64) Range {
    std::atomic<std::uint64_t> word{0};
  };

  static std::uint64_t join(std::uint32_t begin, std::uint32_t end) {
    return (std::uint64_t{begin} << 32) | end;
  }

  bool take_from(std::atomic<std::uint64_t>& word, bool own, Part* part) {
    std::uint64_t now = word.load(std::memory_order_relaxed);
    for (;;) {
      const auto begin = static_cast<std::uint32_t>(now >> 32);
      const auto end = static_cast<std::uint32_t>(now);
      if (begin == end) return false;
      const std::uint32_t size = (end - begin + 1) / 2;
      const std::uint64_t rest = own ? join(begin + size, end) : join(begin, end - size);
      if (word.compare_exchange_weak(now, rest, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
        *part = {static_cast<int>(own ? begin : end - size), pieces_, static_cast<int>(size)};
        return true;
      }
    }
  }

  std::vector<Range> ranges_;
  int pieces_ = 0;
};

}  // namespace schuss

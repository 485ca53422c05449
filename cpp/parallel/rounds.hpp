// SPDX-License-Identifier: MIT
/// Work in rounds of pieces, each done by whichever thread is free.
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>

#include "base/types.hpp"
#include "parallel/team.hpp"

namespace schuss {

/// One thread leads: it opens a round of pieces, takes some itself, and goes on when all are done.
/// Helpers take what they can get. Nobody waits for a helper that has taken nothing: one that has
/// lost its processor to another program delays no round but the one in which it holds a piece.
///
/// What the leader wrote before `open` is visible to who takes a piece; what was written before a
/// piece was finished is visible to the leader after `wait`.
class Rounds {
 public:
  static constexpr index_t kMostPieces = (1 << 12) - 1;

  /// Before threads use it, and again before they use it once more after `close`.
  void reset() {
    word_.store(0, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    signal_.store(0, std::memory_order_relaxed);
  }

  /// The leader. 0 <= n <= kMostPieces. The last round must be over.
  void open(const Region& region, index_t n) {
    assert(n >= 0 && n <= kMostPieces);
    region.arrive();
    done_.store(0, std::memory_order_relaxed);
    const std::uint64_t round = (word_.load(std::memory_order_relaxed) >> kRoundShift) + 1;
    publish((round << kRoundShift) | (static_cast<std::uint64_t>(n) << kCountShift));
  }
  /// A piece of the open round that nobody has, or -1. For every piece taken, call `finish`.
  index_t take() {
    std::uint64_t word = word_.load(std::memory_order_acquire);
    while (next_of(word) < count_of(word)) {
      if (word_.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        return next_of(word);
      }
    }
    return -1;
  }
  void finish() {
    const index_t count = count_of(word_.load(std::memory_order_relaxed));
    if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) done_.notify_one();
  }
  /// The leader: until all pieces of the round are done.
  void wait(const Region& region) {
    const index_t count = count_of(word_.load(std::memory_order_relaxed));
    wait_while(done_, region.spins, [count](std::int32_t done) { return done != count; });
  }
  /// The leader: there will be no more rounds, helpers return.
  void close() { publish(kClosed); }

  /// A helper: calls work(piece) for each piece that it takes, until `close`.
  template <class Work>
  void help(const Region& region, const Work& work) {
    for (;;) {
      region.arrive();
      const std::int32_t seen = signal_.load(std::memory_order_acquire);
      if (word_.load(std::memory_order_acquire) == kClosed) return;
      for (index_t piece = take(); piece >= 0; piece = take()) {
        work(piece);
        finish();
      }
      wait_while(signal_, region.spins, [seen](std::int32_t now) { return now == seen; });
    }
  }

 private:
  // A word is the number of the round, its pieces, and the next one to take.
  static constexpr int kCountShift = 12;
  static constexpr int kRoundShift = 24;
  static constexpr std::uint64_t kClosed = ~std::uint64_t{0};

  static index_t next_of(std::uint64_t word) { return static_cast<index_t>(word & kMostPieces); }
  static index_t count_of(std::uint64_t word) {
    return static_cast<index_t>((word >> kCountShift) & kMostPieces);
  }

  void publish(std::uint64_t word) {
    word_.store(word, std::memory_order_release);
    signal_.fetch_add(1, std::memory_order_release);
    signal_.notify_all();
  }

  alignas(64) std::atomic<std::uint64_t> word_{0};
  alignas(64) std::atomic<std::int32_t> signal_{0};
  alignas(64) std::atomic<std::int32_t> done_{0};
};

}  // namespace schuss

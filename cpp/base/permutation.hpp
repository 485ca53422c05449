// SPDX-License-Identifier: MIT
/// A keyed permutation of 0..n-1 that needs no index array: the order a shuffled epoch reads rows in.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "base/philox.hpp"
#include "base/types.hpp"

namespace schuss {

/// Position i of the order of epoch `epoch` under `seed`. n in 0..2^40.
///
/// A Feistel network on pairs: i = left*columns + right, with rows*columns just above n. Each round
/// adds a keyed hash of one half to the other, modulo rows or columns in turn. Results of n or more
/// (at most one in sqrt(n)) walk on along their cycle. All of it is integer arithmetic. Halves are
/// 16 bits wide while they can be, so that loops over rows fill a register with 8 of them even
/// where nothing above SSE2 may be assumed.
class Permutation {
 public:
  static constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 40;

  Permutation(std::uint64_t n, std::uint64_t seed, std::uint64_t epoch) : n_(n) {
    assert(n <= kMaxSize);
    std::uint64_t root = 0;  // the largest with root^2 <= n
    for (std::uint64_t bit = std::uint64_t{1} << 20; bit != 0; bit >>= 1) {
      if ((root + bit) * (root + bit) <= n) root += bit;
    }
    rows_ = root == 0 ? 1 : static_cast<std::uint32_t>(root);
    columns_ = n == 0 ? 1 : static_cast<std::uint32_t>((n + rows_ - 1) / rows_);
    const RandomStream stream(seed, RandomUse::kShuffle, epoch);
    rounds_ = n < kSmallSet ? kSmallSetRounds : kRounds;
    for (std::size_t round = 0; round < rounds_; ++round) {
      const std::uint64_t bits = stream.bits(round);
      keys_[round] = {low_half(bits) | 1U, high_half(bits)};
    }
  }

  std::uint64_t size() const { return n_; }

  /// Where position i < n reads.
  std::uint64_t operator()(std::uint64_t i) const {
    return is_short() ? at<std::uint16_t>(i) : at<std::uint32_t>(i);
  }

  /// out[j] = (*this)(first + j), j in 0..count-1; first + count <= n.
  void fill(std::uint64_t first, index_t count, index_t* out) const {
    for (; count >= kBlock; count -= kBlock, first += kBlock, out += kBlock) {
      fill_any<kBlock>(first, out);
    }
    if (count >= kMiddleBlock) {
      fill_any<kMiddleBlock>(first, out);
      count -= kMiddleBlock;
      first += kMiddleBlock;
      out += kMiddleBlock;
    }
    for (; count > 0; count -= kShortBlock, first += kShortBlock, out += kShortBlock) {
      if (count >= kShortBlock) {
        fill_any<kShortBlock>(first, out);
        continue;
      }
      index_t last[kShortBlock];
      fill_any<kShortBlock>(first, last);
      for (index_t j = 0; j < count; ++j) out[j] = last[j];
    }
  }

 private:
  /// Each half moves three times; in a small set, where one hash has few values to give, twelve
  /// times (with three, the pairs of 12 rows are visibly uneven over epochs).
  static constexpr std::size_t kRounds = 6;
  static constexpr std::size_t kSmallSetRounds = 24;
  static constexpr std::uint64_t kSmallSet = 1024;
  // Fixed counts: loops over rows have no tails. A round waits for the one before, so a short block
  // takes as long as one of 32.
  static constexpr index_t kBlock = 64;
  static constexpr index_t kMiddleBlock = 32;
  static constexpr index_t kShortBlock = 16;

  struct Key {
    std::uint32_t multiplier;  // odd
    std::uint32_t offset;
  };

  template <class Half>
  using Whole = std::conditional_t<sizeof(Half) == 2, std::uint32_t, std::uint64_t>;

  /// Sums of two halves stay below 2^15, so that they compare as signed numbers, which SSE2 can.
  bool is_short() const { return columns_ < (1U << 14); }

  template <class Half>
  static Half high_product(Half x, Half y) {
    constexpr int kBits = std::numeric_limits<Half>::digits;
    return static_cast<Half>((static_cast<Whole<Half>>(x) * y) >> kBits);
  }

  /// (x + hash of `other`) mod range. The hash scales the two words of the square of a keyed linear
  /// function, xored, to the range: squaring is what makes neighbours unrelated.
  template <class Half>
  static Half mix(Half x, Half other, Key key, Half range) {
    const auto line =
        static_cast<Half>(static_cast<Whole<Half>>(other) * static_cast<Half>(key.multiplier) +
                          static_cast<Half>(key.offset));
    const auto low = static_cast<Half>(static_cast<Whole<Half>>(line) * line);
    const auto hash = static_cast<Half>(low ^ high_product(line, line));
    const auto sum = static_cast<Half>(x + high_product(hash, range));
    const auto wrapped = static_cast<Half>(sum - range);
    constexpr int kSign = std::numeric_limits<Half>::digits - 1;
    const auto below = static_cast<Half>(static_cast<std::make_signed_t<Half>>(wrapped) >> kSign);
    return static_cast<Half>(wrapped + (range & below));
  }

  template <class Half>
  std::uint64_t at(std::uint64_t i) const {
    const auto rows = static_cast<Half>(rows_);
    const auto columns = static_cast<Half>(columns_);
    do {
      auto left = static_cast<Half>(i / columns_);
      auto right = static_cast<Half>(i % columns_);
      for (std::size_t round = 0; round < rounds_; round += 2) {
        right = mix<Half>(right, left, keys_[round], columns);
        left = mix<Half>(left, right, keys_[round + 1], rows);
      }
      i = static_cast<std::uint64_t>(left) * columns_ + right;
    } while (i >= n_);
    return i;
  }

  template <index_t kCount>
  void fill_any(std::uint64_t first, index_t* out) const {
    if (is_short()) {
      fill_block<std::uint16_t, kCount>(first, out);
    } else {
      fill_block<std::uint32_t, kCount>(first, out);
    }
  }

  /// Positions past the end (in the last block of an epoch) give something, which nobody reads.
  template <class Half, index_t kCount>
  void fill_block(std::uint64_t first, index_t* out) const {
    Half left[kCount];
    Half right[kCount];
    // Both ranges as arrays: GCC recognises the high half of a product of two 16-bit loads, but not
    // of a load and a constant.
    Half rows[kCount];
    Half columns[kCount];
    for (index_t j = 0; j < kCount; ++j) rows[j] = static_cast<Half>(rows_);
    for (index_t j = 0; j < kCount; ++j) columns[j] = static_cast<Half>(columns_);
    split_block<Half, kCount>(first, left, right);
    for (std::size_t round = 0; round < rounds_; round += 2) {
      const Key to_right = keys_[round];
      for (index_t j = 0; j < kCount; ++j) right[j] = mix(right[j], left[j], to_right, columns[j]);
      const Key to_left = keys_[round + 1];
      for (index_t j = 0; j < kCount; ++j) left[j] = mix(left[j], right[j], to_left, rows[j]);
    }
    const auto last = static_cast<Whole<Half>>(n_ - 1);
    Whole<Half> beyond = 0;
    for (index_t j = 0; j < kCount; ++j) {
      const auto i =
          static_cast<Whole<Half>>(static_cast<Whole<Half>>(left[j]) * columns[j] + right[j]);
      beyond |= last - i;  // wraps around, and so sets the top bit, where i >= n
      out[j] = static_cast<index_t>(i);
    }
    if (beyond >> (std::numeric_limits<Whole<Half>>::digits - 1) == 0) return;
    for (index_t j = 0; j < kCount; ++j) {
      const auto i = static_cast<std::uint64_t>(out[j]);
      if (i >= n_ && first + static_cast<std::uint64_t>(j) < n_) {
        out[j] = static_cast<index_t>(at<Half>(i));
      }
    }
  }

  /// The pairs of positions first, first + 1, ...
  template <class Half, index_t kCount>
  void split_block(std::uint64_t first, Half* left, Half* right) const {
    auto row = static_cast<std::uint32_t>(first / columns_);
    auto column = static_cast<std::uint32_t>(first % columns_);
    if (columns_ >= kCount) {  // one row, or two
      const std::uint32_t until = columns_ - column;
      for (std::uint32_t j = 0; j < kCount; ++j) {
        const bool next = j >= until;
        left[j] = static_cast<Half>(next ? row + 1 : row);
        right[j] = static_cast<Half>(next ? j - until : column + j);
      }
      return;
    }
    for (index_t j = 0; j < kCount; ++j) {
      left[j] = static_cast<Half>(row);
      right[j] = static_cast<Half>(column);
      if (++column == columns_) {
        column = 0;
        ++row;
      }
    }
  }

  std::uint64_t n_;
  std::uint32_t rows_ = 1;
  std::uint32_t columns_ = 1;
  std::size_t rounds_ = kRounds;
  std::array<Key, kSmallSetRounds> keys_{};
};

}  // namespace schuss

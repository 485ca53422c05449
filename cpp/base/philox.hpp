// SPDX-License-Identifier: MIT
/// Counter-based random numbers: a number is addressed, not drawn, so order, threads and batches
/// cannot change it.
#pragma once

#include <array>
#include <cstdint>

namespace schuss {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

/// Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
/// (SC 2011). Checked against the published known answers.
constexpr PhiloxCounter philox(PhiloxCounter counter, PhiloxKey key) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53U;
  constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57U;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9U;  // golden ratio
  constexpr std::uint32_t kWeyl1 = 0xBB67AE85U;  // sqrt(3) - 1
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = kMultiplier0 * counter[0];
    const std::uint64_t b = kMultiplier1 * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key = {key[0] + kWeyl0, key[1] + kWeyl1};
  }
  return counter;
}

constexpr std::uint32_t low_half(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
constexpr std::uint32_t high_half(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }
constexpr std::uint64_t join_halves(std::uint32_t low, std::uint32_t high) {
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

/// What random numbers are for. One seed gives unrelated numbers to each use.
enum class RandomUse : std::uint32_t { kInitialise = 1, kShuffle = 2, kDropout = 3, kUser = 4 };

/// A sequence of random blocks, addressed by (seed, use, stream, block).
class RandomStream {
 public:
  /// `stream` tells apart what one seed is used for: a construction counter, an epoch, a layer.
  constexpr RandomStream(std::uint64_t seed, RandomUse use, std::uint64_t stream)
      : stream_(stream) {
    // A key of its own for each use: one more Philox call, so that counters never meet.
    const PhiloxCounter mixed =
        philox({static_cast<std::uint32_t>(use), 0, 0, 0}, {low_half(seed), high_half(seed)});
    key_ = {mixed[0], mixed[1]};
  }

  constexpr PhiloxCounter block(std::uint64_t index) const {
    return philox({low_half(index), high_half(index), low_half(stream_), high_half(stream_)}, key_);
  }

  /// 64 random bits, addressed by element: two elements share a block.
  constexpr std::uint64_t bits(std::uint64_t element) const {
    const PhiloxCounter four = block(element >> 1);
    return (element & 1U) == 0 ? join_halves(four[0], four[1]) : join_halves(four[2], four[3]);
  }

 private:
  std::uint64_t stream_;
  PhiloxKey key_{};
};

/// Uniform on the 2^53 multiples of 2^-53 in [0, 1); exact.
constexpr double uniform_float64(std::uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

/// Uniform on the 2^24 multiples of 2^-24 in [0, 1); exact.
constexpr float uniform_float32(std::uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24F;
}

/// Uniform on the 2^52 odd multiples of 2^-53: inside (0, 1), symmetric about 1/2; exact. For
/// functions that are infinite at the ends.
constexpr double uniform_open_float64(std::uint64_t bits) {
  return static_cast<double>((bits >> 12) * 2 + 1) * 0x1p-53;
}

}  // namespace schuss

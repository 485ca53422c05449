// SPDX-License-Identifier: MIT
/// Where the threads of a team run: each on a processor of its own, when there are enough.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace schuss {

/// Two threads that wake each other again and again look like one runnable thread to a scheduler,
/// which may then leave both on one processor for seconds while another idles: each meeting takes a
/// switch, tens of microseconds, and sharing work makes it slower. A worker that finds itself on the
/// processor of a thread with a lower number moves to one that none of them is on. Its affinity is
/// as before afterwards: where it runs next is again the scheduler's choice.
class Places {
 public:
  explicit Places(int threads) : processors_(static_cast<std::size_t>(threads)) {}

  /// A region begins; nobody's place is known.
  void reset();
  /// Called by each thread of the region, now and then. A few nanoseconds when all is well.
  void arrive(int thread);

 private:
  struct alignas(64) Place {
    std::atomic<int> processor{-1};
    std::int64_t quiet_until = 0;  // nanoseconds; a move is not tried again at once
  };
  bool is_shared(int thread, int processor) const;

  std::vector<Place> processors_;
};

}  // namespace schuss

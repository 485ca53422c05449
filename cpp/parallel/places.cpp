// SPDX-License-Identifier: MIT
#include "parallel/places.hpp"

#include <chrono>

#if defined(__linux__)
#include <sched.h>
#endif

namespace schuss {

void Places::reset() {
  for (Place& place : processors_) place.processor.store(-1, std::memory_order_relaxed);
}

bool Places::is_shared(int thread, int processor) const {
  for (int i = 0; i < thread; ++i) {
    const Place& other = processors_[static_cast<std::size_t>(i)];
    if (other.processor.load(std::memory_order_relaxed) == processor) return true;
  }
  return false;
}

#if defined(__linux__)

void Places::arrive(int thread) {
  Place& own = processors_[static_cast<std::size_t>(thread)];
  const int here = sched_getcpu();
  if (own.processor.load(std::memory_order_relaxed) != here) {
    own.processor.store(here, std::memory_order_relaxed);
  }
  if (!is_shared(thread, here)) return;
  // A neighbour that needs the other processor must not make this thread hop at each meeting.
  using Clock = std::chrono::steady_clock;
  constexpr std::int64_t kRest = std::chrono::nanoseconds(std::chrono::milliseconds(1)).count();
  const std::int64_t now = std::chrono::nanoseconds(Clock::now().time_since_epoch()).count();
  if (now < own.quiet_until) return;
  own.quiet_until = now + kRest;

  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  cpu_set_t free = allowed;
  for (int i = 0; i < thread; ++i) {
    const int taken =
        processors_[static_cast<std::size_t>(i)].processor.load(std::memory_order_relaxed);
    if (taken >= 0 && taken < CPU_SETSIZE) CPU_CLR(static_cast<std::size_t>(taken), &free);
  }
  if (CPU_COUNT(&free) == 0 || sched_setaffinity(0, sizeof(free), &free) != 0) return;
  own.processor.store(sched_getcpu(), std::memory_order_relaxed);
  sched_setaffinity(0, sizeof(allowed), &allowed);
}

#else

void Places::arrive(int /*thread*/) {}

#endif

}  // namespace schuss

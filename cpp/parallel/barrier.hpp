// SPDX-License-Identifier: MIT
/// A meeting point of the threads of one region.
#pragma once

#include <atomic>
#include <cstdint>

namespace schuss {

/// In a loop that looks at memory: leaves the core to its other thread, and saves power.
inline void relax_processor() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Returns when condition(value) is false: looks `spins` times, then sleeps until notified.
template <class Value, class Condition>
void wait_while(const std::atomic<Value>& value, int spins, const Condition& condition) {
  for (int i = 0; i < spins; ++i) {
    if (!condition(value.load(std::memory_order_acquire))) return;
    relax_processor();
  }
  for (;;) {
    const Value now = value.load(std::memory_order_acquire);
    if (!condition(now)) return;
    value.wait(now, std::memory_order_acquire);
  }
}

/// Threads that arrive wait until all have. Waiters spin for a while, then sleep in the kernel: a step
/// of a small model takes less than waking up. With more threads than cores they sleep at once.
class Barrier {
 public:
  /// spins: looks at the phase before sleeping.
  Barrier(int threads, int spins) : threads_(threads), spins_(spins) {}
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;

  /// What a thread wrote before is visible to all after.
  void wait() {
    if (threads_ == 1) return;
    const std::uint32_t phase = phase_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      phase_.notify_all();
      return;
    }
    wait_while(phase_, spins_, [phase](std::uint32_t now) { return now == phase; });
  }

 private:
  int threads_;
  int spins_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> phase_{0};
};

}  // namespace schuss

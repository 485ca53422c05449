// SPDX-License-Identifier: MIT
/// Phases of a call, shared by the caller and whichever workers are awake in time.
#pragma once

#include <atomic>
#include <cassert>
#include <functional>

#include "parallel/shares.hpp"
#include "parallel/team.hpp"

namespace schuss {

/// How many multiply-adds of a step or a call make another thread worth having, for those made from
/// now on; 0: as estimates say. For tests and measurements. Returns what it was.
double set_work_per_thread(double work);
double forced_work_per_thread();

/// Threads for a call of its own of `work` multiply-adds, cut into `pieces` equal ones at most: 1 up to
/// num_threads(). An estimate: threads never choose the arithmetic.
int crew_size(double work, index_t pieces);

/// The caller leads through phases of independent pieces; helpers take what they can get (shares.hpp).
/// Nobody waits for a helper that has taken nothing, so a call that has to wake a sleeping one, or
/// whose helper has lost its processor, is late by no more than a look at memory.
///
/// What the caller wrote before `share` is visible to who takes a piece; what pieces wrote is visible
/// to the caller after it, and to the pieces of later phases.
class Crew {
 public:
  explicit Crew(int threads) : threads_(threads), shares_(threads > 1 ? threads : 0) {}
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  int threads() const { return threads_; }

  /// The caller: work(thread, part) for parts that make up pieces 0..n-1, in any order; a caller alone
  /// gets them all as one part, cut by nothing. `work` must not throw.
  template <class Work>
  void share(int n, const Work& work) {
    assert(n >= 1);
    if (threads_ == 1) return work(0, Part{});
    work_ = [](const void* to, int thread, Part part) {
      (*static_cast<const Work*>(to))(thread, part);
    };
    to_ = &work;
    done_.store(0, std::memory_order_relaxed);
    shares_.deal(n);
    phase_.fetch_add(1, std::memory_order_release);
    phase_.notify_all();
    take_all(0);
    wait_while(done_, region_->spins, [n](int done) { return done != n; });
  }

 private:
  template <class Lead>
  friend void with_crew(int threads, const Lead& lead);

  static constexpr std::uint32_t kClosed = ~std::uint32_t{0};

  void take_all(int thread) {
    for (Part part = shares_.take(thread); part.size > 0; part = shares_.take(thread)) {
      work_(to_, thread, part);  // of the phase that the part is of: it cannot end before
      const int n = part.count;
      if (done_.fetch_add(part.size, std::memory_order_acq_rel) + part.size == n) {
        done_.notify_one();
      }
    }
  }
  void help(const Region& region) {
    for (;;) {
      region.arrive();
      const std::uint32_t seen = phase_.load(std::memory_order_acquire);
      if (seen == kClosed) return;
      take_all(region.thread);
      wait_while(phase_, region.spins, [seen](std::uint32_t now) { return now == seen; });
    }
  }
  void close() {
    phase_.store(kClosed, std::memory_order_release);
    phase_.notify_all();
  }

  int threads_;
  const Region* region_ = nullptr;
  Shares shares_;
  void (*work_)(const void* to, int thread, Part part) = nullptr;
  const void* to_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> phase_{0};
  alignas(64) std::atomic<int> done_{0};
};

/// lead(crew) on this thread, with up to `threads` - 1 helpers while it runs; none where so many
/// threads are at work that they would share processors. What `lead` throws is thrown here.
template <class Lead>
void with_crew(int threads, const Lead& lead) {
  if (threads > 1) {
    Crew crew(threads);
    const std::function<void(const Region&)> body = [&](const Region& region) {
      if (region.thread != 0) return crew.help(region);
      struct Closing {
        explicit Closing(Crew& c) : crew(c) {}
        ~Closing() { crew.close(); }
        Closing(const Closing&) = delete;
        Closing& operator=(const Closing&) = delete;
        Crew& crew;
      };
      crew.region_ = &region;
      const Closing closing(crew);
      lead(crew);
    };
    if (run_helped(threads, body)) return;
  }
  Crew alone(1);
  lead(alone);
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// The worker threads: parked between regions, all in one region while a model trains.
#pragma once

#include <functional>
#include <string>

#include "parallel/barrier.hpp"
#include "parallel/places.hpp"

namespace schuss {

/// Threads that a call may use: `set_num_threads`, else SCHUSS_NUM_THREADS, else OMP_NUM_THREADS, else
/// the processors that affinity and the control group's quota leave.
int num_threads();
/// Throws ValueError unless 1 <= n <= kMostThreads.
void set_num_threads(int n);
inline constexpr int kMostThreads = 256;
/// The same for calls from this thread alone; 0 ends it. Returns what was there before.
int override_num_threads(int n);

/// Processors this process may run on, at least 1.
int usable_cores();
/// Cores that the quotas of control group `group` ("/a/b", below folder `root`) and of its parents pay
/// for, rounded, at least 1; 0: there is no quota.
int quota_cores(const std::string& root, std::string group);

/// With another thread work has to take less than this much of its time: it takes a processor from
/// others, and while it has none itself all wait for it.
inline constexpr double kWorthwhile = 0.95;

/// What a region's threads get.
struct Region {
  int thread = 0;  // 0..threads-1; 0 is the caller
  int threads = 1;
  Barrier* barrier = nullptr;
  Places* places = nullptr;  // null: more threads than processors
  int spins = 0;             // looks at memory before a wait sleeps

  /// Before a thread waits for others, or they for it.
  void arrive() const {
    if (places != nullptr) places->arrive(thread);
  }
  void meet() const {
    arrive();
    barrier->wait();
  }
};

/// Runs body on `threads` threads at once, the caller's among them, and returns when all are done.
/// Regions of different callers run side by side. An exception in a body is thrown here, after the
/// region (the bodies must not meet again once one has thrown). A forked child starts threads of its
/// own.
void run_region(int threads, const std::function<void(const Region&)>& body);

/// The same for a body whose helpers (threads 1 and up) only take work off the caller, thread 0, and
/// return soon after it does: one that is not there before the caller's body has returned never comes,
/// and nobody waits for it. False: not run, because so many other threads are in regions that these
/// would share processors with them.
bool run_helped(int threads, const std::function<void(const Region&)>& body);

}  // namespace schuss

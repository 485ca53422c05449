// SPDX-License-Identifier: MIT
#include "parallel/crew.hpp"

#include <algorithm>

namespace schuss {
namespace {

std::atomic<double> forced{0.0};

// In multiply-adds, of which a thread does some 50 in a nanosecond (Zen 3, AVX2).

/// Shorter calls are over before sharing them has paid. 20 us.
constexpr double kLeastWork = 1e6;
/// What the phases of a call cost beside their work: their beginnings and ends, and what threads fetch
/// from each other's caches. 6 us for two threads.
constexpr double kSharing = 2e5;
constexpr double kSharingEach = 5e4;

}  // namespace

double set_work_per_thread(double work) { return forced.exchange(work); }
double forced_work_per_thread() { return forced.load(std::memory_order_relaxed); }

int crew_size(double work, index_t pieces) {
  const double each = forced_work_per_thread();
  if (each == 0.0 && work < kLeastWork) return 1;
  const auto most = static_cast<int>(std::min<index_t>(num_threads(), pieces));
  if (most <= 1) return 1;
  if (each > 0.0) {
    return static_cast<int>(std::clamp(work / each, 1.0, static_cast<double>(most)));
  }
  int best = 1;
  double least = work;
  for (int threads = 2; threads <= most; ++threads) {
    const auto largest = static_cast<double>((pieces + threads - 1) / threads);
    const double time =
        work * largest / static_cast<double>(pieces) + kSharing + kSharingEach * threads;
    if (time >= kWorthwhile * least) continue;
    best = threads;
    least = time;
  }
  return best;
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
#include "train/thread_choice.hpp"

#include <algorithm>

#include "parallel/team.hpp"

namespace schuss {
namespace {

// The unit is a multiply-add, of which a thread does some 50 in a nanosecond. The numbers fit the
// times of bench/threads.py on one thread and two (Zen 3, AVX2); beyond two they are a guess on the
// side of few threads.

/// What a row costs beside its multiply-adds: its loss, and the ends of its vectors. 55 ns.
constexpr double kRowWork = 2750.0;
/// Sharing a chunk by tiles: the meetings, and what threads fetch from each other's caches. 10 us for
/// two threads.
constexpr double kSharingWork = 4e5;
constexpr double kSharingWorkEach = 5e4;
/// Sharing by chunks: waking the helpers, adding what they made, the leader's wait. 6 us.
constexpr double kHelpersWork = 3e5;
/// A trial is worth its steps where the estimate for the team is below so many times that of one
/// thread, and a step is not long: what sharing costs, 10 to 60 us by the hour, does not decide about
/// these. Their trials failed only while a processor was gone, and it was back before the pause ended.
constexpr double kFar = 1.7;
constexpr double kLongStep = 0.5e-3;  // seconds

/// A narrow layer alone waits for memory rather than for arithmetic, and shares its rows in one walk
/// with one meeting: multiply-adds (or bytes of input) that make a helper worth having, some 5
/// microseconds.
constexpr double kNarrowWorkPerThread = 2e5;

/// Multiply-adds of a second on one thread, and of narrow layers: for the length of a trial only.
constexpr double kWorkPerSecond = 35e9;
constexpr double kNarrowWorkPerSecond = 17e9;

/// The largest of `parts` parts of 0..n-1 cut at multiples of `grain`, as a fraction of n.
double largest_part(index_t n, index_t grain, index_t parts) {
  const index_t grains = (n + grain - 1) / grain;
  const index_t most = std::min(n, (grains + parts - 1) / parts * grain);
  return static_cast<double>(most) / static_cast<double>(n);
}

/// Of the work on weights. Those of narrow layers are not shared.
double largest_weight_part(const Network& network, index_t grain, index_t parts) {
  double all = 0.0;
  double mine = 0.0;
  for (const Stage& stage : network.stages()) {
    if (!stage.dense()) continue;
    const double work = static_cast<double>(stage.n_in) * static_cast<double>(stage.n_out);
    all += work;
    mine += stage.narrow() ? work : work * largest_part(stage.n_in, grain, parts);
  }
  return all > 0.0 ? mine / all : 1.0;
}

/// The fewest threads that no larger number beats by enough.
template <class Time>
ThreadChoice least_time(int most, double alone, const Time& time) {
  ThreadChoice choice;
  choice.step_seconds = alone / kWorkPerSecond;
  double least = kFar * alone;
  for (int threads = 2; threads <= most; ++threads) {
    const double now = time(threads);
    if (now >= kWorthwhile * least) continue;
    choice.team = threads;
    least = now;
  }
  choice.shares = least < kWorthwhile * alone;
  choice.on_trial = choice.team > 1 && choice.step_seconds < kLongStep;
  return choice;
}

}  // namespace

ThreadChoice threads_by_tiles(const StepShape& shape, int most, index_t row_grain,
                              index_t weight_grain) {
  const auto rows = static_cast<double>(shape.rows);
  // Two thirds are passes over rows, a third is products for the weights' gradients.
  const double row_work = rows * (shape.work_per_row * (2.0 / 3.0) + kRowWork);
  const double weight_work = rows * shape.work_per_row * (1.0 / 3.0);
  const index_t chunks = (shape.rows + shape.chunk_rows - 1) / shape.chunk_rows;
  const double alone = row_work + weight_work;
  if (alone <= kSharingWork) return {};
  return least_time(most, alone, [&](int threads) {
    const double sharing = kSharingWork + kSharingWorkEach * threads;
    return row_work * largest_part(shape.chunk_rows, row_grain, threads) +
           weight_work * largest_weight_part(*shape.network, weight_grain, threads) +
           sharing * static_cast<double>(chunks);
  });
}

ThreadChoice threads_by_chunks(const StepShape& shape, int most) {
  const double alone = static_cast<double>(shape.rows) * (shape.work_per_row + kRowWork);
  if (alone <= kHelpersWork) return {};
  return least_time(most, alone, [&](int threads) {
    return alone * largest_part(shape.rows, shape.chunk_rows, threads) + kHelpersWork;
  });
}

ThreadChoice threads_by_narrow_chunks(const StepShape& shape, int most) {
  const double work = static_cast<double>(shape.rows) * shape.work_per_row;
  ThreadChoice choice;
  choice.team =
      static_cast<int>(std::clamp(work / kNarrowWorkPerThread, 1.0, static_cast<double>(most)));
  choice.shares = choice.team > 1;
  choice.step_seconds = work / kNarrowWorkPerSecond;
  choice.on_trial = choice.shares && choice.step_seconds < kLongStep;
  return choice;
}

}  // namespace schuss

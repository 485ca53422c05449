// SPDX-License-Identifier: MIT
/// How many threads a step is worth, by estimates of its time from its shape alone. Threads never
/// choose the arithmetic, so an estimate that is off costs time and nothing else. Where steps are not
/// very long, a trial has the last word (thread_trial.hpp).
#pragma once

#include "nn/network.hpp"

namespace schuss {

/// What the time of a step depends on.
struct StepShape {
  const Network* network = nullptr;
  double work_per_row = 0.0;  // multiply-adds, or bytes of input
  index_t rows = 0;           // of a batch
  index_t chunk_rows = 0;     // of its chunks, the last excepted
};

struct ThreadChoice {
  int team = 1;               // threads that share a step, if it is shared
  bool shares = false;        // whether it is, by the estimate
  bool on_trial = false;      // which may find otherwise
  double step_seconds = 0.0;  // of one thread, roughly
};

/// A team of 1..most for a step shared by tiles: the rows of chunks are cut at multiples of
/// `row_grain`, those of weights at multiples of `weight_grain`.
ThreadChoice threads_by_tiles(const StepShape& shape, int most, index_t row_grain,
                              index_t weight_grain);

/// A team of 1..most for a step shared by whole chunks.
ThreadChoice threads_by_chunks(const StepShape& shape, int most);

/// The same for a network of one narrow layer: bound by memory, with one meeting.
ThreadChoice threads_by_narrow_chunks(const StepShape& shape, int most);

}  // namespace schuss

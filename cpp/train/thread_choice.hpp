// SPDX-License-Identifier: MIT
/// How many threads a step is worth, by estimates of its time from its shape alone. Threads never
/// choose the arithmetic, so an estimate that is off costs time and nothing else.
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

/// 1..most threads for a step shared by tiles: the rows of chunks are cut at multiples of `row_grain`,
/// those of weights at multiples of `weight_grain`.
int threads_by_tiles(const StepShape& shape, int most, index_t row_grain, index_t weight_grain);

/// 1..most threads for a step shared by whole chunks.
int threads_by_chunks(const StepShape& shape, int most);

}  // namespace schuss

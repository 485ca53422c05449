// SPDX-License-Identifier: MIT
/// Rows of an array as a batch of their own.
#pragma once

#include <cstddef>

#include "base/types.hpp"

namespace schuss {

/// to + i * bytes = the row of `bytes` bytes that starts at from + rows[i] * stride, for i in
/// 0..count-1. `to` overlaps nothing. Rows are fetched ahead, and large batches shared by threads.
void take_rows(const std::byte* from, index_t stride, const index_t* rows, index_t count,
               index_t bytes, std::byte* to);

}  // namespace schuss

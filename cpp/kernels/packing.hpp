// SPDX-License-Identifier: MIT
/// When to rearrange the right operand of a product (`Kernels::pack`) before it is read. Belongs to
/// caches, not to the arithmetic: packed or not, the bits are the same.
#pragma once

#include "base/types.hpp"

namespace schuss {

/// Right operands up to this size stay in L1, where reading them in place costs nothing.
inline constexpr index_t kPackBytes = 16 * 1024;
/// Fewer rows than this do not pay for packing.
inline constexpr index_t kPackRows = 12;
/// Operands above this size are far: each reading of them anew is felt.
inline constexpr index_t kFarBytes = 1024 * 1024;

}  // namespace schuss

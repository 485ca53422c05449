// SPDX-License-Identifier: MIT
/// Where gradients go.
#pragma once

#include <functional>
#include <vector>

#include "autograd/sum_trees.hpp"
#include "base/aligned_buffer.hpp"
#include "nn/network.hpp"

namespace schuss {

/// Offsets of every stage's gradients in one arena. A parameter used by several stages has a slot
/// for each use; `merges` says which are added into which, in backward order.
struct GradientMap {
  static constexpr index_t kNone = -1;

  struct Slot {
    index_t weight = kNone;  // element offset, or kNone: not wanted
    index_t bias = kNone;
  };
  struct Merge {
    index_t from = 0;
    index_t to = 0;
    index_t extent = 0;
  };
  struct Entry {
    ParameterPtr parameter;
    index_t offset = 0;
  };

  /// Gradients of the parameters for which `wanted` holds.
  GradientMap(const Network& network, const std::function<bool(const Parameter&)>& wanted);

  std::vector<Slot> slots;     // one for each stage
  std::vector<Entry> entries;  // one for each wanted parameter, in the network's order
  std::vector<Merge> merges;
  index_t size = 0;        // elements of the arena
  std::size_t lowest = 0;  // the first stage that has a wanted parameter
  bool any() const { return !entries.empty(); }
};

}  // namespace schuss

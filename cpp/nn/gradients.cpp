// SPDX-License-Identifier: MIT
#include "nn/gradients.hpp"

#include <algorithm>

namespace schuss {

GradientMap::GradientMap(const Network& network,
                         const std::function<bool(const Parameter&)>& wanted)
    : slots(network.stages().size()) {
  const auto& stages = network.stages();
  lowest = stages.size();
  const auto place = [&](const ParameterPtr& parameter) -> index_t {
    const index_t offset = size;
    size += parameter->layout.extent();
    const auto same = [&](const Entry& entry) { return entry.parameter == parameter; };
    const auto found = std::find_if(entries.begin(), entries.end(), same);
    if (found == entries.end()) {
      entries.push_back({parameter, offset});
    } else {
      merges.push_back({offset, found->offset, parameter->layout.extent()});
    }
    return offset;
  };
  // Backward order: the last use of a shared parameter gives the first gradient.
  for (std::size_t s = stages.size(); s-- > 0;) {
    if (!stages[s].dense()) continue;
    if (wanted(*stages[s].weight)) slots[s].weight = place(stages[s].weight);
    if (stages[s].bias != nullptr && wanted(*stages[s].bias)) {
      slots[s].bias = place(stages[s].bias);
    }
    if (slots[s].weight != kNone || slots[s].bias != kNone) lowest = s;
  }
  const auto& order = network.parameters();
  std::sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
    return std::find(order.begin(), order.end(), a.parameter) <
           std::find(order.begin(), order.end(), b.parameter);
  });
}

}  // namespace schuss

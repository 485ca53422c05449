// SPDX-License-Identifier: MIT
/// Parameters and optimizer state as they were at the start of an epoch.
#pragma once

#include <cstring>
#include <vector>

#include "kernels/dispatch.hpp"
#include "nn/network.hpp"
#include "optim/optimizer.hpp"

namespace schuss {

/// Holds copies for some slots of an optimizer.
class Snapshot {
 public:
  Snapshot() = default;
  Snapshot(const Optimizer& optimizer, std::vector<std::size_t> slots) : slots_(std::move(slots)) {
    for (const std::size_t s : slots_) {
      const Optimizer::Slot& slot = optimizer.slots()[s];
      Copy copy;
      copy.values = AlignedBuffer<std::byte>(bytes_of(*slot.parameter));
      copy.state.first = AlignedBuffer<std::byte>(slot.state.first.size());
      copy.state.second = AlignedBuffer<std::byte>(slot.state.second.size());
      copy.state.largest = AlignedBuffer<std::byte>(slot.state.largest.size());
      copies_.push_back(std::move(copy));
    }
  }

  /// Keeps what it holds when a parameter is not finite.
  void take(const Optimizer& optimizer) {
    for (const std::size_t s : slots_) {
      const Tensor& p = *optimizer.slots()[s].parameter;
      const bool finite = dispatch_dtype(
          p.dtype, [&]<class T>() { return kernels<T>().all_finite(p.ptr<T>(), p.extent()); });
      if (!finite) return;
    }
    taken_ = true;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      const Optimizer::Slot& slot = optimizer.slots()[slots_[i]];
      std::memcpy(copies_[i].values.data(), slot.parameter->data, size_of(copies_[i].values));
      copy_state(slot.state, &copies_[i].state);
    }
  }

  /// Does nothing when nothing was taken.
  void restore(Optimizer& optimizer) const {
    if (!taken_) return;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      Optimizer::Slot& slot = optimizer.slots()[slots_[i]];
      std::memcpy(slot.parameter->data, copies_[i].values.data(), size_of(copies_[i].values));
      copy_state(copies_[i].state, &slot.state);
    }
  }

 private:
  struct Copy {
    AlignedBuffer<std::byte> values;
    ParameterState state;
  };

  static index_t bytes_of(const Tensor& p) { return p.extent() * item_bytes(p.dtype); }
  static std::size_t size_of(const AlignedBuffer<std::byte>& buffer) {
    return static_cast<std::size_t>(buffer.size());
  }
  /// Allocates only when a buffer has come or gone since the last copy.
  static void copy_buffer(const AlignedBuffer<std::byte>& from, AlignedBuffer<std::byte>* to) {
    if (to->size() != from.size()) *to = AlignedBuffer<std::byte>(from.size());
    if (!to->empty()) std::memcpy(to->data(), from.data(), size_of(*to));
  }
  static void copy_state(const ParameterState& from, ParameterState* to) {
    copy_buffer(from.first, &to->first);
    copy_buffer(from.second, &to->second);
    copy_buffer(from.largest, &to->largest);
    to->step = from.step;
    to->started = from.started;
  }

  std::vector<std::size_t> slots_;
  std::vector<Copy> copies_;
  bool taken_ = false;
};

/// Raises the version of every parameter's storage when a run ends: graphs recorded before it are
/// stale.
class VersionBump {
 public:
  explicit VersionBump(const Network& network) : network_(network) {}
  ~VersionBump() {
    for (const ParameterPtr& p : network_.parameters()) ++p->storage->version;
  }
  VersionBump(const VersionBump&) = delete;
  VersionBump& operator=(const VersionBump&) = delete;

 private:
  const Network& network_;
};

}  // namespace schuss

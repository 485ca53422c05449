// SPDX-License-Identifier: MIT
/// One object, one thread at a time.
#pragma once

#include <atomic>
#include <string>

#include "base/require.hpp"

namespace schuss {

/// Says that a thread is working on the object. Copies start free.
class BusyFlag {
 public:
  BusyFlag() = default;
  BusyFlag(const BusyFlag&) {}
  BusyFlag& operator=(const BusyFlag&) { return *this; }

 private:
  friend class BusyGuard;
  std::atomic<bool> busy_{false};
};

/// Holds the flag for a scope. Throws StateError when another call holds it.
class BusyGuard {
 public:
  BusyGuard(BusyFlag& flag, const char* what) : flag_(flag) {
    if (flag_.busy_.exchange(true, std::memory_order_acquire)) {
      throw StateError(std::string(what) +
                       " is in use by another call; use one model from one thread at a time "
                       "(different models may train side by side)");
    }
  }
  ~BusyGuard() { flag_.busy_.store(false, std::memory_order_release); }
  BusyGuard(const BusyGuard&) = delete;
  BusyGuard& operator=(const BusyGuard&) = delete;

 private:
  BusyFlag& flag_;
};

}  // namespace schuss

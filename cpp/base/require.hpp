// SPDX-License-Identifier: MIT
/// User errors are exceptions; the bindings turn them into Python's.
#pragma once

#include <stdexcept>
#include <string>

namespace schuss {

/// A wrong shape, range or value: ValueError.
struct ValueError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// A wrong dtype or kind of object: TypeError.
struct TypeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// A call that is out of order: RuntimeError.
struct StateError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool condition, const char* message) {
  if (!condition) throw ValueError(message);
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Tells whoever records that Python is about to see the elements of a tensor.
#pragma once

#include "autograd/ops.hpp"

namespace schuss {

class ReadListener {
 public:
  virtual ~ReadListener() = default;
  /// `what`: how, as the user wrote it. May throw.
  virtual void on_read(const Tensor& tensor, const char* what) = 0;
};

/// This thread's listener (null: none); returns the one before.
ReadListener* set_read_listener(ReadListener* listener);

/// Called where elements leave for Python: numpy(), item(), bool(), ...
void note_read(const Tensor& tensor, const char* what);

}  // namespace schuss

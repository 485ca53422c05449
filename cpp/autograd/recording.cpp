// SPDX-License-Identifier: MIT
#include "autograd/recording.hpp"

#include <utility>

namespace schuss {
namespace {

thread_local ReadListener* read_listener = nullptr;

}  // namespace

ReadListener* set_read_listener(ReadListener* listener) {
  return std::exchange(read_listener, listener);
}

void note_read(const Tensor& tensor, const char* what) {
  if (read_listener != nullptr) read_listener->on_read(tensor, what);
}

}  // namespace schuss

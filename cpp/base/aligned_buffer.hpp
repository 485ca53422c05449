// SPDX-License-Identifier: MIT
/// Memory that starts on a cache line.
#pragma once

#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

#include "base/block_cache.hpp"
#include "base/types.hpp"

namespace schuss {

/// For memory that will be written before it is read.
struct Uninitialized {};

/// Owns `count` zeroed elements of T on a 64-byte boundary. Movable, not copyable.
template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;

  /// Throws std::bad_alloc when the size overflows or memory is short.
  explicit AlignedBuffer(index_t count) : AlignedBuffer(count, Uninitialized{}) {
    if (count > 0) std::memset(static_cast<void*>(data_.get()), 0, bytes());
  }

  /// As above, with arbitrary elements.
  AlignedBuffer(index_t count, Uninitialized) : size_(count) {
    constexpr index_t kMost = std::numeric_limits<index_t>::max() / static_cast<index_t>(sizeof(T));
    if (count < 0 || count > kMost - kAlignBytes) throw std::bad_alloc();
    if (count == 0) return;
    data_ = {static_cast<T*>(take_block(bytes())), Free{bytes()}};
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  index_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](index_t i) { return data_.get()[i]; }
  const T& operator[](index_t i) const { return data_.get()[i]; }

 private:
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * sizeof(T); }

  struct Free {
    std::size_t bytes = 0;
    void operator()(T* p) const { give_block(p, bytes); }
  };
  std::unique_ptr<T[], Free> data_;
  index_t size_ = 0;
};

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Small aligned blocks, kept for reuse by the thread that freed them: an eager operation takes and
/// gives back several, and the allocator's aligned path costs more than the operation.
#pragma once

#include <cstddef>
#include <new>

namespace schuss {

/// At least `bytes` > 0 bytes on a cache line. Throws std::bad_alloc.
void* take_block(std::size_t bytes);
/// Takes back what `take_block(bytes)` gave, from any thread.
void give_block(void* block, std::size_t bytes) noexcept;

/// The same as an allocator, for std::allocate_shared.
template <class T>
struct BlockAllocator {
  using value_type = T;
  BlockAllocator() = default;
  template <class U>
  BlockAllocator(const BlockAllocator<U>&) {}  // NOLINT(google-explicit-constructor)
  T* allocate(std::size_t n) { return static_cast<T*>(take_block(n * sizeof(T))); }
  void deallocate(T* p, std::size_t n) noexcept { give_block(p, n * sizeof(T)); }
  template <class U>
  bool operator==(const BlockAllocator<U>&) const {
    return true;
  }
};

}  // namespace schuss

// SPDX-License-Identifier: MIT
#include "base/block_cache.hpp"

#include <array>
#include <bit>

#include "base/types.hpp"

namespace schuss {
namespace {

// A sanitizer sees a block's end only when every block is the allocator's own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCaching = false;
#else
constexpr bool kCaching = true;
#endif

constexpr std::size_t kSmallest = 64;
constexpr std::size_t kSizes = 10;  // 64 bytes to 32 KiB
constexpr std::size_t kLargest = kSmallest << (kSizes - 1);
constexpr std::size_t kMostBytes = std::size_t{64} << 10;  // kept of each size
constexpr auto kAlign = std::align_val_t{kAlignBytes};

struct Block {
  Block* next;
};

/// Free blocks of one size: 64, 128, ... bytes.
struct Shelf {
  Block* first = nullptr;
  std::size_t count = 0;
};

/// Outlives the cache in a thread that ends: blocks given back after that go to the allocator.
thread_local bool ended = false;

struct Cache {
  std::array<Shelf, kSizes> shelves;
  ~Cache() {
    ended = true;
    for (Shelf& shelf : shelves) {
      while (shelf.first != nullptr) {
        Block* block = shelf.first;
        shelf.first = block->next;
        ::operator delete(block, kAlign);
      }
    }
  }
};
thread_local Cache cache;

std::size_t shelf_of(std::size_t bytes) {
  return bytes <= kSmallest ? 0 : static_cast<std::size_t>(std::bit_width((bytes - 1) / kSmallest));
}

}  // namespace

void* take_block(std::size_t bytes) {
  if (!kCaching || bytes > kLargest || ended) return ::operator new(bytes, kAlign);
  const std::size_t size = shelf_of(bytes);
  Shelf& shelf = cache.shelves[size];
  if (shelf.first == nullptr) return ::operator new(kSmallest << size, kAlign);
  Block* block = shelf.first;
  shelf.first = block->next;
  --shelf.count;
  return block;
}

void give_block(void* memory, std::size_t bytes) noexcept {
  if (memory == nullptr) return;
  if (!kCaching || bytes > kLargest || ended) return ::operator delete(memory, kAlign);
  const std::size_t size = shelf_of(bytes);
  Shelf& shelf = cache.shelves[size];
  if (shelf.count >= kMostBytes / (kSmallest << size)) return ::operator delete(memory, kAlign);
  shelf.first = ::new (memory) Block{shelf.first};
  ++shelf.count;
}

}  // namespace schuss

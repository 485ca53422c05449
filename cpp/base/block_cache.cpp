// SPDX-License-Identifier: MIT
#include "base/block_cache.hpp"

#include <array>
#include <bit>
#include <cstdint>

#include "base/large_pages.hpp"
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
constexpr auto kLargeAlign = std::align_val_t{kLargePage};

struct Block {
  Block* next;
};

/// Free blocks of one size: 64, 128, ... bytes.
struct Shelf {
  Block* first = nullptr;
  std::size_t count = 0;
};

enum class State : std::uint8_t {
  kNew,   // nobody empties it yet at the thread's end
  kKept,  // `ending` will
  kEnded  // blocks given back after the thread's end go to the allocator
};

/// One thread-local object without a constructor or destructor: getting at it is one call in a shared
/// library, and each guard would be another.
struct Cache {
  std::array<Shelf, kSizes> shelves;
  State state = State::kNew;
};
constinit thread_local Cache mine{};

/// Empties the cache when the thread ends.
struct Ending {
  ~Ending() {
    mine.state = State::kEnded;
    for (Shelf& shelf : mine.shelves) {
      while (shelf.first != nullptr) {
        Block* block = shelf.first;
        shelf.first = block->next;
        ::operator delete(block, kAlign);
      }
    }
  }
  void prepare() { mine.state = State::kKept; }
};
thread_local Ending ending;

std::size_t shelf_of(std::size_t bytes) {
  return bytes <= kSmallest ? 0 : static_cast<std::size_t>(std::bit_width((bytes - 1) / kSmallest));
}

/// Blocks of whole large pages start on one: strided walks through weights then miss few pages.
void* take_from_allocator(std::size_t bytes) {
  if (bytes < kLargePage) return ::operator new(bytes, kAlign);
  void* block = ::operator new(bytes, kLargeAlign);
  ask_for_large_pages(block, bytes);
  return block;
}

void give_to_allocator(void* block, std::size_t bytes) noexcept {
  ::operator delete(block, bytes < kLargePage ? kAlign : kLargeAlign);
}

void put(void* memory, Shelf* shelf) {
  shelf->first = ::new (memory) Block{shelf->first};
  ++shelf->count;
}

/// A thread's first block, one after its end, and those for which there is no room. Its own function,
/// so that the compiler asks for the thread's cache once in `give_block`.
[[gnu::noinline, gnu::cold]] void give_rarely(void* memory, std::size_t size) noexcept {
  if (mine.state == State::kNew) ending.prepare();
  Shelf& shelf = mine.shelves[size];
  if (mine.state == State::kEnded || shelf.count >= kMostBytes / (kSmallest << size)) {
    return ::operator delete(memory, kAlign);
  }
  put(memory, &shelf);
}

}  // namespace

void* take_block(std::size_t bytes) {
  if (!kCaching || bytes > kLargest) return take_from_allocator(bytes);
  const std::size_t size = shelf_of(bytes);
  Cache& cache = mine;
  Shelf& shelf = cache.shelves[size];
  if (shelf.first == nullptr) return ::operator new(kSmallest << size, kAlign);
  Block* block = shelf.first;
  shelf.first = block->next;
  --shelf.count;
  return block;
}

void give_block(void* memory, std::size_t bytes) noexcept {
  if (memory == nullptr) return;
  if (!kCaching || bytes > kLargest) return give_to_allocator(memory, bytes);
  const std::size_t size = shelf_of(bytes);
  Cache& cache = mine;
  Shelf& shelf = cache.shelves[size];
  if (cache.state != State::kKept || shelf.count >= kMostBytes / (kSmallest << size)) {
    return give_rarely(memory, size);
  }
  put(memory, &shelf);
}

}  // namespace schuss

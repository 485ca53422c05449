// SPDX-License-Identifier: MIT
#include "train/take_rows.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "parallel/crew.hpp"

namespace schuss {
namespace {

/// A byte's way from memory, in multiply-adds: some 6 GB a second.
constexpr double kByteWork = 8.0;
/// Bytes on their way while others are copied.
constexpr index_t kBytesAhead = 8 * 1024;
constexpr int kPiecesEach = 8;

void prefetch(const std::byte* row, index_t bytes) {
  const index_t most = std::min<index_t>(bytes, kBytesAhead);
  for (index_t at = 0; at < most; at += kAlignBytes) __builtin_prefetch(row + at);
}

}  // namespace

void take_rows(const std::byte* from, index_t stride, const index_t* rows, index_t count,
               index_t bytes, std::byte* to) {
  if (count == 0 || bytes == 0) return;
  const index_t ahead = std::clamp<index_t>(kBytesAhead / bytes, 1, 16);
  const double work = kByteWork * static_cast<double>(count * bytes);
  with_crew(crew_size(work, count), [&](Crew& crew) {
    const auto pieces = static_cast<int>(std::min<index_t>(count, kPiecesEach * crew.threads()));
    crew.share(pieces, [&](int, Part part) {
      const index_t begin = part.begin(count, 1);
      const index_t end = part.end(count, 1);
      for (index_t i = begin; i < std::min(begin + ahead, end); ++i) {
        prefetch(from + rows[i] * stride, bytes);
      }
      for (index_t i = begin; i < end; ++i) {
        if (i + ahead < end) prefetch(from + rows[i + ahead] * stride, bytes);
        std::memcpy(to + i * bytes, from + rows[i] * stride, static_cast<std::size_t>(bytes));
      }
    });
  });
}

}  // namespace schuss

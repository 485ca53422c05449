// SPDX-License-Identifier: MIT
#include "train/gather.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <limits>
#include <type_traits>

namespace schuss {
namespace {

/// A float16 by its bits.
struct Half {
  std::uint16_t bits;
};

/// A bool by its byte: reading one that is neither 0 nor 1 as C++'s bool would be undefined.
struct Bool8 {
  std::uint8_t byte;
};

/// Calls f.template operator()<S>() with the C++ type of the elements.
template <class F>
decltype(auto) dispatch_element(ElementType type, F&& f) {
  switch (type) {
    case ElementType::kBool:
      return f.template operator()<Bool8>();
    case ElementType::kInt8:
      return f.template operator()<std::int8_t>();
    case ElementType::kUInt8:
      return f.template operator()<std::uint8_t>();
    case ElementType::kInt16:
      return f.template operator()<std::int16_t>();
    case ElementType::kUInt16:
      return f.template operator()<std::uint16_t>();
    case ElementType::kInt32:
      return f.template operator()<std::int32_t>();
    case ElementType::kUInt32:
      return f.template operator()<std::uint32_t>();
    case ElementType::kInt64:
      return f.template operator()<std::int64_t>();
    case ElementType::kUInt64:
      return f.template operator()<std::uint64_t>();
    case ElementType::kFloat16:
      return f.template operator()<Half>();
    case ElementType::kFloat32:
      return f.template operator()<float>();
    case ElementType::kFloat64:
      break;
  }
  return f.template operator()<double>();
}

template <class S>
using Bits = std::conditional_t<
    sizeof(S) == 1, std::uint8_t,
    std::conditional_t<sizeof(S) == 2, std::uint16_t,
                       std::conditional_t<sizeof(S) == 4, std::uint32_t, std::uint64_t>>>;

inline std::uint8_t swap_bytes(std::uint8_t bits) { return bits; }
inline std::uint16_t swap_bytes(std::uint16_t bits) { return __builtin_bswap16(bits); }
inline std::uint32_t swap_bytes(std::uint32_t bits) { return __builtin_bswap32(bits); }
inline std::uint64_t swap_bytes(std::uint64_t bits) { return __builtin_bswap64(bits); }

/// Through memcpy: the address may be anything.
template <class S, bool kSwapped>
inline S load(const std::byte* from) {
  Bits<S> bits;
  std::memcpy(&bits, from, sizeof bits);
  if constexpr (kSwapped) bits = swap_bytes(bits);
  return std::bit_cast<S>(bits);
}

/// Exact: every float16 is a float32. Integer steps only but for the subnormals, whose significand
/// is an integer below 2^10 times 2^-24. Signed and without branches, which compilers vectorise.
inline float to_float(Half half) {
  const std::int32_t magnitude = half.bits & 0x7fff;
  const std::int32_t normal = (magnitude << 13) + ((127 - 15) << 23);
  const std::int32_t special = normal + ((127 - 15) << 23);  // exponent 31 becomes 255
  const auto subnormal = std::bit_cast<std::int32_t>(static_cast<float>(magnitude) * 0x1p-24F);
  const std::int32_t finite = magnitude < 0x0400 ? subnormal : normal;
  const std::int32_t bits = magnitude < 0x7c00 ? finite : special;
  const std::uint32_t sign = static_cast<std::uint32_t>(half.bits & 0x8000) << 16;
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) | sign);
}

/// The language's conversions round once, to nearest even, on every compiler that we support.
template <class T, class S>
inline T convert(S value) {
  if constexpr (std::is_same_v<S, Half>) {
    return static_cast<T>(to_float(value));
  } else if constexpr (std::is_same_v<S, Bool8>) {
    return static_cast<T>(value.byte != 0);
  } else {
    return static_cast<T>(value);
  }
}

/// Among the sources that we take, only a float64 can be too large for its destination.
template <class T, class S>
inline constexpr bool kCanOverflow = std::is_same_v<T, float>&& std::is_same_v<S, double>;

inline bool overflows_float(double value) {
  // Half a unit above the largest float32: from there on, nearest-even rounds to infinity.
  constexpr double kLimit = 0x1.ffffffp127;
  constexpr double kLargest = std::numeric_limits<double>::max();
  return ((value >= kLimit) & (value <= kLargest)) | ((value <= -kLimit) & (value >= -kLargest));
}

/// The rows that a call asks for.
struct Rows {
  const index_t* list;
  index_t first;
  index_t count;
  index_t operator[](index_t i) const { return list != nullptr ? list[i] : first + i; }
};

/// Remembers whether a conversion gave an infinity or NaN, in integer steps that vectorise: exponent
/// 255 carries into the top bit. Which of them were finite before is for `first_overflow` to say.
template <class T, class S>
class Watch {
 public:
  T operator()(T converted) {
    if constexpr (kCanOverflow<T, S>) {
      seen_ |= (std::bit_cast<std::uint32_t>(converted) & 0x7fffffffU) + 0x00800000U;
    }
    return converted;
  }
  bool tripped() const { return (seen_ >> 31) != 0; }

 private:
  std::uint32_t seen_ = 0;
};

/// One row whose columns are `stride` bytes apart; true when an element may have overflowed.
template <class T, class S, bool kSwapped>
inline bool convert_row(const std::byte* from, index_t stride, index_t cols, T* __restrict to) {
  Watch<T, S> watch;
  for (index_t c = 0; c < cols; ++c) {
    to[c] = watch(convert<T>(load<S, kSwapped>(from + c * stride)));
  }
  return watch.tripped();
}

/// A row of T itself. Rows are often a few dozen bytes long, where a call of memcpy with a size
/// known only at run time costs more than the copy.
template <class T>
inline void copy_row(const std::byte* from, index_t cols, T* to) {
  const index_t bytes = cols * static_cast<index_t>(sizeof(T));
  constexpr index_t kStep = 16;
  constexpr index_t kShort = 512;
  if (bytes > kShort) {
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
    return;
  }
  if (bytes >= kStep) {
    auto* bytes_to = reinterpret_cast<std::byte*>(to);
    for (index_t i = 0; i + kStep < bytes; i += kStep) std::memcpy(bytes_to + i, from + i, kStep);
    // The last step ends where the row ends and may overlap the one before it.
    std::memcpy(bytes_to + bytes - kStep, from + bytes - kStep, kStep);
    return;
  }
  for (index_t c = 0; c < cols; ++c) {
    to[c] = load<T, false>(from + c * static_cast<index_t>(sizeof(T)));
  }
}

constexpr index_t kLineBytes = 64;

/// Lines fetched of each row ahead; the processor's own prefetcher follows a longer row.
constexpr index_t kPrefetchLines = 16;

/// Rows ahead. Measured on 10^6 shuffled rows of 400 bytes and 500,000 of 800: 4 and 8 are even, 16
/// are slower. 8 rows x 16 lines x 64 bytes = 8 KiB stay well inside the first-level cache.
constexpr index_t kPrefetchRows = 8;

inline void prefetch(const std::byte* row, index_t bytes) {
  const index_t ahead = std::min(bytes, kPrefetchLines * kLineBytes);
  for (index_t i = 0; i < ahead; i += kLineBytes) __builtin_prefetch(row + i, 0, 3);
  __builtin_prefetch(row + ahead - 1, 0, 3);
}

/// Columns adjacent. True when an element may have overflowed.
template <class T, class S>
bool gather_adjacent(const ArrayView& view, Rows rows, T* to, index_t ld) {
  const index_t row_bytes = view.cols * static_cast<index_t>(sizeof(S));
  if (view.cols == 1) {  // a column: its elements are fetched side by side as it is
    Watch<T, S> watch;
    for (index_t i = 0; i < rows.count; ++i) {
      to[i * ld] = watch(convert<T>(load<S, false>(view.at(rows[i], 0))));
    }
    return watch.tripped();
  }
  bool suspect = false;
  for (index_t i = 0; i < rows.count; ++i) {
    if (rows.list != nullptr && i + kPrefetchRows < rows.count) {
      prefetch(view.at(rows.list[i + kPrefetchRows], 0), row_bytes);
    }
    const std::byte* from = view.at(rows[i], 0);
    if constexpr (std::is_same_v<T, S>) {
      copy_row<T>(from, view.cols, to + i * ld);
    } else {
      suspect |= convert_row<T, S, false>(from, sizeof(S), view.cols, to + i * ld);
    }
  }
  return suspect;
}

/// Any strides. Where a step down is shorter than a step across (Fortran order), rows that follow
/// each other share cache lines: a few of them are taken together, column by column.
template <class T, class S, bool kSwapped>
bool gather_strided(const ArrayView& view, Rows rows, T* to, index_t ld) {
  const auto magnitude = [](index_t stride) { return stride < 0 ? -stride : stride; };
  const index_t block =
      magnitude(view.row_stride) < magnitude(view.col_stride) ? kLineBytes / 4 : index_t{1};
  bool suspect = false;
  Watch<T, S> watch;
  for (index_t begin = 0; begin < rows.count; begin += block) {
    const index_t end = std::min(begin + block, rows.count);
    if (end - begin == 1) {
      suspect |= convert_row<T, S, kSwapped>(view.at(rows[begin], 0), view.col_stride, view.cols,
                                             to + begin * ld);
      continue;
    }
    for (index_t c = 0; c < view.cols; ++c) {
      for (index_t i = begin; i < end; ++i) {
        to[i * ld + c] = watch(convert<T>(load<S, kSwapped>(view.at(rows[i], c))));
      }
    }
  }
  return suspect || watch.tripped();
}

/// Element (row, col) as a float64; integers past 2^53 are rounded.
double value_at(const ArrayView& view, index_t row, index_t col) {
  return dispatch_element(view.type, [&]<class S>() {
    const std::byte* from = view.at(row, col);
    return convert<double>(view.byte_swapped ? load<S, true>(from) : load<S, false>(from));
  });
}

/// After a suspicion only: the loops above keep no place, and infinities and NaN are the user's.
std::optional<BadElement> first_overflow(const ArrayView& view, Rows rows) {
  for (index_t i = 0; i < rows.count; ++i) {
    for (index_t c = 0; c < view.cols; ++c) {
      const double value = value_at(view, rows[i], c);
      if (overflows_float(value)) return BadElement{rows[i], c, value};
    }
  }
  return std::nullopt;
}

/// Calls f(row, value) for each label until it returns false; unsigned 64-bit ones stay unsigned.
template <class F>
void for_each_label(const ArrayView& view, Rows rows, F&& f) {
  assert(!is_floating(view.type));
  dispatch_element(view.type, [&]<class S>() {
    if constexpr (std::is_integral_v<S> || std::is_same_v<S, Bool8>) {
      const auto run = [&]<bool kSwapped>() {
        for (index_t i = 0; i < rows.count; ++i) {
          const S value = load<S, kSwapped>(view.at(rows[i], 0));
          bool go_on = true;
          if constexpr (std::is_same_v<S, Bool8>) {
            go_on = f(i, static_cast<std::int64_t>(value.byte != 0));
          } else if constexpr (std::is_same_v<S, std::uint64_t>) {
            go_on = f(i, value);
          } else {
            go_on = f(i, static_cast<std::int64_t>(value));
          }
          if (!go_on) return;
        }
      };
      if (view.byte_swapped) {
        run.template operator()<true>();
      } else {
        run.template operator()<false>();
      }
    }
  });
}

}  // namespace

template <class T>
bool gather_rows(const ArrayView& view, const index_t* rows, index_t first, index_t count, T* to,
                 index_t ld, BadElement* bad) noexcept {
  const Rows asked{rows, first, count};
  const bool suspect = dispatch_element(view.type, [&]<class S>() {
    if (view.byte_swapped) return gather_strided<T, S, true>(view, asked, to, ld);
    if (view.col_stride == static_cast<index_t>(sizeof(S))) {
      return gather_adjacent<T, S>(view, asked, to, ld);
    }
    return gather_strided<T, S, false>(view, asked, to, ld);
  });
  if (!suspect) return true;
  const std::optional<BadElement> found = first_overflow(view, asked);
  if (found) *bad = *found;
  return !found;
}

template <class T>
const T* direct_rows(const ArrayView& view) noexcept {
  constexpr auto kType = std::is_same_v<T, float> ? ElementType::kFloat32 : ElementType::kFloat64;
  constexpr auto kBytes = static_cast<index_t>(sizeof(T));
  if (view.type != kType || view.byte_swapped || view.col_stride != kBytes) return nullptr;
  if (view.row_stride < view.cols * kBytes || view.row_stride % kBytes != 0) return nullptr;
  if (std::bit_cast<std::uintptr_t>(view.data) % alignof(T) != 0) return nullptr;
  return reinterpret_cast<const T*>(view.data);
}

void prefetch_starts(const ArrayView& view, const index_t* rows, index_t count) noexcept {
  for (index_t i = 0; i < count; ++i) __builtin_prefetch(view.at(rows[i], 0));
}

void gather_labels(const ArrayView& view, const index_t* rows, index_t first, index_t count,
                   std::int64_t* to) noexcept {
  for_each_label(view, {rows, first, count}, [to](index_t i, auto value) {
    to[i] = static_cast<std::int64_t>(value);
    return true;
  });
}

std::optional<BadLabel> find_bad_label(const ArrayView& view, index_t n_classes,
                                       std::int64_t ignore_index) noexcept {
  std::optional<BadLabel> bad;
  for_each_label(view, {nullptr, 0, view.rows}, [&](index_t i, auto value) {
    const auto magnitude = static_cast<std::uint64_t>(value);
    if constexpr (std::is_signed_v<decltype(value)>) {
      if ((value >= 0 && value < n_classes) || value == ignore_index) return true;
      bad = {i, value < 0, value < 0 ? 0 - magnitude : magnitude};
    } else {
      if (magnitude < static_cast<std::uint64_t>(n_classes)) return true;
      if (ignore_index >= 0 && magnitude == static_cast<std::uint64_t>(ignore_index)) return true;
      bad = {i, false, magnitude};
    }
    return false;
  });
  return bad;
}

std::optional<BadElement> find_bad_probability(const ArrayView& view) noexcept {
  constexpr double kLargest = std::numeric_limits<double>::max();
  for (index_t r = 0; r < view.rows; ++r) {
    for (index_t c = 0; c < view.cols; ++c) {
      const double value = value_at(view, r, c);
      if (!(value >= 0.0 && value <= kLargest)) return BadElement{r, c, value};
    }
  }
  return std::nullopt;
}

template bool gather_rows<float>(const ArrayView&, const index_t*, index_t, index_t, float*,
                                 index_t, BadElement*) noexcept;
template bool gather_rows<double>(const ArrayView&, const index_t*, index_t, index_t, double*,
                                  index_t, BadElement*) noexcept;
template const float* direct_rows<float>(const ArrayView&) noexcept;
template const double* direct_rows<double>(const ArrayView&) noexcept;

}  // namespace schuss

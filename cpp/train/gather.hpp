// SPDX-License-Identifier: MIT
/// Rows of the user's array become rows of the model's dtype, a few at a time and in flight.
///
/// Every conversion is one correctly rounded step with the bits of NumPy's `astype`. Nothing here
/// allocates or throws. Rows are taken in the order of `rows`, or first, first + 1, ... where `rows`
/// is null; all of them lie inside the view. Destinations do not overlap the view.
#pragma once

#include <cstdint>
#include <optional>

#include "base/types.hpp"
#include "train/array_view.hpp"

namespace schuss {

/// An element that cannot be used, by its place in the view.
struct BadElement {
  index_t row = 0;
  index_t col = 0;
  double value = 0.0;
};

/// A label outside its range; sign and magnitude hold every integer type there is.
struct BadLabel {
  index_t row = 0;
  bool negative = false;
  std::uint64_t magnitude = 0;
};

/// to[i*ld + c] = T(view(rows[i], c)) for i < count, c < view.cols. Elements of `to` past view.cols
/// in a row are not touched. ld >= view.cols, count >= 0.
///
/// NaN and infinities pass. False when a finite element overflows T: `bad` is then the first such
/// element in the order taken (all of `to` has been written, the element as an infinity).
template <class T>
[[nodiscard]] bool gather_rows(const ArrayView& view, const index_t* rows, index_t first,
                               index_t count, T* to, index_t ld, BadElement* bad) noexcept;

/// The array itself, when a kernel can read it in place as [rows, cols] of T with leading dimension
/// `direct_ld(view)`: same type and byte order, aligned, columns adjacent, rows in rising order and
/// apart. Otherwise null.
template <class T>
const T* direct_rows(const ArrayView& view) noexcept;

/// In elements; for a view that `direct_rows` accepts.
inline index_t direct_ld(const ArrayView& view) {
  return view.row_stride / element_bytes(view.type);
}

/// Asks the cache for the first elements of rows that will be gathered soon. They lie inside the view.
void prefetch_starts(const ArrayView& view, const index_t* rows, index_t count) noexcept;

/// to[i] = view(rows[i], 0) for i < count. The type is an integer or bool, and `find_bad_label` found
/// nothing. Whoever indexes with the labels relies on nobody writing to the array in between.
void gather_labels(const ArrayView& view, const index_t* rows, index_t first, index_t count,
                   std::int64_t* to) noexcept;

/// The first label of an integer or bool view (n, 1) that is neither in 0..n_classes-1 nor
/// `ignore_index`.
std::optional<BadLabel> find_bad_label(const ArrayView& view, index_t n_classes,
                                       std::int64_t ignore_index) noexcept;

/// The first element, row by row, that is negative, infinite or NaN.
std::optional<BadElement> find_bad_probability(const ArrayView& view) noexcept;

}  // namespace schuss

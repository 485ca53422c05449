// SPDX-License-Identifier: MIT
/// The input boundary: whatever the user passes becomes a checked view, or an error that says where,
/// what came, what was expected and how to mend it. Nothing is copied or changed here.
///
/// Every function needs the GIL. NumPy arrays are read in place; anything else goes through
/// `numpy.asarray` once (tensors and frames share their memory where they can). TypeError is about
/// the kind of object or its dtype, ValueError about shape, range or value.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

#include "train/array_view.hpp"
#include "train/gather.hpp"

namespace schuss::bindings {

/// A view with what keeps its memory in place: while `owner` lives, ndarray.resize is refused (NumPy
/// goes by the reference count) and so is any change of size of an object behind a buffer. Destroyed
/// under the GIL.
struct InputArray {
  ArrayView view;
  pybind11::object owner;
  int rank = 2;  // as passed: 1 for (n,), 2 for (n, k)

  /// As Python prints it: "(64, 783)" or "(64,)".
  std::string shape() const;
};

/// Any numeric array of one or two dimensions with at least one element. `name` is the argument's
/// name, `where` a prefix such as "layer 0 (Linear(784, 128))", or empty.
InputArray parse_array(pybind11::handle object, const char* name, std::string_view where);

/// Features (n, cols); any number of columns where `cols` is -1.
InputArray parse_features(pybind11::handle object, const char* name, index_t cols,
                          std::string_view where);

/// Targets (rows, cols), or (rows,) where cols is 1. Nothing is broadcast or reshaped beyond that.
/// Any number of rows where `rows` is -1.
InputArray parse_targets(pybind11::handle object, const char* name, index_t rows, index_t cols,
                         std::string_view where);

/// Class indices (rows,) of an integer or bool dtype; their range is for `check_labels`.
InputArray parse_labels(pybind11::handle object, const char* name, index_t rows,
                        std::string_view where);

/// What a cross-entropy takes: class indices as `parse_labels` and in range, or probabilities
/// (rows, n_classes), none of them negative, infinite or NaN. `rank` tells which: 1 or 2.
InputArray parse_class_targets(pybind11::handle object, const char* name, index_t rows,
                               index_t n_classes, std::int64_t ignore_index,
                               std::string_view where);

/// A vector (length,), such as class weights; any length where `length` is -1.
InputArray parse_vector(pybind11::handle object, const char* name, index_t length,
                        std::string_view where);

/// ValueError naming row and label unless each is in 0..n_classes-1 or `ignore_index`.
void check_labels(const InputArray& labels, const char* name, index_t n_classes,
                  std::int64_t ignore_index, std::string_view where);

/// ValueError naming the element unless none is negative, infinite or NaN.
void check_probabilities(const InputArray& probabilities, const char* name, std::string_view where);

/// The text for an element that `gather_rows` could not convert to `dtype`.
std::string overflow_message(const BadElement& bad, const InputArray& array, const char* name,
                             const char* dtype);

}  // namespace schuss::bindings

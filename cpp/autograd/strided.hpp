// SPDX-License-Identifier: MIT
/// Walking over strided elements, and broadcasting.
#pragma once

#include <algorithm>
#include <array>
#include <type_traits>

#include "autograd/tensor.hpp"

namespace schuss {

/// Elements of kCount operands of one shape, neighbouring dimensions merged where all allow it: runs
/// of `length` elements with `step` between them, and dimensions around the runs.
template <std::size_t kCount>
struct StridedLoop {
  std::array<index_t, kMaxRank> size{};  // around the runs, outermost first
  std::array<std::array<index_t, kCount>, kMaxRank> stride{};
  int rank = 0;
  index_t length = 1;
  std::array<index_t, kCount> step{};

  /// strides[k]: of operand k, in elements, 0 where it is broadcast.
  StridedLoop(const Dims& shape, const std::array<Dims, kCount>& strides) {
    for (int i = 0; i < shape.rank; ++i) {
      if (shape[i] == 1) continue;
      std::array<index_t, kCount> here;
      for (std::size_t k = 0; k < kCount; ++k) here[k] = strides[k][i];
      bool joins = rank > 0;
      for (std::size_t k = 0; joins && k < kCount; ++k) {
        joins = stride[at(rank - 1)][k] == here[k] * shape[i];
      }
      if (joins) {
        size[at(rank - 1)] *= shape[i];
      } else {
        size[at(rank++)] = shape[i];
      }
      stride[at(rank - 1)] = here;
    }
    if (shape.count() == 0) {
      rank = 0;
      length = 0;
    } else if (rank > 0) {
      --rank;
      length = size[at(rank)];
      step = stride[at(rank)];
    }
  }

  /// run(offsets of the operands) for each run, in row-major order.
  template <class F>
  void each(F&& run) const {
    if (length == 0) return;
    std::array<index_t, kCount> offset{};
    std::array<index_t, kMaxRank> index{};
    while (true) {
      run(offset);
      int i = rank - 1;
      for (; i >= 0; --i) {
        for (std::size_t k = 0; k < kCount; ++k) offset[k] += stride[at(i)][k];
        if (++index[at(i)] < size[at(i)]) break;
        for (std::size_t k = 0; k < kCount; ++k) offset[k] -= stride[at(i)][k] * size[at(i)];
        index[at(i)] = 0;
      }
      if (i < 0) return;
    }
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
};

/// run(first element, step, how many) over the elements in row-major order.
template <class T, class F>
void for_each_run(const Tensor& tensor, F&& run) {
  const StridedLoop<1> loop(tensor.shape, {tensor.strides});
  loop.each([&](const std::array<index_t, 1>& offset) {
    run(tensor.ptr<T>() + offset[0], loop.step[0], loop.length);
  });
}

/// to[i*ld + j] = from[i + j*col], in registers. T: float, double.
template <class T>
void copy_turned(const T* from, index_t col, index_t rows, index_t cols, T* to, index_t ld);

/// to[i*ld + j] = from[i*row + j*col]; to overlaps nothing.
template <class T>
void copy_matrix(const T* from, index_t row, index_t col, index_t rows, index_t cols, T* to,
                 index_t ld) {
  if (col == 1 || cols <= 1) {
    for (index_t i = 0; i < rows; ++i) std::copy_n(from + i * row, cols, to + i * ld);
    return;
  }
  if constexpr (std::is_floating_point_v<T>) {
    if (row == 1 && rows >= 8 && cols >= 8) return copy_turned(from, col, rows, cols, to, ld);
  }
  // A block at a time, so that lines of both sides are used whole while they are near.
  constexpr index_t kRows = 8;
  constexpr index_t kCols = 16;
  for (index_t first = 0; first < rows; first += kRows) {
    const index_t last = std::min(first + kRows, rows);
    for (index_t begin = 0; begin < cols; begin += kCols) {
      const index_t end = std::min(begin + kCols, cols);
      for (index_t i = first; i < last; ++i) {
        for (index_t j = begin; j < end; ++j) to[i * ld + j] = from[i * row + j * col];
      }
    }
  }
}

/// The shape that both broadcast to. Throws ValueError, naming `what`, where they do not.
Dims broadcast_shape(const Dims& a, const Dims& b, const char* what);

/// Strides of the tensor seen with a shape it broadcasts to.
Dims broadcast_strides(const Tensor& tensor, const Dims& shape);

}  // namespace schuss

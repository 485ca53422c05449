// SPDX-License-Identifier: MIT
/// The matrix products of a dense layer: forward, weight gradient and input gradient are one kernel
/// with different strides.
#pragma once

#include <cstddef>

#include "base/types.hpp"

namespace schuss {

enum class Start : std::uint8_t {
  kZero,    // the chain starts from +0
  kBias,    // the chain starts from bias[n]
  kResume,  // the chain starts from c: a chain cut in pieces keeps its bits
};

enum class Finish : std::uint8_t {
  kStore,     // c = chain
  kAdd,       // c = c + chain: a chunk's sum joins the tree
  kReLU,      // c = chain <= 0 ? +0 : chain
  kReLUMask,  // c = gate <= 0 ? +0 : chain      (gradient through a ReLU whose output is gate)
  kDescend,   // c = c - rate * chain, one fma   (weights move down their gradient)
};

/// Rows that will be read soon: some of their lines are asked for with each tile of a product, so that
/// they come from far memory while there is arithmetic to do. Products move it on. A hint: rows may be
/// read or not.
struct Fetch {
  const std::byte* data = nullptr;
  index_t stride = 0;                // from row to row, in bytes
  const index_t* numbers = nullptr;  // [count], of the rows
  index_t count = 0;
  index_t bytes = 0;  // of a row
  index_t lines = 0;  // with each tile
  index_t row = 0;    // what is asked for next
  index_t at = 0;
};

/// c[i,j] = start + sum over l of a(i,l) * b(l,j): one chain of fused multiply-adds in order of l.
///
/// a(i,l) = a[i*a_row + l*a_depth]; one of the strides is 1.
/// b: row-major [k, n], ldb >= n, or packed by `pack` (packed = true, ldb unused).
/// c: row-major [m, n], ldc >= n; columns past n are not touched. c overlaps neither a nor b.
/// m, n, k >= 0; k = 0 gives the start value.
/// kDescend starts from kZero. With `copy`, the new c is also put where `pack` would put it.
template <class T>
struct Product {
  const T* a = nullptr;
  index_t a_row = 0;
  index_t a_depth = 0;
  const T* b = nullptr;
  index_t ldb = 0;
  bool packed = false;
  T* c = nullptr;
  index_t ldc = 0;
  index_t m = 0;
  index_t n = 0;
  index_t k = 0;
  Start start = Start::kZero;
  Finish finish = Finish::kStore;
  const T* bias = nullptr;  // [n], for Start::kBias
  const T* gate = nullptr;  // [m, n], for Finish::kReLUMask
  index_t ldgate = 0;
  T rate = T(0);           // for Finish::kDescend
  T* copy = nullptr;       // null, or packed c: columns in panels, row i of each from i*panel on
  index_t copy_panel = 0;  // elements from one panel to the next
  Fetch* fetch = nullptr;  // or null
};

/// Narrow outputs: y[r,o] = tree over lanes of sum x[r,i]*w[o,i], then + bias[o].
/// w: [n_out, ldw], rows padded with +0 to whole cache lines. x: [rows, n_in], ldx >= n_in.
template <class T>
struct NarrowForward {
  const T* x = nullptr;
  index_t ldx = 0;
  const T* weight = nullptr;
  index_t ldw = 0;
  const T* bias = nullptr;  // [n_out] or null
  T* y = nullptr;
  index_t ldy = 0;
  index_t rows = 0;
  index_t n_in = 0;
  index_t n_out = 0;
  bool relu = false;
};

/// Weight and bias gradient of a layer that is small both ways: rows go into lanes. With n_in = 0 it
/// is the bias gradient of any narrow layer (a bias is a weight of one input).
/// d_weight[o,i] = tree over lanes (row mod lanes) of sum d_y[r,o]*x[r,i], from +0; rows <= 256.
/// add: the result is added to what d_weight and d_bias hold, else stored.
template <class T>
struct SmallGradient {
  const T* x = nullptr;
  index_t ldx = 0;
  const T* d_y = nullptr;
  index_t ldd = 0;
  index_t rows = 0;
  index_t n_in = 0;
  index_t n_out = 0;
  T* d_weight = nullptr;
  index_t ldw = 0;
  T* d_bias = nullptr;  // [n_out] or null
  bool add = false;
};

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Wide layers with few outputs, on rows that lie anywhere: forward pass and weight gradient.
#pragma once

#include "base/types.hpp"

namespace schuss {

/// y[r,o] = chain over i of x[r,i]*w[i,o], from bias[o] (without a bias: from +0). The operations of
/// the product kernel, in their order.
///
/// Row r is at x + list[r]*ldx, or at x + r*ldx where `list` is null; its n_in elements are adjacent.
/// Weight, bias and y have rows of kLanes<T> elements; those past n_out are +0 in weight and bias, and
/// anything in y.
template <class T>
struct FewForward {
  const T* x = nullptr;
  index_t ldx = 0;
  const index_t* list = nullptr;
  index_t rows = 0;
  index_t known = 0;  // rows, at least `rows`, that exist: those further on are fetched ahead
  index_t n_in = 0;
  const T* weight = nullptr;
  const T* bias = nullptr;  // or null
  T* y = nullptr;
  bool resume = false;  // the chains go on from what y holds, instead of the bias
};

/// d_weight[i,o] = chain over rows of x[r,i]*d[r,o], from +0. Rows of x as above, rows of d and
/// d_weight as those of y; elements past n_out are neither read nor written.
/// add: the chains are added to what d_weight holds, else stored.
template <class T>
struct FewGradient {
  const T* x = nullptr;
  index_t ldx = 0;
  const index_t* list = nullptr;
  index_t rows = 0;
  index_t n_in = 0;
  index_t n_out = 0;  // 1..kLanes<T>
  const T* d = nullptr;
  T* d_weight = nullptr;
  bool add = false;
};

}  // namespace schuss

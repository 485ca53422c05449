// SPDX-License-Identifier: MIT
/// Loops over the elements of two operands that broadcast, for operations without a kernel.
#pragma once

#include <array>

#include "autograd/ops_impl.hpp"
#include "autograd/strided.hpp"

namespace schuss::ops {

/// The shape of a result; a null operand is a number.
inline Dims common_shape(const TensorPtr& a, const TensorPtr& b) {
  if (a == nullptr) return b->shape;
  if (b == nullptr) return a->shape;
  return broadcast_shape(a->shape, b->shape, "operands");
}

/// each(values of a, b, number of the first element, how many); a null operand is `number`.
template <class T, class F>
void for_pairs(const OpAttributes& attributes, const TensorPtr& a, const TensorPtr& b,
               const Dims& shape, F&& each) {
  const T number = static_cast<T>(attributes.number);
  Dims none;
  none.rank = shape.rank;
  const StridedLoop<2> loop(shape, {a == nullptr ? none : broadcast_strides(*a, shape),
                                    b == nullptr ? none : broadcast_strides(*b, shape)});
  const T* left = a == nullptr ? &number : a->ptr<T>();
  const T* right = b == nullptr ? &number : b->ptr<T>();
  index_t at = 0;
  loop.each([&](const std::array<index_t, 2>& offset) {
    each(Run<T>{left + offset[0], loop.step[0]}, Run<T>{right + offset[1], loop.step[1]}, at,
         loop.length);
    at += loop.length;
  });
}

}  // namespace schuss::ops

// SPDX-License-Identifier: MIT
/// Puts the bodies together: the table that an instruction set's translation unit exports.
#pragma once

#include "kernels/body/activations.inl"
#include "kernels/body/elementary.inl"
#include "kernels/body/elementwise.inl"
#include "kernels/body/few.inl"
#include "kernels/body/fused.inl"
#include "kernels/body/line.inl"
#include "kernels/body/losses.inl"
#include "kernels/body/products.inl"
#include "kernels/body/sums.inl"
#include "kernels/body/updates.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

template <class T>
constexpr Kernels<T> make_kernels() {
  Kernels<T> table{};
  fill_products<T>(table);
  fill_sums<T>(table);
  fill_few<T>(table);
  fill_fused<T>(table);
  fill_unary<T>(table);
  fill_activations<T>(table);
  fill_elementwise<T>(table);
  fill_losses<T>(table);
  fill_updates<T>(table);
  fill_line<T>(table);
  return table;
}

constexpr KernelSet make_kernel_set(const char* isa) {
  return {isa, make_kernels<float>(), make_kernels<double>()};
}

}  // namespace
}  // namespace schuss

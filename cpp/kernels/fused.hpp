// SPDX-License-Identifier: MIT
/// A narrow layer's forward pass, loss and weight gradient in one walk over the rows of a chunk.
#pragma once

#include "kernels/loss.hpp"
#include "kernels/product.hpp"

namespace schuss {

/// Rows that are in flight together fill a third of a 32 KiB cache, so that the next ones fit beside
/// them. As many are asked for ahead.
inline constexpr index_t kWalkBytes = 12 * 1024;
inline constexpr index_t kWalkRows = 64;

template <class T>
constexpr index_t walk_rows(index_t n_in) {
  constexpr index_t kGrain = 8;
  const index_t rows = kWalkBytes / (n_in * static_cast<index_t>(sizeof(T))) / kGrain * kGrain;
  return rows < kGrain ? kGrain : (rows > kWalkRows ? kWalkRows : rows);
}

/// Rows come in a few at a time and give outputs, losses and their part of the weight gradient while
/// they are in the first-level cache. Every operation is one that the narrow forward, loss and
/// product kernels would do, in their order for each element.
///
/// Row r is at x + list[r]*ldx, or at x + r*ldx where `list` is null; its n_in elements are adjacent.
/// n_out is in 1..kNarrowOutputs; no activation follows. Nothing written overlaps what is read.
template <class T>
struct NarrowPass {
  const T* x = nullptr;
  index_t ldx = 0;
  const index_t* list = nullptr;
  index_t rows = 0;
  // The rows wanted after these, as far as they are known: they are fetched, not used. Row r is at
  // next + next_list[r]*ldx, or at next + r*ldx.
  const T* next = nullptr;
  const index_t* next_list = nullptr;
  index_t next_rows = 0;
  index_t n_in = 0;
  index_t n_out = 0;
  const T* weight = nullptr;  // [n_out, ldw], rows padded with +0 to whole cache lines
  index_t ldw = 0;
  const T* bias = nullptr;  // [n_out] or null
  LossKernel<T> loss = nullptr;
  LossBlock<T> block;  // of all rows; the kernel fills in prediction and d_prediction
  T* d = nullptr;      // [rows, n_out] contiguous: the loss's gradient with respect to the output
  T* d_weight = nullptr;       // [n_out, ldw] or null; its padding is not touched
  Start start = Start::kZero;  // of d_weight's chains: kZero or kResume
};

template <class T>
using NarrowPassKernel = void (*)(const NarrowPass<T>& pass) noexcept;

}  // namespace schuss

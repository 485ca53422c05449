// SPDX-License-Identifier: MIT
/// The kernel contract: one table of function pointers for each dtype and instruction set.
///
/// Kernels execute the arithmetic contract (docs/ARCHITECTURE.md) and choose no order of operations;
/// its constants below are frozen by stored digests. Kernels trust their arguments; nothing throws.
#pragma once

#include "base/types.hpp"
#include "kernels/activation.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/few.hpp"
#include "kernels/fused.hpp"
#include "kernels/line.hpp"
#include "kernels/loss.hpp"
#include "kernels/product.hpp"
#include "kernels/update.hpp"

namespace schuss {

/// Rows of one link of the gradient tree. Within a chunk a gradient is one chain over rows.
inline constexpr index_t kChunkRows = 256;

/// Chunks that are summed in order before their sum goes up one level of the tree.
inline constexpr index_t kTreeFanout = 64;

/// Lanes of every sum along a row, on every instruction set: one cache line.
/// Element i goes to lane i mod kLanes; absent elements are +0; the tree adds (i, i+8), (i, i+4),
/// (i, i+2), (i, i+1) (float64: from (i, i+4)).
template <class T>
inline constexpr index_t kLanes = kAlignElements<T>;

/// Layers with at most this many outputs are narrow: their weight is held [out, in padded] and each
/// output is a sum in lanes. Others are held [in, out padded], each output one chain.
inline constexpr index_t kNarrowOutputs = 4;

/// Narrow layers with at most this many inputs put rows into lanes for their gradients.
inline constexpr index_t kSmallInputs = 4;

constexpr bool is_narrow(index_t n_out) { return n_out <= kNarrowOutputs; }
constexpr bool is_small(index_t n_in, index_t n_out) {
  return is_narrow(n_out) && n_in <= kSmallInputs;
}

/// Elementary functions of one argument, elementwise.
enum class Unary : std::uint8_t {
  kExp,
  kExpm1,
  kLog,
  kLog1p,
  kTanh,
  kSigmoid,
  kSoftplus,  // log1p(exp(x)), no threshold
  kErf,
  kErfc,
  kSqrt,
};
inline constexpr int kUnaryCount = 10;

/// y[i] = f(x[i]), i in 0..n-1; y may be x.
template <class T>
using UnaryKernel = void (*)(const T* x, T* y, index_t n) noexcept;

template <class T>
struct Kernels {
  void (*product)(const Product<T>& product) noexcept;
  /// Elements that `pack` writes for b of [k, n].
  index_t (*packed_size)(index_t k, index_t n) noexcept;
  /// Rearranges b [k, n] (element (l,j) at b[l*b_depth + j*b_column]) for Product::packed.
  void (*pack)(const T* b, index_t b_depth, index_t b_column, index_t k, index_t n,
               T* packed) noexcept;
  void (*narrow_forward)(const NarrowForward<T>& args) noexcept;
  void (*small_gradient)(const SmallGradient<T>& args) noexcept;
  NarrowPassKernel<T> narrow_pass;
  void (*few_forward)(const FewForward<T>& args) noexcept;
  void (*few_gradient)(const FewGradient<T>& args) noexcept;
  /// sums[j] = chain over rows of x[r,j]; Start::kZero or kResume, Finish::kStore or kAdd.
  void (*column_sums)(const T* x, index_t ldx, index_t rows, index_t cols, T* sums, Start start,
                      Finish finish) noexcept;
  /// Sum of x[0..n-1] in 8 float64 lanes and their tree; n <= kChunkRows is one link of the chunk
  /// tree.
  double (*sum_f64)(const T* x, index_t n) noexcept;
  /// to[i] = to[i] + from[i].
  void (*add)(const T* from, T* to, index_t n) noexcept;
  /// True when every element is finite.
  bool (*all_finite)(const T* x, index_t n) noexcept;

  UnaryKernel<T> unary[kUnaryCount];
  ActivationForward<T> activation[kActivationCount];
  ActivationBackward<T> activation_backward[kActivationCount];
  MapKernel<T> map[kMapCount];
  MapBackward<T> map_backward[kMapCount];
  PairKernel<T> pair[kPairCount];
  PairBackward<T> pair_backward[kPairCount];
  LossKernel<T> loss[kLossCount];
  SgdKernel<T> sgd;
  AdamKernel<T> adam;
  LineKernel<T> line;
};

/// What one instruction set's translation unit exports: its only symbol.
struct KernelSet {
  const char* isa;
  Kernels<float> f32;
  Kernels<double> f64;

  template <class T>
  const Kernels<T>& table() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

}  // namespace schuss

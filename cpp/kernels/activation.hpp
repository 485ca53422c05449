// SPDX-License-Identifier: MIT
/// Activations: which there are, their options, and the contract of their kernels.
#pragma once

#include "base/types.hpp"

namespace schuss {

enum class Activation : std::uint8_t {
  kIdentity,
  kReLU,       // x <= 0 ? +0 : x, a NaN passes
  kLeakyReLU,  // x > 0 ? x : a*x                               a = negative_slope
  kELU,        // x > 0 ? x : a*expm1(x)                        a = alpha
  kGELU,       // x * Phi(x) through erf
  kGELUTanh,   // x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))
  kSiLU,       // x * sigmoid(x)
  kSoftplus,   // b*x > c ? x : log1p(exp(b*x))/b               b = beta, c = threshold
  kSigmoid,
  kTanh,
  kStep,        // x > 0 ? 1 : 0, zero gradient
  kSoftmax,     // over the columns of each row
  kLogSoftmax,  // over the columns of each row
};
inline constexpr int kActivationCount = 13;

/// Options stay float64 and are rounded to the model's dtype once, inside the kernel.
struct ActivationOptions {
  double a = 0.0;  // negative_slope of LeakyReLU, alpha of ELU
  double beta = 1.0;
  double threshold = 20.0;
};

/// y[r,c] = f(x[r,c]) for a [rows, cols] block, row-major, ldx, ldy >= cols, in elements.
/// y may be x exactly, else they do not overlap. rows, cols >= 0. A NaN gives a NaN. Elements past
/// `cols` in a row are neither read nor written.
template <class T>
using ActivationForward = void (*)(const T* x, index_t ldx, T* y, index_t ldy, index_t rows,
                                   index_t cols, const ActivationOptions& options) noexcept;

/// d[r,c] becomes the gradient with respect to x; on entry it is the one with respect to y.
/// `x` and `y` are the forward pass's input and output; each kernel reads only what
/// `activation_reads` says, the other may be null.
template <class T>
using ActivationBackward = void (*)(const T* x, index_t ldx, const T* y, index_t ldy, T* d,
                                    index_t ldd, index_t rows, index_t cols,
                                    const ActivationOptions& options) noexcept;

enum class Reads : std::uint8_t { kNothing, kInput, kOutput };

/// What the backward kernel needs of the forward pass; an activation that reads only its output may
/// run in place.
constexpr Reads activation_reads(Activation kind) {
  switch (kind) {
    case Activation::kIdentity:
    case Activation::kStep:
      return Reads::kNothing;
    case Activation::kReLU:
    case Activation::kSigmoid:
    case Activation::kTanh:
    case Activation::kSoftmax:
    case Activation::kLogSoftmax:
      return Reads::kOutput;
    case Activation::kLeakyReLU:
    case Activation::kELU:
    case Activation::kGELU:
    case Activation::kGELUTanh:
    case Activation::kSiLU:
    case Activation::kSoftplus:
      return Reads::kInput;
  }
  return Reads::kInput;
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Parameter updates: one fused pass over contiguous parameter, gradient and state.
#pragma once

#include "base/types.hpp"

namespace schuss {

/// Constants of one SGD step, rounded to T by the kernel, once.
///   g = maximize ? -g : g;  g += weight_decay * p
///   first momentum step: b = g; later: b = momentum*b + (1-dampening)*g
///   g = nesterov ? g + momentum*b : b            (momentum != 0)
///   p -= lr * g
/// Each product-sum is one fma. Subnormal b becomes +0.
struct SgdStep {
  double lr = 0.0;
  double momentum = 0.0;
  double dampening = 0.0;
  double weight_decay = 0.0;
  bool nesterov = false;
  bool maximize = false;
  bool first = false;  // the momentum buffer is not filled yet
};

/// Constants of one Adam step (Kingma and Ba 2015, in PyTorch's arrangement).
///   g = maximize ? -g : g;  decoupled ? p *= 1 - lr*weight_decay : g += weight_decay * p
///   m += (1-beta1)*(g-m);  v = beta2*v + (1-beta2)*g*g
///   p -= (lr/bias1) * m / (sqrt(v)/sqrt(bias2) + eps)
/// bias1 = 1-beta1^t and bias2 = 1-beta2^t come from the caller (float64). amsgrad keeps the largest
/// v in `v_max` and uses that. Subnormal m and v become +0.
struct AdamStep {
  double lr = 0.0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  double bias1 = 1.0;
  double sqrt_bias2 = 1.0;
  bool amsgrad = false;
  bool maximize = false;
  bool decoupled = false;  // AdamW
};

/// p, g, momentum: [n]; momentum may be null when step.momentum == 0.
template <class T>
using SgdKernel = void (*)(T* p, const T* g, T* momentum, index_t n, const SgdStep& step) noexcept;

/// p, g, m, v: [n]; v_max may be null when !step.amsgrad.
template <class T>
using AdamKernel = void (*)(T* p, const T* g, T* m, T* v, T* v_max, index_t n,
                            const AdamStep& step) noexcept;

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Learning rates as functions of the count of epochs, in float64 with PyTorch's formulas and the
/// order of its operations.
///
/// `lr` is the present rate, where a schedule goes on from it (so that a change by hand is kept, as in
/// PyTorch), and `epoch` counts from 0. Arguments are trusted: Python checks them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/scalar_pow.hpp"
#include "base/scalar_trig.hpp"

namespace schuss {

/// lr * factor^times.
inline double scheduled_power(double lr, double factor, std::int64_t times) {
  return lr * scalar_pow(factor, static_cast<double>(times));
}

/// lr * factor from epoch 0 on, undone at epoch `total`.
inline double scheduled_constant(double lr, double factor, std::int64_t total, std::int64_t epoch) {
  if (epoch == 0) return lr * factor;
  return epoch == total ? lr * (1.0 / factor) : lr;
}

/// From base * start at epoch 0 to base * end at epoch `total`, in equal steps.
inline double scheduled_linear(double lr, double start, double end, std::int64_t total,
                               std::int64_t epoch) {
  if (epoch == 0) return lr * start;
  if (epoch > total) return lr;
  const double before =
      static_cast<double>(total) * start + static_cast<double>(epoch - 1) * (end - start);
  return lr * (1.0 + (end - start) / before);
}

/// From base at epoch 0 to 0 at epoch `total` as (1 - epoch/total)^power.
inline double scheduled_polynomial(double lr, double power, std::int64_t total,
                                   std::int64_t epoch) {
  if (epoch == 0 || epoch > total) return lr;
  const auto left = [&](std::int64_t at) {
    return 1.0 - static_cast<double>(at) / static_cast<double>(total);
  };
  return lr * scalar_pow(left(epoch) / left(epoch - 1), power);
}

/// minimum + (base - minimum) (1 + cos(pi epoch / half_period)) / 2, going on from lr.
inline double scheduled_cosine(double lr, double base, double minimum, std::int64_t half_period,
                               std::int64_t epoch) {
  if (epoch == 0) return lr;
  const auto period = static_cast<double>(half_period);
  const auto raised = [&](std::int64_t at) {
    return 1.0 + scalar_cos(kPi * static_cast<double>(at) / period);
  };
  // At the minimum there is no ratio to go on by.
  if ((epoch - 1 - half_period) % (2 * half_period) == 0) {
    return lr + (base - minimum) * (1.0 - scalar_cos(kPi / period)) / 2.0;
  }
  return raised(epoch) / raised(epoch - 1) * (lr - minimum) + minimum;
}

/// max(lr * factor, minimum), or lr where that changes it by `least` or less.
inline double scheduled_reduction(double lr, double factor, double minimum, double least) {
  const double reduced = std::max(lr * factor, minimum);
  return lr - reduced > least ? reduced : lr;
}

/// Whether a metric is better than the best by more than a threshold.
inline bool is_better(double metric, double best, double threshold, bool want_less, bool relative) {
  if (want_less) return metric < (relative ? best * (1.0 - threshold) : best - threshold);
  return metric > (relative ? best * (1.0 + threshold) : best + threshold);
}

}  // namespace schuss

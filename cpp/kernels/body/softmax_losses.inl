// SPDX-License-Identifier: MIT
/// Cross-entropy from logits.
///
/// With m the largest logit of a row, e_c = exp(x_c - m), z = sum e_c and q_c the target of class c
/// times its weight, the loss is A*log(z) - sum q_c*(x_c - m) with A = sum q_c, and its gradient
/// e_c*(A/z) - q_c. Nothing overflows, whatever the logits. A NaN in a row makes all of it NaN.
#pragma once

#include "kernels/body/elementary.inl"
#include "kernels/body/lanes.inl"
#include "kernels/body/registers.inl"
#include "kernels/body/softmax.inl"
#include "kernels/body/unroll.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

template <class T>
inline void zero_row(T* row, index_t cols) {
  for (index_t c = 0; c < cols; ++c) row[c] = T{0};
}

/// Where the target of a row comes from.
enum class Target : int {
  kLabel,        // a class index; q is formed at one column only
  kSmoothLabel,  // a class index and label smoothing: `q` is the class weight
  kProbability,  // a row of probabilities, smoothed or not
};

template <class T, Target kTarget>
class CrossEntropy {
 public:
  explicit CrossEntropy(const LossBlock<T>& block)
      : b_(block),
        scale_(static_cast<T>(block.scale)),
        keep_(static_cast<T>(1.0 - block.label_smoothing)),
        spread_(static_cast<T>(block.label_smoothing / static_cast<double>(block.cols))) {
    if constexpr (kTarget == Target::kSmoothLabel) class_weights_ = sum_class_weights();
  }

  /// Rows go in groups, so that one register of sums takes its logarithm at once.
  void run() const {
    for (index_t first = 0; first < b_.rows; first += kLanes<T>) {
      const index_t rows = b_.rows - first < kLanes<T> ? b_.rows - first : kLanes<T>;
      RowSums sums[kLanes<T>];
      T z[kLanes<T>];
      const bool is_short = b_.cols <= kLanes<T>;
      for (index_t i = 0; i < rows; ++i) {
        sums[i] = RowSums{};
        if (!counts(first + i)) {
          if (b_.d_prediction == nullptr) continue;
          zero_row(b_.d_prediction + (first + i) * b_.ld_d_prediction, b_.cols);
        } else if (!is_short) {
          sums[i] = long_row(first + i);
        }
      }
      if (is_short) short_rows(first, rows, sums);
      for (index_t i = 0; i < rows; ++i) z[i] = sums[i].z;
      if (b_.row_loss == nullptr) continue;
      Lanes<T> log_z = Lanes<T>::load(z, rows);
      for (V& part : log_z.part) part = v_log<T>(part);
      log_z.store(z, rows);
      for (index_t i = 0; i < rows; ++i) {
        b_.row_loss[first + i] = counts(first + i) ? loss(sums[i], z[i]) : T{0};
      }
    }
  }

 private:
  using S = Simd<T>;
  using V = Vec<T>;
  static constexpr int kParts = Lanes<T>::kParts;
  static constexpr bool kByLabel = kTarget != Target::kProbability;
  static constexpr bool kSums = kTarget != Target::kLabel;  // needs sums of q

  struct RowSums {
    T z = T{1};         // sum of e_c
    T q = T{0};         // A: sum of q_c; of a label alone, its weight
    T shift = T{0};     // sum of q_c * (x_c - m)
    T at_label = T{0};  // x_y - m
  };

  /// What the gradient of one row is made of.
  struct RowGradient {
    T factor;    // of e_c
    T spread;    // of q_c
    T at_label;  // taken from the label's column
    T row_scale;
  };

  bool counts(index_t r) const { return !kByLabel || b_.labels[r] != b_.ignore_index; }

  index_t label(index_t r) const { return static_cast<index_t>(b_.labels[r]); }

  T class_weight(index_t c) const { return b_.weight == nullptr ? T{1} : b_.weight[c]; }

  T sum_class_weights() const {
    if (b_.weight == nullptr) return static_cast<T>(b_.cols);
    Lanes<T> sum = Lanes<T>::zero();
    for (index_t c = 0; c < b_.cols; c += kLanes<T>) {
      const index_t n = b_.cols - c < kLanes<T> ? b_.cols - c : kLanes<T>;
      sum = add(sum, Lanes<T>::load(b_.weight + c, n));
    }
    return tree_sum(sum);
  }

  /// sums of one row, once log(z) is there.
  T loss(const RowSums& sums, T log_z) const {
    if constexpr (kTarget == Target::kProbability) return sums.q * log_z - sums.shift;
    const T hard = sums.q * (log_z - sums.at_label);
    if constexpr (kTarget == Target::kLabel) return hard;
    return hard + spread_ * (class_weights_ * log_z - sums.shift);
  }

  RowGradient gradient(index_t r, const RowSums& sums) const {
    const T row_scale = b_.row_scale == nullptr ? T{1} : b_.row_scale[r];
    T weight = sums.q;
    if constexpr (kTarget == Target::kSmoothLabel) weight = sums.q + spread_ * class_weights_;
    return {weight / sums.z, kTarget == Target::kSmoothLabel ? spread_ : T{1}, sums.q, row_scale};
  }

  /// q of the columns from c on; +0 in absent lanes.
  template <class Access>
  [[gnu::always_inline]] V q_at(Access at, index_t r, index_t c) const {
    V q = S::set1(T{1});
    if constexpr (kTarget == Target::kProbability) {
      q = at.load(b_.target + r * b_.ld_target + c);
      if (b_.label_smoothing != 0.0) q = S::fma(q, S::set1(keep_), S::set1(spread_));
      if (b_.weight != nullptr) q = S::mul(q, at.load(b_.weight + c));
    } else if (b_.weight != nullptr) {
      q = at.load(b_.weight + c);
    }
    return at.keep(q);
  }

  [[gnu::always_inline]] V d_at(V e, V q, const RowGradient& g) const {
    V d = S::mul(e, S::set1(g.factor));
    if constexpr (kTarget == Target::kProbability) d = S::sub(d, q);
    if constexpr (kTarget == Target::kSmoothLabel) d = S::sub(d, S::mul(S::set1(g.spread), q));
    return S::mul(S::mul(d, S::set1(scale_)), S::set1(g.row_scale));
  }

  /// The label's column of d_prediction, from its e.
  void set_label(index_t r, T e, const RowGradient& g) const {
    if constexpr (kByLabel) {
      T d = e * g.factor;
      if constexpr (kTarget == Target::kSmoothLabel) d = d - g.spread * class_weight(label(r));
      b_.d_prediction[r * b_.ld_d_prediction + label(r)] = (d - g.at_label) * scale_ * g.row_scale;
    }
  }

  void start_label(index_t r, T m, RowSums& sums) const {
    if constexpr (kByLabel) {
      sums.at_label = b_.prediction[r * b_.ld_prediction + label(r)] - m;
      sums.q = kTarget == Target::kLabel ? class_weight(label(r)) : keep_ * class_weight(label(r));
    }
  }

  /// f(part, c, access) for each register of the kLanes columns from `first` on.
  template <class F>
  [[gnu::always_inline]] void each_part(index_t first, F f) const {
    unroll<kParts>([&](auto part) __attribute__((always_inline)) {
      const index_t c = first + part * S::kWidth;
      if (c >= b_.cols) return;
      with_register<T>(
          b_.cols - c, [&](auto at) __attribute__((always_inline)) { f(part, c, at); });
    });
  }

  /// Rows of at most kLanes columns. Each of the three steps is a chain of its own in every row, so
  /// the rows of a step run side by side.
  void short_rows(index_t first, index_t rows, RowSums* sums) const {
    T max[kLanes<T>];
    T exponentials[kLanes<T>][kLanes<T>];
    for (index_t i = 0; i < rows; ++i) {
      const index_t r = first + i;
      if (counts(r)) max[i] = row_max<T>(b_.prediction + r * b_.ld_prediction, b_.cols);
    }
    for (index_t i = 0; i < rows; ++i) {
      const index_t r = first + i;
      if (counts(r)) short_sums(r, max[i], exponentials[i], sums[i]);
    }
    if (b_.d_prediction == nullptr) return;
    for (index_t i = 0; i < rows; ++i) {
      const index_t r = first + i;
      if (!counts(r)) continue;
      const RowGradient g = gradient(r, sums[i]);
      const T* e = exponentials[i];
      T* d = b_.d_prediction + r * b_.ld_d_prediction;
      each_part(
          0, [&](auto /*part*/, index_t c, auto at) __attribute__((always_inline)) {
            const V q = kSums ? q_at(at, r, c) : S::zero();
            at.store(d + c, d_at(S::load(e + c), q, g));
          });
      if constexpr (kByLabel) set_label(r, e[label(r)], g);
    }
  }

  /// e: the row's exponentials, +0 in absent columns.
  [[gnu::always_inline]] void short_sums(index_t r, T max, T* e, RowSums& sums) const {
    const T* x = b_.prediction + r * b_.ld_prediction;
    start_label(r, max, sums);
    Lanes<T> z = Lanes<T>::zero();
    Lanes<T> q = Lanes<T>::zero();
    Lanes<T> shift = Lanes<T>::zero();
    each_part(
        0, [&](auto part, index_t c, auto at) __attribute__((always_inline)) {
          const V below = at.keep(S::sub(at.load(x + c), S::set1(max)));
          z.part[part] = at.keep(v_exp<T>(below));
          S::store(e + c, z.part[part]);
          if constexpr (kSums) {
            q.part[part] = q_at(at, r, c);
            shift.part[part] = S::fma(q.part[part], below, S::zero());
          }
        });
    finish_sums(z, q, shift, sums);
  }

  /// Any row: d_prediction holds the exponentials between the passes.
  RowSums long_row(index_t r) const {
    const T* x = b_.prediction + r * b_.ld_prediction;
    T* d = b_.d_prediction == nullptr ? nullptr : b_.d_prediction + r * b_.ld_d_prediction;
    const T m = row_max<T>(x, b_.cols);
    RowSums sums;
    start_label(r, m, sums);
    Lanes<T> z = Lanes<T>::zero();
    Lanes<T> q_sum = Lanes<T>::zero();
    Lanes<T> shift = Lanes<T>::zero();
    for (index_t first = 0; first < b_.cols; first += kLanes<T>) {
      each_part(
          first, [&](auto part, index_t c, auto at) __attribute__((always_inline)) {
            const V below = at.keep(S::sub(at.load(x + c), S::set1(m)));
            const V e = at.keep(v_exp<T>(below));
            z.part[part] = S::add(z.part[part], e);
            if constexpr (kSums) {
              const V q = q_at(at, r, c);
              q_sum.part[part] = S::add(q_sum.part[part], q);
              shift.part[part] = S::fma(q, below, shift.part[part]);
            }
            if (d != nullptr) at.store(d + c, e);
          });
    }
    finish_sums(z, q_sum, shift, sums);
    if (d == nullptr) return sums;

    const RowGradient g = gradient(r, sums);
    T e_label = T{0};
    if constexpr (kByLabel) e_label = d[label(r)];
    for (index_t first = 0; first < b_.cols; first += kLanes<T>) {
      each_part(
          first, [&](auto /*part*/, index_t c, auto at) __attribute__((always_inline)) {
            const V q = kSums ? q_at(at, r, c) : S::zero();
            at.store(d + c, d_at(at.load(d + c), q, g));
          });
    }
    set_label(r, e_label, g);
    return sums;
  }

  [[gnu::always_inline]] static void finish_sums(const Lanes<T>& z, const Lanes<T>& q,
                                                 const Lanes<T>& shift, RowSums& sums) {
    sums.z = tree_sum(z);
    if constexpr (kSums) sums.shift = tree_sum(shift);
    if constexpr (kTarget == Target::kProbability) sums.q = tree_sum(q);
  }

  const LossBlock<T>& b_;
  T scale_;
  T keep_;
  T spread_;
  T class_weights_ = T{0};
};

/// Hard labels: (1-s)*w[y]*nll_y + s/C * sum_c w[c]*nll_c, s = label_smoothing.
template <class T>
void cross_entropy_index(const LossBlock<T>& block) noexcept {
  if (block.cols == 0) return;
  if (block.label_smoothing == 0.0) {
    CrossEntropy<T, Target::kLabel>(block).run();
  } else {
    CrossEntropy<T, Target::kSmoothLabel>(block).run();
  }
}

/// Probabilities: sum_c w[c] * ((1-s)*t_c + s/C) * nll_c.
template <class T>
void cross_entropy_probs(const LossBlock<T>& block) noexcept {
  if (block.cols == 0) {
    if (block.row_loss != nullptr) zero_row(block.row_loss, block.rows);
    return;
  }
  CrossEntropy<T, Target::kProbability>(block).run();
}

}  // namespace
}  // namespace schuss

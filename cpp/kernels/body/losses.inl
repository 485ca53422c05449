// SPDX-License-Identifier: MIT
/// Losses and their gradients in one pass over each row.
///
/// Values and gradients are formed element by element and scaled once; sums along a row run in lanes.
#pragma once

#include "kernels/body/elementary.inl"
#include "kernels/body/lanes.inl"
#include "kernels/body/registers.inl"
#include "kernels/body/softmax_losses.inl"
#include "kernels/body/unroll.inl"
#include "kernels/kernels.hpp"

namespace schuss {
namespace {

/// Value and gradient of one register of elements, before weight and scale.
template <class T>
struct LossTerm {
  Vec<T> value;
  Vec<T> d_prediction;
};

// The formulas. Each is built from the block once; `pos_weight` is 1 where there is none.

template <class T>
struct MseFormula {
  explicit MseFormula(const LossBlock<T>&) {}
  [[gnu::always_inline]] LossTerm<T> operator()(Vec<T> x, Vec<T> t, Vec<T> /*pos_weight*/) const {
    using S = Simd<T>;
    const auto difference = S::sub(x, t);
    return {S::mul(difference, difference), S::add(difference, difference)};
  }
};

/// The gradient at a difference of 0 is 0.
template <class T>
struct L1Formula {
  explicit L1Formula(const LossBlock<T>&) {}
  [[gnu::always_inline]] LossTerm<T> operator()(Vec<T> x, Vec<T> t, Vec<T> /*pos_weight*/) const {
    using S = Simd<T>;
    const auto difference = S::sub(x, t);
    const auto flat = S::add(difference, S::zero());  // +0, or NaN
    const auto falling = S::select(S::lt(difference, S::zero()), S::set1(T{-1}), flat);
    const auto sign = S::select(S::lt(S::zero(), difference), S::set1(T{1}), falling);
    return {v_abs<T>(difference), sign};
  }
};

template <class T>
struct HuberFormula {
  explicit HuberFormula(const LossBlock<T>& block) : delta(static_cast<T>(block.a)) {}
  [[gnu::always_inline]] LossTerm<T> operator()(Vec<T> x, Vec<T> t, Vec<T> /*pos_weight*/) const {
    using S = Simd<T>;
    const auto bound = S::set1(delta);
    const auto half = S::set1(T(0.5));
    const auto difference = S::sub(x, t);
    const auto size = v_abs<T>(difference);
    const auto square = S::mul(S::mul(half, size), size);
    const auto line = S::mul(bound, S::sub(size, S::mul(half, bound)));
    const auto slope = v_with_sign<T>(bound, difference);
    return {S::select(S::lt(size, bound), square, line),
            S::select(S::lt(bound, size), slope, difference)};
  }
  T delta;
};

template <class T>
struct SmoothL1Formula {
  explicit SmoothL1Formula(const LossBlock<T>& block) : beta(static_cast<T>(block.a)) {}
  [[gnu::always_inline]] LossTerm<T> operator()(Vec<T> x, Vec<T> t, Vec<T> /*pos_weight*/) const {
    using S = Simd<T>;
    const auto bound = S::set1(beta);
    const auto half = S::set1(T(0.5));
    const auto difference = S::sub(x, t);
    const auto size = v_abs<T>(difference);
    const auto square = S::div(S::mul(S::mul(half, size), size), bound);
    const auto line = S::sub(size, S::mul(half, bound));
    const auto slope = v_with_sign<T>(S::set1(T{1}), difference);
    return {S::select(S::lt(size, bound), square, line),
            S::select(S::lt(bound, size), slope, S::div(difference, bound))};
  }
  T beta;
};

/// Each logarithm is at least -100, and the gradient's denominator at least 1e-12, as in PyTorch.
template <class T>
struct BceFormula {
  explicit BceFormula(const LossBlock<T>&) {}
  [[gnu::always_inline]] LossTerm<T> operator()(Vec<T> x, Vec<T> t, Vec<T> /*pos_weight*/) const {
    using S = Simd<T>;
    const auto one = S::set1(T{1});
    const auto log_yes = at_least(v_log<T>(x), T(-100));
    const auto log_no = at_least(v_log1p<T>(S::sub(S::zero(), x)), T(-100));
    const auto value = S::fnma(t, log_yes, S::mul(S::sub(t, one), log_no));
    const auto variance = at_least(S::mul(S::sub(one, x), x), T(1e-12));
    return {value, S::div(S::sub(x, t), variance)};
  }
  /// x < limit ? limit : x; a NaN passes.
  [[gnu::always_inline]] static Vec<T> at_least(Vec<T> x, T limit) {
    using S = Simd<T>;
    return S::select(S::lt(x, S::set1(limit)), S::set1(limit), x);
  }
};

/// (1-t)*x + (1 + (p-1)*t) * (log1p(e^-|x|) + max(-x, 0)), p = pos_weight. Terms in |x| are put
/// together (p*t*|x| below zero, (1-t)*|x| above): nothing large cancels, however large x.
template <class T>
struct BceWithLogitsFormula {
  explicit BceWithLogitsFormula(const LossBlock<T>&) {}
  [[gnu::always_inline]] LossTerm<T> operator()(Vec<T> x, Vec<T> t, Vec<T> pos_weight) const {
    using S = Simd<T>;
    const auto one = S::set1(T{1});
    const auto size = v_abs<T>(x);
    const auto e = v_exp<T>(S::sub(S::zero(), size));
    const auto positive = S::mul(pos_weight, t);
    const auto both = S::fma(S::sub(pos_weight, one), t, one);
    const auto below = S::lt(x, S::zero());
    const auto slope = S::select(below, positive, S::sub(one, t));
    const auto value = S::fma(slope, size, S::mul(both, v_log1p<T>(e)));
    const auto sigmoid = S::div(S::select(below, e, one), S::add(one, e));
    return {value, S::fma(both, sigmoid, S::sub(S::zero(), positive))};
  }
};

/// Runs one formula over a block. kWeighted: the loss has weights and pos_weights.
template <class T, class Formula, bool kWeighted>
class ElementwiseLoss {
 public:
  explicit ElementwiseLoss(const LossBlock<T>& block)
      : b_(block), formula_(block), scale_(static_cast<T>(block.scale)) {}

  void run() const {
    if (is_column()) {
      run_column();
    } else if (b_.cols <= S::kWidth) {
      run_short_rows();
    } else {
      for (index_t r = 0; r < b_.rows; ++r) run_row(r);
    }
  }

 private:
  using S = Simd<T>;
  using V = Vec<T>;

  /// One column without gaps is a vector whose elements are rows.
  bool is_column() const {
    return b_.cols == 1 && b_.ld_prediction == 1 && b_.ld_target == 1 &&
           (b_.d_prediction == nullptr || b_.ld_d_prediction == 1) &&
           ((b_.element_loss == nullptr && b_.element_scale == nullptr) || b_.ld_element == 1);
  }

  /// The register of elements at row `r` and column `c`. Returns the losses, +0 in absent lanes.
  template <class Access>
  [[gnu::always_inline]] V elements(Access at, index_t r, index_t c, V row_scale, V weight,
                                    V pos_weight) const {
    const V x = at.load(b_.prediction + r * b_.ld_prediction + c);
    const V t = at.load(b_.target + r * b_.ld_target + c);
    LossTerm<T> term = formula_(x, t, pos_weight);
    if constexpr (kWeighted) {
      term.value = S::mul(term.value, weight);
      term.d_prediction = S::mul(term.d_prediction, weight);
    }
    if (b_.element_loss != nullptr) {
      at.store(b_.element_loss + r * b_.ld_element + c, term.value);
    }
    if (b_.d_prediction != nullptr) {
      V d = S::mul(S::mul(term.d_prediction, S::set1(scale_)), row_scale);
      if (b_.element_scale != nullptr) {
        d = S::mul(d, at.load(b_.element_scale + r * b_.ld_element + c));
      }
      at.store(b_.d_prediction + r * b_.ld_d_prediction + c, d);
    }
    return at.keep(term.value);
  }

  void run_row(index_t r) const {
    const V row_scale = S::set1(b_.row_scale == nullptr ? T{1} : b_.row_scale[r]);
    Lanes<T> sum = Lanes<T>::zero();
    const auto one_register = [&](auto at, index_t c, V& lanes) __attribute__((always_inline)) {
      lanes = S::add(lanes, elements(at, r, c, row_scale, load_or_one(at, b_.weight, c),
                                     load_or_one(at, b_.pos_weight, c)));
    };
    const index_t whole = b_.cols / kLanes<T> * kLanes<T>;
    for (index_t c = 0; c < whole; c += kLanes<T>) {
      unroll<Lanes<T>::kParts>([&](auto part) __attribute__((always_inline)) {
        one_register(WholeRegister<T>{}, c + part * S::kWidth, sum.part[part]);
      });
    }
    unroll<Lanes<T>::kParts>([&](auto part) __attribute__((always_inline)) {
      const index_t c = whole + part * S::kWidth;
      if (c >= b_.cols) return;
      with_register<T>(
          b_.cols - c, [&](auto at)
                           __attribute__((always_inline)) { one_register(at, c, sum.part[part]); });
    });
    if (b_.row_loss != nullptr) b_.row_loss[r] = tree_sum(sum);
  }

  /// Rows of one register: what is alike in all rows is made once.
  void run_short_rows() const {
    with_register<T>(
        b_.cols, [&](auto at) __attribute__((always_inline)) {
          const V weight = load_or_one(at, b_.weight, 0);
          const V pos_weight = load_or_one(at, b_.pos_weight, 0);
          for (index_t r = 0; r < b_.rows; ++r) {
            const V row_scale = S::set1(b_.row_scale == nullptr ? T{1} : b_.row_scale[r]);
            Lanes<T> sum = Lanes<T>::zero();
            sum.part[0] = S::add(sum.part[0], elements(at, r, 0, row_scale, weight, pos_weight));
            if (b_.row_loss != nullptr) b_.row_loss[r] = tree_sum(sum);
          }
        });
  }

  void run_column() const {
    const V weight = S::set1(b_.weight == nullptr ? T{1} : b_.weight[0]);
    const V pos_weight = S::set1(b_.pos_weight == nullptr ? T{1} : b_.pos_weight[0]);
    index_t first = 0;
    if (b_.element_loss == nullptr && b_.element_scale == nullptr && b_.row_scale == nullptr &&
        b_.d_prediction != nullptr && b_.row_loss != nullptr) {
      first = plain_column(weight, pos_weight);
    }
    for (index_t r = first; r < b_.rows; r += S::kWidth) {
      with_register<T>(
          b_.rows - r, [&](auto at) __attribute__((always_inline)) {
            const V row_scale = b_.row_scale == nullptr ? S::set1(T{1}) : at.load(b_.row_scale + r);
            const V value = elements(at, r, 0, row_scale, weight, pos_weight);
            // The lane sum of one value is the value, but -0 gives +0.
            if (b_.row_loss != nullptr) at.store(b_.row_loss + r, S::add(value, S::zero()));
          });
    }
  }

  /// Whole registers of a column, as a training step asks for them: row losses and gradients, of
  /// every row alike. Returns where they end.
  index_t plain_column(V weight, V pos_weight) const {
    const V scale = S::set1(scale_);
    index_t r = 0;
    for (; r + S::kWidth <= b_.rows; r += S::kWidth) {
      LossTerm<T> term = formula_(S::load(b_.prediction + r), S::load(b_.target + r), pos_weight);
      if constexpr (kWeighted) {
        term.value = S::mul(term.value, weight);
        term.d_prediction = S::mul(term.d_prediction, weight);
      }
      S::store(b_.d_prediction + r, S::mul(term.d_prediction, scale));
      S::store(b_.row_loss + r, S::add(term.value, S::zero()));
    }
    return r;
  }

  template <class Access>
  [[gnu::always_inline]] static V load_or_one(Access at, const T* p, index_t c) {
    if constexpr (kWeighted) {
      if (p != nullptr) return at.load(p + c);
    }
    return S::set1(T{1});
  }

  const LossBlock<T>& b_;
  Formula formula_;
  T scale_;
};

template <class T, class Formula, bool kWeighted = false>
void elementwise_loss(const LossBlock<T>& block) noexcept {
  ElementwiseLoss<T, Formula, kWeighted>(block).run();
}

/// beta = 0 is the L1 loss: the quotients by beta would be 0/0.
template <class T>
void smooth_l1_loss(const LossBlock<T>& block) noexcept {
  if (static_cast<T>(block.a) == T{0}) {
    elementwise_loss<T, L1Formula<T>>(block);
  } else {
    elementwise_loss<T, SmoothL1Formula<T>>(block);
  }
}

/// -weight[label] * prediction[label].
template <class T>
void nll_loss(const LossBlock<T>& b) noexcept {
  const T scale = static_cast<T>(b.scale);
  for (index_t r = 0; r < b.rows; ++r) {
    const bool counts = b.labels[r] != b.ignore_index;
    const auto label = static_cast<index_t>(b.labels[r]);
    const T weight = !counts ? T{0} : b.weight == nullptr ? T{1} : b.weight[label];
    const T x = counts ? b.prediction[r * b.ld_prediction + label] : T{0};
    if (b.row_loss != nullptr) b.row_loss[r] = T{0} - weight * x;
    if (b.d_prediction == nullptr) continue;
    T* d = b.d_prediction + r * b.ld_d_prediction;
    zero_row(d, b.cols);
    if (counts) d[label] = -weight * scale * (b.row_scale == nullptr ? T{1} : b.row_scale[r]);
  }
}

template <class T>
constexpr void fill_losses(Kernels<T>& table) {
  const auto put = [&](LossKind at, LossKernel<T> kernel) {
    table.loss[static_cast<int>(at)] = kernel;
  };
  put(LossKind::kMSE, elementwise_loss<T, MseFormula<T>>);
  put(LossKind::kL1, elementwise_loss<T, L1Formula<T>>);
  put(LossKind::kHuber, elementwise_loss<T, HuberFormula<T>>);
  put(LossKind::kSmoothL1, smooth_l1_loss<T>);
  put(LossKind::kBCE, elementwise_loss<T, BceFormula<T>, true>);
  put(LossKind::kBCEWithLogits, elementwise_loss<T, BceWithLogitsFormula<T>, true>);
  put(LossKind::kCrossEntropyIndex, cross_entropy_index<T>);
  put(LossKind::kCrossEntropyProbs, cross_entropy_probs<T>);
  put(LossKind::kNLL, nll_loss<T>);
}

}  // namespace
}  // namespace schuss

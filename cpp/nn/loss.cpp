// SPDX-License-Identifier: MIT
#include "nn/loss.hpp"

#include "kernels/dispatch.hpp"

namespace schuss {
namespace {

template <class T>
AlignedBuffer<T> rounded(const std::vector<double>& values) {
  AlignedBuffer<T> to(static_cast<index_t>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    to[static_cast<index_t>(i)] = static_cast<T>(values[i]);
  }
  return to;
}

}  // namespace

template <class T>
BoundLoss<T>::BoundLoss(const LossSpec& spec, index_t cols)
    : spec_(spec),
      cols_(cols),
      weight_(rounded<T>(spec.weight)),
      pos_weight_(rounded<T>(spec.pos_weight)) {}

template <class T>
void BoundLoss<T>::add_label_weights(const std::int64_t* labels, index_t n, double* sum,
                                     index_t* counted) const {
  for (index_t r = 0; r < n; ++r) {
    if (labels[r] == spec_.ignore_index) continue;
    *sum += weight_.empty() ? 1.0 : static_cast<double>(weight_[labels[r]]);
    ++*counted;
  }
}

template <class T>
double BoundLoss<T>::divisor(index_t rows, double label_weights) const {
  if (spec_.reduction != Reduction::kMean) return 1.0;
  if (by_labels()) return label_weights;
  const auto n = static_cast<double>(rows);
  return is_row_loss(spec_.kind) ? n : n * static_cast<double>(cols_);
}

template <class T>
LossBlock<T> BoundLoss<T>::block() const {
  LossBlock<T> b;
  b.weight = weight_.data();
  b.pos_weight = pos_weight_.data();
  b.cols = cols_;
  b.a = spec_.a;
  b.label_smoothing = spec_.label_smoothing;
  b.ignore_index = spec_.ignore_index;
  return b;
}

template <class T>
LossKernel<T> BoundLoss<T>::kernel() const {
  return kernels<T>().loss[static_cast<int>(spec_.kind)];
}

template class BoundLoss<float>;
template class BoundLoss<double>;

}  // namespace schuss

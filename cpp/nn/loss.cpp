// SPDX-License-Identifier: MIT
#include "nn/loss.hpp"

#include "kernels/dispatch.hpp"
#include "nn/program.hpp"

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

template <class T>
thread_local const BoundProgram<T>* called_back = nullptr;

template <class T>
void run_called_back(const LossBlock<T>& block) noexcept {
  called_back<T>->run(block);
}

}  // namespace

template <class T>
BoundLoss<T>::BoundLoss(const LossSpec& spec, index_t cols)
    : spec_(spec),
      cols_(cols),
      weight_(rounded<T>(spec.weight)),
      pos_weight_(rounded<T>(spec.pos_weight)) {
  if (spec.program != nullptr) program_ = std::make_unique<BoundProgram<T>>(spec.program);
}

template <class T>
BoundLoss<T>::BoundLoss(BoundLoss&& other) noexcept = default;

template <class T>
BoundLoss<T>::~BoundLoss() = default;

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
  if (program_ != nullptr) return static_cast<double>(rows);
  if (spec_.reduction != Reduction::kMean) return 1.0;
  if (by_labels()) return label_weights;
  const auto n = static_cast<double>(rows);
  return is_row_loss(spec_.kind) ? n : n * static_cast<double>(cols_);
}

template <class T>
double BoundLoss<T>::value(double sum, double divisor) const {
  if (program_ != nullptr) return program_->value(sum, divisor);
  return static_cast<double>(static_cast<T>(sum / divisor));
}

template <class T>
double BoundLoss<T>::scale(double divisor, double upstream) const {
  return program_ != nullptr ? program_->scale(divisor, upstream) : upstream / divisor;
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
void BoundLoss<T>::run(const LossBlock<T>& block) const {
  if (program_ != nullptr) return program_->run(block);
  kernels<T>().loss[static_cast<int>(spec_.kind)](block);
}

template <class T>
LossCallback<T>::LossCallback(const BoundLoss<T>& loss) : loss_(loss) {
  called_back<T> = loss.program_.get();
}

template <class T>
LossCallback<T>::~LossCallback() {
  called_back<T> = nullptr;
}

template <class T>
LossKernel<T> LossCallback<T>::kernel() const {
  if (loss_.program_ != nullptr) return &run_called_back<T>;
  return kernels<T>().loss[static_cast<int>(loss_.spec_.kind)];
}

template class BoundLoss<float>;
template class BoundLoss<double>;
template class LossCallback<float>;
template class LossCallback<double>;

}  // namespace schuss

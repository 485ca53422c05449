// SPDX-License-Identifier: MIT
#include "train/few_walk.hpp"

#include <algorithm>

#include "kernels/dispatch.hpp"

namespace schuss {

template <class T>
bool FewWalk<T>::fits(const Network& network) {
  if (network.stages().size() != 1) return false;
  const Stage& stage = network.stages().front();
  return stage.dense() && !stage.narrow() && stage.activation == Activation::kIdentity &&
         stage.n_out > kLanes<T> / 2 && stage.n_out <= kLanes<T>;
}

template <class T>
FewWalk<T>::FewWalk(const ArrayView& x, index_t rows, bool shuffle)
    : view_(x), direct_(direct_rows<T>(x)), d_(rows * kLanes<T>) {
  if (direct_ == nullptr) {
    ld_ = workspace_ld<T>(x.cols);
    staging_ = AlignedBuffer<T>(rows * ld_);
  } else {
    ld_ = direct_ld(x);
    if (shuffle) numbers_ = AlignedBuffer<index_t>(rows);
  }
}

/// The layer's part of a pass.
template <class T>
FewForward<T> FewWalk<T>::pass_of(const Stage& layer) const {
  FewForward<T> pass;
  pass.ldx = ld_;
  pass.n_in = layer.n_in;
  pass.weight = layer.weight->ptr<T>();
  pass.bias = layer.bias == nullptr ? nullptr : layer.bias->ptr<T>();
  return pass;
}

/// Rows from row `at` of `rows` on, in place.
template <class T>
void FewWalk<T>::point_at(const RowSet& rows, index_t at, FewForward<T>* pass) const {
  pass->list = rows.numbers == nullptr ? nullptr : rows.numbers + at;
  pass->x = direct_ + (rows.numbers == nullptr ? rows.first + at : 0) * ld_;
  // In order the array goes on after these rows, and so, as a rule, does the thread.
  pass->known = rows.numbers == nullptr ? view_.rows - rows.first - at
                                        : std::max(rows.count, rows.known) - at;
}

template <class T>
void FewWalk<T>::remember(const RowSet& rows) {
  if (direct_ != nullptr && rows.numbers != nullptr) {
    std::copy_n(rows.numbers, rows.count, numbers_.data() + rows.at);
  } else if (rows.at == 0) {
    first_ = rows.first;
  }
}

template <class T>
bool FewWalk<T>::forward(const Stage& layer, const RowSet& rows, const BoundLoss<T>& loss,
                         const LossBlock<T>& block, BadElement* bad) {
  FewForward<T> pass = pass_of(layer);
  remember(rows);
  for (index_t at = 0; at < rows.count; at += kRowsAtOnce) {
    pass.rows = std::min(kRowsAtOnce, rows.count - at);
    if (direct_ == nullptr) {
      T* to = staging_.data() + (rows.at + at) * ld_;
      const index_t* numbers = rows.numbers == nullptr ? nullptr : rows.numbers + at;
      if (!gather_rows<T>(view_, numbers, rows.first + at, pass.rows, to, ld_, bad)) return false;
      pass.x = to;
      pass.known = pass.rows;
    } else {
      point_at(rows, at, &pass);
    }
    pass.y = d_.data() + (rows.at + at) * kLanes<T>;
    kernels<T>().few_forward(pass);
    losses(rows.at + at, pass.rows, loss, block);
  }
  return true;
}

template <class T>
void FewWalk<T>::forward_columns(const Stage& layer, const RowSet& rows, index_t at, index_t count,
                                 index_t begin, index_t end) {
  FewForward<T> pass = pass_of(layer);
  point_at(rows, at, &pass);
  pass.x += begin;
  pass.weight += begin * kLanes<T>;
  pass.n_in = end - begin;
  pass.rows = count;
  pass.y = d_.data() + (rows.at + at) * kLanes<T>;
  pass.resume = begin > 0;
  kernels<T>().few_forward(pass);
}

template <class T>
void FewWalk<T>::losses(index_t at, index_t count, const BoundLoss<T>& loss,
                        const LossBlock<T>& block) {
  LossBlock<T> part = rows_from(block, at);
  part.rows = count;
  part.prediction = part.d_prediction = d_.data() + at * kLanes<T>;
  part.ld_prediction = part.ld_d_prediction = kLanes<T>;
  loss.run(part);
}

template <class T>
void FewWalk<T>::gradients(const Stage& layer, index_t count, const GradientMap& map, T* arena,
                           Finish finish, Part part, index_t grain) {
  const GradientMap::Slot slot = map.slots.front();
  if (slot.bias != GradientMap::kNone && part.is_last()) {
    kernels<T>().column_sums(d_.data(), kLanes<T>, count, layer.n_out, arena + slot.bias,
                             Start::kZero, finish);
  }
  if (slot.weight == GradientMap::kNone) return;
  const index_t begin = part.begin(layer.n_in, grain);
  FewGradient<T> pass;
  pass.x = direct_ == nullptr ? staging_.data() : direct_;
  pass.ldx = ld_;
  if (direct_ != nullptr && numbers_.empty()) pass.x += first_ * ld_;
  if (direct_ != nullptr && !numbers_.empty()) pass.list = numbers_.data();
  pass.x += begin;
  pass.rows = count;
  pass.n_in = part.end(layer.n_in, grain) - begin;
  pass.n_out = layer.n_out;
  pass.d = d_.data();
  pass.d_weight = arena + slot.weight + begin * kLanes<T>;
  pass.add = finish == Finish::kAdd;
  kernels<T>().few_gradient(pass);
}

template class FewWalk<float>;
template class FewWalk<double>;

}  // namespace schuss

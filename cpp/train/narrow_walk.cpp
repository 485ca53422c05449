// SPDX-License-Identifier: MIT
#include "train/narrow_walk.hpp"

#include <algorithm>

#include "kernels/dispatch.hpp"

namespace schuss {

template <class T>
bool NarrowWalk<T>::fits(const Network& network) {
  if (network.stages().size() != 1) return false;
  const Stage& stage = network.stages().front();
  return stage.dense() && stage.narrow() && !stage.small() &&
         stage.activation == Activation::kIdentity;
}

template <class T>
NarrowWalk<T>::NarrowWalk(const ArrayView& x, index_t n_out, index_t rows)
    : view_(x), direct_(direct_rows<T>(x)), d_(rows * n_out) {
  if (direct_ == nullptr) {
    staging_ = AlignedBuffer<T>(std::min(rows, kStagedRows) * workspace_ld<T>(x.cols));
  }
}

template <class T>
bool NarrowWalk<T>::run(const Stage& layer, const RowSet& rows, const BoundLoss<T>& loss,
                        const LossBlock<T>& block, const GradientMap& map, T* gradients,
                        BadElement* bad) {
  const GradientMap::Slot slot = map.slots.front();
  NarrowPass<T> pass;
  pass.n_in = layer.n_in;
  pass.n_out = layer.n_out;
  pass.weight = layer.weight->ptr<T>();
  pass.ldw = layer.weight->layout.ld;
  pass.bias = layer.bias == nullptr ? nullptr : layer.bias->ptr<T>();
  const LossCallback<T> callback(loss);
  pass.loss = callback.kernel();
  pass.block = block;
  pass.d = d_.data();
  pass.d_weight = slot.weight == GradientMap::kNone ? nullptr : gradients + slot.weight;
  if (direct_ != nullptr) {
    pass.ldx = direct_ld(view_);
    pass.x = rows.numbers != nullptr ? direct_ : direct_ + rows.first * pass.ldx;
    pass.list = rows.numbers;
    pass.next = rows.next != nullptr ? direct_ : direct_ + rows.next_first * pass.ldx;
    pass.next_list = rows.next;
    pass.next_rows = rows.next_count;
    pass.rows = rows.count;
    kernels<T>().narrow_pass(pass);
  } else {
    pass.x = staging_.data();
    pass.ldx = workspace_ld<T>(view_.cols);
    for (index_t at = 0; at < rows.count; at += kStagedRows) {
      pass.rows = std::min(kStagedRows, rows.count - at);
      const index_t* numbers = rows.numbers == nullptr ? nullptr : rows.numbers + at;
      if (!gather_rows<T>(view_, numbers, rows.first + at, pass.rows, staging_.data(), pass.ldx,
                          bad)) {
        return false;
      }
      pass.block = rows_from(block, at);
      pass.d = d_.data() + at * layer.n_out;
      kernels<T>().narrow_pass(pass);
      pass.start = Start::kResume;
    }
  }
  if (slot.bias != GradientMap::kNone) {
    SmallGradient<T> sum;
    sum.d_y = d_.data();
    sum.ldd = layer.n_out;
    sum.rows = rows.count;
    sum.n_out = layer.n_out;
    sum.d_bias = gradients + slot.bias;
    kernels<T>().small_gradient(sum);
  }
  return true;
}

template class NarrowWalk<float>;
template class NarrowWalk<double>;

}  // namespace schuss

// SPDX-License-Identifier: MIT
#include "nn/shards.hpp"

#include "kernels/dispatch.hpp"

namespace schuss {

template <class T>
void ShardedGradient<T>::close(GradientTree<T>& tree, const ChunkPlace& place) {
  if (shards_ == 1) return;
  const auto add = [this](AlignedBuffer<T>& left, AlignedBuffer<T>& value) {
    kernels<T>().add(left.data(), value.data(), elements_);
  };
  pairs_.push(place.shard, tree.result_buffer(), add);
  if (place.last) pairs_.finish(tree.result_buffer(), add);
}

template class ShardedGradient<float>;
template class ShardedGradient<double>;

}  // namespace schuss

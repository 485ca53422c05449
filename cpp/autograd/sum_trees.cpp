// SPDX-License-Identifier: MIT
#include "autograd/sum_trees.hpp"

#include <algorithm>

#include "kernels/dispatch.hpp"

namespace schuss {

template <class T>
GradientTree<T>::GradientTree(index_t elements, index_t chunks) : elements_(elements) {
  do {
    levels_.emplace_back(elements);
    chunks = (chunks + kTreeFanout - 1) / kTreeFanout;
  } while (chunks > 1);
}

/// The buffer in which group `group` of a level is summed. The first group of a parent is summed in
/// the parent's own buffer: storing it there is what copying it there would give.
template <class T>
T* GradientTree<T>::buffer(std::size_t level, index_t group) {
  while (level + 1 < levels_.size() && group % kTreeFanout == 0) {
    ++level;
    group /= kTreeFanout;
  }
  return levels_[level].data();
}

template <class T>
T* GradientTree<T>::target(index_t chunk) {
  return buffer(0, chunk / kTreeFanout);
}

template <class T>
void GradientTree<T>::close(index_t chunk, bool last) {
  index_t group = chunk / kTreeFanout;
  bool complete = last || chunk % kTreeFanout == kTreeFanout - 1;
  for (std::size_t level = 0; complete && level + 1 < levels_.size(); ++level) {
    const index_t parent = group / kTreeFanout;
    if (group % kTreeFanout != 0) {
      kernels<T>().add(levels_[level].data(), buffer(level + 1, parent), elements_);
    }
    complete = last || group % kTreeFanout == kTreeFanout - 1;
    group = parent;
  }
}

template class GradientTree<float>;
template class GradientTree<double>;

void SumTree::add(double chunk_sum) {
  double value = chunk_sum;
  for (int level = 0; level < kLevels; ++level) {
    sum_[level] = count_[level] == 0 ? value : sum_[level] + value;
    if (++count_[level] < kTreeFanout || level == kLevels - 1) return;
    value = sum_[level];
    count_[level] = 0;
  }
}

double SumTree::result() const {
  double value = 0.0;
  bool some = false;
  for (int level = 0; level < kLevels; ++level) {
    if (count_[level] == 0) continue;
    value = some ? sum_[level] + value : sum_[level];
    some = true;
  }
  return value;
}

template <class T>
double line_sum(const T* x, index_t n) noexcept {
  if (n <= kChunkRows) return kernels<T>().sum_f64(x, n);
  SumTree tree;
  for (index_t first = 0; first < n; first += kChunkRows) {
    tree.add(kernels<T>().sum_f64(x + first, std::min(kChunkRows, n - first)));
  }
  return tree.result();
}

template double line_sum(const float*, index_t) noexcept;
template double line_sum(const double*, index_t) noexcept;

}  // namespace schuss

// SPDX-License-Identifier: MIT
#include "autograd/strided.hpp"

#include <cassert>

#include "kernels/dispatch.hpp"

namespace schuss {

template <class T>
void copy_turned(const T* from, index_t col, index_t rows, index_t cols, T* to, index_t ld) {
  constexpr index_t kRows = 64;
  constexpr index_t kMostPanel = 64;
  const Kernels<T>& table = kernels<T>();
  const index_t panel = table.packed_size(1, 1);
  assert(panel <= kMostPanel);
  alignas(kAlignBytes) T turned[kRows * kMostPanel];
  for (index_t i = 0; i < rows; i += kRows) {
    const index_t count = std::min(kRows, rows - i);
    for (index_t j = 0; j < cols; j += panel) {
      const index_t columns = std::min(panel, cols - j);
      table.pack(from + i + j * col, 1, col, count, columns, turned);
      for (index_t r = 0; r < count; ++r) {
        std::copy_n(turned + r * panel, columns, to + (i + r) * ld + j);
      }
    }
  }
}

template void copy_turned(const float*, index_t, index_t, index_t, float*, index_t);
template void copy_turned(const double*, index_t, index_t, index_t, double*, index_t);

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Sums and means, in the order that autograd/ops.hpp fixes.
#include <algorithm>
#include <array>

#include "autograd/ops_impl.hpp"
#include "autograd/strided.hpp"
#include "autograd/sum_trees.hpp"
#include "kernels/dispatch.hpp"

namespace schuss::ops {

Dims reduced_shape(const Dims& shape, std::uint8_t reduced, bool keepdim) {
  Dims out;
  for (int i = 0; i < shape.rank; ++i) {
    const bool gone = ((reduced >> i) & 1) != 0;
    if (gone && !keepdim) continue;
    out[out.rank++] = gone ? 1 : shape[i];
  }
  return out;
}

namespace {

/// The sum of all elements of (rows, rest).
template <class T>
double total(const T* x, index_t rows, index_t rest) {
  if (rest == 1) return line_sum(x, rows);
  SumTree tree;
  T lines[kChunkRows];
  for (index_t first = 0; first < rows; first += kChunkRows) {
    const index_t count = std::min(kChunkRows, rows - first);
    for (index_t r = 0; r < count; ++r) {
      lines[r] = static_cast<T>(line_sum(x + (first + r) * rest, rest));
    }
    tree.add(kernels<T>().sum_f64(lines, count));
  }
  return tree.result();
}

/// to[j] = sum over rows of x[r*cols + j].
template <class T>
void column_totals(const T* x, index_t rows, index_t cols, T* to) {
  const Kernels<T>& k = kernels<T>();
  const index_t chunks = (rows + kChunkRows - 1) / kChunkRows;
  const auto chunk_of = [&](index_t chunk, T* sums, Finish finish) {
    const index_t first = chunk * kChunkRows;
    k.column_sums(x + first * cols, cols, std::min(kChunkRows, rows - first), cols, sums,
                  Start::kZero, finish);
  };
  if (chunks <= kTreeFanout) {
    if (chunks == 0) std::fill_n(to, cols, T(0));
    for (index_t c = 0; c < chunks; ++c) chunk_of(c, to, GradientTree<T>::finish(c));
    return;
  }
  GradientTree<T> tree(cols, chunks);
  for (index_t c = 0; c < chunks; ++c) {
    chunk_of(c, tree.target(c), GradientTree<T>::finish(c));
    tree.close(c, c == chunks - 1);
  }
  std::copy_n(tree.result(), cols, to);
}

struct Group {
  index_t size;
  bool summed;
};

/// The dimensions as the contract sees them: those of size 1 left out, neighbours of a kind joined,
/// the first apart.
std::vector<Group> groups_of(const Dims& shape, std::uint8_t summed) {
  std::vector<Group> groups;
  bool apart = true;
  for (int i = 0; i < shape.rank; ++i) {
    if (shape[i] == 1) {
      if (i == 0) apart = false;
      continue;
    }
    const bool here = ((summed >> i) & 1) != 0;
    const bool joins =
        !groups.empty() && groups.back().summed == here && !(apart && groups.size() == 1);
    if (joins) {
      groups.back().size *= shape[i];
    } else {
      groups.push_back({shape[i], here});
    }
  }
  return groups;
}

/// Sums one group after the other, from the last to the first.
template <class T>
void partial_sums(const T* x, std::vector<Group> groups, T* out) {
  AlignedBuffer<T> held;
  const T* from = x;
  while (true) {
    std::size_t last = groups.size();
    index_t inner = 1;
    std::size_t more = 0;
    for (const Group& group : groups) more += group.summed ? 1 : 0;
    while (last > 0 && !groups[last - 1].summed) inner *= groups[--last].size;
    if (last == 0) break;
    const index_t size = groups[last - 1].size;
    index_t outer = 1;
    for (std::size_t g = 0; g + 1 < last; ++g) outer *= groups[g].size;
    AlignedBuffer<T> next(more > 1 ? outer * inner : 0, Uninitialized{});
    T* to = more > 1 ? next.data() : out;
    for (index_t o = 0; o < outer; ++o) {
      if (inner == 1) {
        to[o] = static_cast<T>(line_sum(from + o * size, size));
      } else {
        column_totals(from + o * size * inner, size, inner, to + o * inner);
      }
    }
    groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(last - 1));
    if (more == 1) break;
    held = std::move(next);
    from = held.data();
  }
}

template <class T>
void sum_floats(bool mean, const TensorPtr& x, std::uint8_t summed, const TensorPtr& out) {
  const index_t n = x->count();
  const index_t outputs = out->count();
  if (summed == (1U << x->shape.rank) - 1U) {
    const index_t rows = x->shape.rank == 0 ? 1 : x->shape[0];
    const double sum = total(x->ptr<T>(), rows, rows == 0 ? 1 : n / rows);
    *out->ptr<T>() = static_cast<T>(mean ? sum / static_cast<double>(n) : sum);
    return;
  }
  if (n == 0) {
    std::fill_n(out->ptr<T>(), outputs, mean ? static_cast<T>(__builtin_nan("")) : T(0));
    return;
  }
  if (n == outputs) {
    std::copy_n(x->ptr<T>(), n, out->ptr<T>());
    return;
  }
  partial_sums(x->ptr<T>(), groups_of(x->shape, summed), out->ptr<T>());
  if (!mean) return;
  const T divisor = static_cast<T>(n / outputs);
  kernels<T>().pair[static_cast<int>(Pair::kDiv)]({out->ptr<T>(), 1}, {&divisor, 0}, out->ptr<T>(),
                                                  outputs);
}

/// Of integers: exact, so in any order.
template <class T>
void sum_integers(const TensorPtr& x, std::uint8_t summed, const TensorPtr& out) {
  const Dims kept = reduced_shape(x->shape, summed, true);
  const TensorPtr seen = make_view(*out, kept);
  const StridedLoop<2> loop(x->shape,
                            {contiguous_strides(x->shape), broadcast_strides(*seen, x->shape)});
  loop.each([&](const std::array<index_t, 2>& offset) {
    for (index_t i = 0; i < loop.length; ++i) {
      out->ptr<std::int64_t>()[offset[1] + i * loop.step[1]] +=
          static_cast<std::int64_t>(x->ptr<T>()[offset[0] + i * loop.step[0]]);
    }
  });
}

}  // namespace

TensorPtr sum_or_mean(Op op, const OpAttributes& attributes, const TensorPtr& x) {
  const Dims shape = reduced_shape(x->shape, attributes.dims, attributes.keepdim);
  const TensorPtr in = contiguous(x);
  if (!is_floating(x->dtype)) {
    const TensorPtr out = make_tensor(DType::kInt64, shape);
    if (x->dtype == DType::kBool) {
      sum_integers<bool>(in, attributes.dims, out);
    } else {
      sum_integers<std::int64_t>(in, attributes.dims, out);
    }
    return out;
  }
  const TensorPtr out = make_tensor(x->dtype, shape, Uninitialized{});
  dispatch_dtype(x->dtype,
                 [&]<class T>() { sum_floats<T>(op == Op::kMean, in, attributes.dims, out); });
  return out;
}

void sum_or_mean_backward(const BackwardContext& context, Gradients& d_inputs) {
  const TensorPtr& x = context.inputs[0];
  TensorPtr d = context.d_output;
  const index_t n = x->count();
  if (context.op == Op::kMean && n > 0) {
    const TensorPtr scaled = make_tensor(d->dtype, d->shape, Uninitialized{});
    dispatch_dtype(d->dtype, [&]<class T>() {
      const T divisor = static_cast<T>(n / d->count());
      kernels<T>().pair[static_cast<int>(Pair::kDiv)]({d->ptr<T>(), 1}, {&divisor, 0},
                                                      scaled->ptr<T>(), d->count());
    });
    d = scaled;
  }
  const TensorPtr seen = make_view(*d, reduced_shape(x->shape, context.attributes.dims, true));
  d_inputs[0] = make_tensor(d->dtype, x->shape, Uninitialized{});
  copy_contiguous(*expand(seen, x->shape), d_inputs[0]->data);
}

TensorPtr sum_to_shape(const TensorPtr& d, const Dims& shape) {
  if (d->shape == shape) return d;
  std::uint8_t summed = 0;
  const int missing = d->shape.rank - shape.rank;
  for (int i = 0; i < d->shape.rank; ++i) {
    if (i < missing || shape[i - missing] != d->shape[i]) {
      summed = static_cast<std::uint8_t>(summed | (1U << i));
    }
  }
  OpAttributes attributes;
  attributes.dims = summed;
  attributes.keepdim = true;
  return make_view(*sum_or_mean(Op::kSum, attributes, d), shape);
}

}  // namespace schuss::ops

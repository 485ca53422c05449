// SPDX-License-Identifier: MIT
/// Largest and smallest elements: the lowest index of equals, and the first NaN wins.
#include "autograd/ops_impl.hpp"
#include "autograd/strided.hpp"

namespace schuss::ops {

Reduced::Reduced(const Dims& shape, std::uint8_t bits) {
  bool after = false;
  for (int i = 0; i < shape.rank; ++i) {
    if (((bits >> i) & 1) != 0) {
      size *= shape[i];
      after = true;
    } else {
      (after ? inner : outer) *= shape[i];
    }
  }
}

namespace {

/// Whether a comes before the best so far: larger (smaller), or a NaN where that is none.
template <class T>
bool beats(bool largest, T a, T best) {
  if (best != best) return false;
  if (a != a) return true;
  return largest ? best < a : a < best;
}

template <class T>
index_t best_index(bool largest, const T* x, index_t n, index_t step) {
  index_t best = 0;
  for (index_t i = 1; i < n; ++i) {
    if (beats(largest, x[i * step], x[best * step])) best = i;
  }
  return best;
}

bool takes_largest(Op op) { return op == Op::kMax || op == Op::kArgMax; }

}  // namespace

TensorPtr extreme(Op op, const OpAttributes& attributes, const TensorPtr& x) {
  const Reduced r(x->shape, attributes.dims);
  const Dims shape = reduced_shape(x->shape, attributes.dims, attributes.keepdim);
  if (r.size == 0 && r.outer * r.inner > 0) {
    throw ValueError("max, min: got a tensor of shape " + to_string(x->shape) +
                     "; expected at least one element to choose from");
  }
  const bool indices = op == Op::kArgMax || op == Op::kArgMin;
  const TensorPtr in = contiguous(x);
  TensorPtr out = make_tensor(indices ? DType::kInt64 : x->dtype, shape, Uninitialized{});
  dispatch_any(x->dtype, [&]<class T>() {
    for (index_t o = 0; o < r.outer; ++o) {
      for (index_t i = 0; i < r.inner; ++i) {
        const T* first = in->ptr<T>() + o * r.size * r.inner + i;
        const index_t best = best_index(takes_largest(op), first, r.size, r.inner);
        const index_t to = o * r.inner + i;
        if (indices) {
          out->ptr<std::int64_t>()[to] = best;
        } else {
          out->ptr<T>()[to] = first[best * r.inner];
        }
      }
    }
  });
  return out;
}

void extreme_backward(const BackwardContext& context, Gradients& d_inputs) {
  const TensorPtr x = contiguous(context.inputs[0]);
  const Reduced r(x->shape, context.attributes.dims);
  const bool largest = takes_largest(context.op);
  // Over one dimension the gradient goes to the index that was chosen; over all elements the equals
  // share it, as in PyTorch.
  const bool shared = context.attributes.dim < 0;
  TensorPtr d_x = make_tensor(x->dtype, x->shape);
  dispatch_dtype(x->dtype, [&]<class T>() {
    const T* d = context.d_output->ptr<T>();
    for (index_t o = 0; o < r.outer; ++o) {
      for (index_t i = 0; i < r.inner; ++i) {
        const T* first = x->ptr<T>() + o * r.size * r.inner + i;
        T* to = d_x->ptr<T>() + o * r.size * r.inner + i;
        const index_t best = best_index(largest, first, r.size, r.inner);
        const T share = d[o * r.inner + i];
        if (!shared) {
          to[best * r.inner] = share;
          continue;
        }
        const T value = first[best * r.inner];
        const auto equal = [&](T a) { return a == value || (a != a && value != value); };
        index_t equals = 0;
        for (index_t k = 0; k < r.size; ++k) equals += equal(first[k * r.inner]) ? 1 : 0;
        for (index_t k = 0; k < r.size; ++k) {
          if (equal(first[k * r.inner])) to[k * r.inner] = share / static_cast<T>(equals);
        }
      }
    }
  });
  d_inputs[0] = d_x;
}

}  // namespace schuss::ops

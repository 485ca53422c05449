// SPDX-License-Identifier: MIT
/// Products, running sums and orders along a dimension.
#include <algorithm>
#include <numeric>
#include <type_traits>

#include "autograd/ops_impl.hpp"

namespace schuss::ops {
namespace {

/// What a chain is carried in: integers wrap around, as NumPy's and PyTorch's do.
template <class T>
using Carry = std::conditional_t<std::is_floating_point_v<T>, double, std::uint64_t>;

std::uint8_t bit_of(int dim, int rank) {
  return rank == 0 ? std::uint8_t{0} : static_cast<std::uint8_t>(1U << dim);
}

/// Whether a comes before b; a NaN counts as larger than every number.
template <class T>
bool precedes(bool largest, T a, T b) {
  const bool a_nan = a != a;
  const bool b_nan = b != b;
  if (a_nan || b_nan) return largest ? a_nan && !b_nan : b_nan && !a_nan;
  return largest ? b < a : a < b;
}

}  // namespace

TensorPtr product(const OpAttributes& attributes, const TensorPtr& x) {
  const Reduced r(x->shape, attributes.dims);
  const TensorPtr in = contiguous(x);
  TensorPtr out = make_tensor(
      x->dtype, reduced_shape(x->shape, attributes.dims, attributes.keepdim), Uninitialized{});
  dispatch_any(x->dtype, [&]<class T>() {
    r.each([&](index_t from, index_t to) {
      const T* first = in->ptr<T>() + from;
      Carry<T> chain = 1;
      for (index_t k = 0; k < r.size; ++k) chain *= static_cast<Carry<T>>(first[k * r.inner]);
      out->ptr<T>()[to] = static_cast<T>(chain);
    });
  });
  return out;
}

void product_backward(const BackwardContext& context, Gradients& d_inputs) {
  const TensorPtr x = contiguous(context.inputs[0]);
  const Reduced r(x->shape, context.attributes.dims);
  d_inputs[0] = make_tensor(x->dtype, x->shape, Uninitialized{});
  AlignedBuffer<double> after(r.size + 1, Uninitialized{});
  dispatch_dtype(x->dtype, [&]<class T>() {
    r.each([&](index_t from, index_t to) {
      const T* first = x->ptr<T>() + from;
      T* d_first = d_inputs[0]->ptr<T>() + from;
      // The product of the others, which a division would not give where an element is 0.
      after[r.size] = 1.0;
      for (index_t k = r.size; k > 0; --k) {
        after[k - 1] = after[k] * static_cast<double>(first[(k - 1) * r.inner]);
      }
      const auto d = static_cast<double>(context.d_output->ptr<T>()[to]);
      double before = 1.0;
      for (index_t k = 0; k < r.size; ++k) {
        d_first[k * r.inner] = static_cast<T>(d * (before * after[k + 1]));
        before *= static_cast<double>(first[k * r.inner]);
      }
    });
  });
}

TensorPtr running(const OpAttributes& attributes, const TensorPtr& x) {
  const Reduced r(x->shape, bit_of(attributes.dim, x->shape.rank));
  const TensorPtr in = contiguous(x);
  TensorPtr out = make_tensor(x->dtype, x->shape, Uninitialized{});
  dispatch_any(x->dtype, [&]<class T>() {
    r.each([&](index_t from, index_t) {
      Carry<T> chain = 0;
      for (index_t k = 0; k < r.size; ++k) {
        const auto next = static_cast<Carry<T>>(in->ptr<T>()[from + k * r.inner]);
        chain = k == 0 ? next : chain + next;
        out->ptr<T>()[from + k * r.inner] = static_cast<T>(chain);
      }
    });
  });
  return out;
}

void running_backward(const BackwardContext& context, Gradients& d_inputs) {
  const TensorPtr& d = context.d_output;
  const Reduced r(d->shape, bit_of(context.attributes.dim, d->shape.rank));
  d_inputs[0] = make_tensor(d->dtype, d->shape, Uninitialized{});
  dispatch_dtype(d->dtype, [&]<class T>() {
    r.each([&](index_t from, index_t) {
      double chain = 0.0;
      for (index_t k = r.size; k > 0; --k) {
        chain += static_cast<double>(d->ptr<T>()[from + (k - 1) * r.inner]);
        d_inputs[0]->ptr<T>()[from + (k - 1) * r.inner] = static_cast<T>(chain);
      }
    });
  });
}

TensorPtr arg_sort(const OpAttributes& attributes, const TensorPtr& x) {
  const Reduced r(x->shape, bit_of(attributes.dim, x->shape.rank));
  const TensorPtr in = contiguous(x);
  TensorPtr out = make_tensor(DType::kInt64, x->shape, Uninitialized{});
  std::vector<index_t> order(static_cast<std::size_t>(r.size));
  dispatch_any(x->dtype, [&]<class T>() {
    r.each([&](index_t from, index_t) {
      const T* first = in->ptr<T>() + from;
      std::iota(order.begin(), order.end(), index_t{0});
      std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) {
        return precedes(attributes.largest, first[a * r.inner], first[b * r.inner]);
      });
      index_t k = 0;
      for (const index_t at : order) out->ptr<std::int64_t>()[from + k++ * r.inner] = at;
    });
  });
  return out;
}

}  // namespace schuss::ops

// SPDX-License-Identifier: MIT
/// Indexing. Integers, slices and None give a view; arrays of integers a copy. As in NumPy, arrays
/// broadcast against each other, and their dimensions stand where the first of them does, or in
/// front of all others when something else stands between them.
#include "autograd/ops_impl.hpp"
#include "autograd/strided.hpp"

namespace schuss::ops {
namespace {

using Kind = IndexItem::Kind;

/// What is left when integers, slices and None are done: a view, in which arrays still have their
/// dimensions, and which dimensions those are.
struct Basic {
  TensorPtr view;
  std::vector<std::pair<int, TensorPtr>> arrays;  // dimension of the view, indices
  bool together = true;                           // the arrays stand side by side
};

Basic basic(const IndexSpec& spec, const Tensor& x) {
  Basic out;
  out.view = detached(x);
  out.view->is_view = true;
  Dims shape;
  Dims strides;
  index_t offset = 0;
  int from = 0;
  int last_array = -1;
  int place = 0;  // counts what may stand between arrays
  for (const IndexItem& item : spec) {
    const auto put = [&](index_t size, index_t stride) {
      if (shape.rank == kMaxRank) throw ValueError("index: more than 8 dimensions come out");
      shape[shape.rank] = size;
      strides[shape.rank++] = stride;
      ++strides.rank;
    };
    if (item.kind == Kind::kNew) {
      put(1, 0);
      ++place;
      continue;
    }
    const index_t stride = x.strides[from];
    const index_t size = x.shape[from++];
    if (item.kind == Kind::kPick) {
      offset += item.start * stride;
    } else if (item.kind == Kind::kSlice) {
      if (item.length > 0) offset += item.start * stride;
      put(item.length, stride * item.step);
      ++place;
    } else {
      if (!out.arrays.empty() && last_array != place) out.together = false;
      last_array = place;
      out.arrays.emplace_back(shape.rank, item.array);
      put(size, stride);
    }
  }
  out.view->shape = shape;
  out.view->strides = strides;
  out.view->data += offset * item_bytes(x.dtype);
  return out;
}

/// visit(element of the indexed tensor, number of the output's element), in the output's order.
struct Gather {
  Basic parts;
  Dims shape;        // of the output
  Dims arrays;       // broadcast shape of the arrays
  int first = 0;     // where the arrays' dimensions stand in the output
  TensorPtr target;  // offsets into the view, one for each element of `arrays`

  Gather(const IndexSpec& spec, const Tensor& x) : parts(basic(spec, x)) {
    for (const auto& [dim, array] : parts.arrays) {
      arrays = broadcast_shape(arrays, array->shape, "index: arrays");
    }
    first = parts.together ? parts.arrays.front().first : 0;
    target = make_tensor(DType::kInt64, arrays);
    for (const auto& [dim, array] : parts.arrays) {
      const StridedLoop<1> loop(arrays, {broadcast_strides(*array, arrays)});
      const index_t stride = parts.view->strides[dim];
      const std::int64_t* picked = array->ptr<std::int64_t>();
      std::int64_t* offsets = target->ptr<std::int64_t>();
      loop.each([&](const std::array<index_t, 1>& offset) {
        for (index_t i = 0; i < loop.length; ++i) {
          *offsets++ += picked[offset[0] + i * loop.step[0]] * stride;
        }
      });
    }
    const Dims& seen = parts.view->shape;
    int others = 0;
    for (int i = 0; i < seen.rank; ++i) {
      if (is_array(i)) continue;
      if (others == first) append_arrays();
      shape[shape.rank++] = seen[i];
      ++others;
    }
    if (others <= first && shape.rank == others) append_arrays();
  }

  bool is_array(int dim) const {
    for (const auto& [d, array] : parts.arrays) {
      if (d == dim) return true;
    }
    return false;
  }

  void append_arrays() {
    if (shape.rank + arrays.rank > kMaxRank) {
      throw ValueError("index: more than 8 dimensions come out");
    }
    for (int i = 0; i < arrays.rank; ++i) shape[shape.rank++] = arrays[i];
  }

  /// visit(offset in the view, number of the output's element).
  template <class F>
  void each(F&& visit) const {
    // Dimensions before the arrays, the arrays as one, dimensions after them.
    Dims before;
    Dims after;
    Dims before_strides;
    Dims after_strides;
    const Tensor& view = *parts.view;
    int others = 0;
    for (int i = 0; i < view.shape.rank; ++i) {
      if (is_array(i)) continue;
      Dims& sizes = others < first ? before : after;
      Dims& strides = others++ < first ? before_strides : after_strides;
      sizes[sizes.rank++] = view.shape[i];
      strides[strides.rank++] = view.strides[i];
    }
    const StridedLoop<1> outer(before, {before_strides});
    const StridedLoop<1> inner(after, {after_strides});
    const index_t picks = arrays.count();
    index_t at = 0;
    outer.each([&](const std::array<index_t, 1>& left) {
      for (index_t o = 0; o < outer.length; ++o) {
        for (index_t k = 0; k < picks; ++k) {
          const index_t base = left[0] + o * outer.step[0] + target->ptr<std::int64_t>()[k];
          inner.each([&](const std::array<index_t, 1>& right) {
            for (index_t i = 0; i < inner.length; ++i) {
              visit(base + right[0] + i * inner.step[0], at++);
            }
          });
        }
      }
    });
  }
};

bool has_arrays(const IndexSpec& spec) {
  for (const IndexItem& item : spec) {
    if (item.kind == Kind::kArray) return true;
  }
  return false;
}

}  // namespace

TensorPtr index(const IndexSpec& spec, const TensorPtr& x) { return basic(spec, *x).view; }

TensorPtr gather(const IndexSpec& spec, const TensorPtr& x) {
  const Gather picked(spec, *x);
  TensorPtr out = make_tensor(x->dtype, picked.shape, Uninitialized{});
  dispatch_any(x->dtype, [&]<class T>() {
    const T* from = picked.parts.view->ptr<T>();
    T* to = out->ptr<T>();
    picked.each([&](index_t offset, index_t at) { to[at] = from[offset]; });
  });
  return out;
}

void index_backward(const BackwardContext& context, Gradients& d_inputs) {
  const TensorPtr& d = context.d_output;
  const IndexSpec& spec = *context.attributes.index;
  d_inputs[0] = make_tensor(d->dtype, context.inputs[0]->shape);
  if (context.op == Op::kIndex) {
    const Basic plain = basic(spec, *d_inputs[0]);
    write_contiguous(*plain.view, d->data);
    return;
  }
  // An element picked several times gets its gradients in the order of the output.
  const Gather picked(spec, *d_inputs[0]);
  dispatch_dtype(d->dtype, [&]<class T>() {
    T* to = picked.parts.view->ptr<T>();
    const T* from = d->ptr<T>();
    picked.each([&](index_t offset, index_t at) { to[offset] = to[offset] + from[at]; });
  });
}

void assign(const IndexSpec& spec, Tensor& x, const Tensor& values) {
  const bool arrays = has_arrays(spec);
  const Basic plain = basic(spec, x);
  const Dims shape = arrays ? Gather(spec, x).shape : plain.view->shape;
  const Dims common = broadcast_shape(values.shape, shape, "assignment: value and index");
  if (!(common == shape)) {
    throw ValueError("assignment: the value has shape " + to_string(values.shape) +
                     "; expected one that broadcasts to " + to_string(shape));
  }
  TensorPtr seen = detached(values);
  seen->strides = broadcast_strides(values, shape);
  seen->shape = shape;
  const TensorPtr from = make_tensor(values.dtype, shape, Uninitialized{});
  copy_contiguous(*seen, from->data);
  if (!arrays) return write_contiguous(*plain.view, from->data);
  const Gather picked(spec, x);
  dispatch_any(x.dtype, [&]<class T>() {
    T* to = picked.parts.view->ptr<T>();
    picked.each([&](index_t offset, index_t at) { to[offset] = from->ptr<T>()[at]; });
  });
  ++x.storage->version;
}

}  // namespace schuss::ops

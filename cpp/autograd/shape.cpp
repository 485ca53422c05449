// SPDX-License-Identifier: MIT
/// Operations that move no values, or only move them.
#include <cstring>

#include "autograd/ops_impl.hpp"
#include "autograd/strided.hpp"

namespace schuss::ops {
namespace {

TensorPtr view_of(const TensorPtr& x, const Dims& shape, const Dims& strides) {
  TensorPtr view = detached(*x);
  view->shape = shape;
  view->strides = strides;
  view->is_view = true;
  return view;
}

/// Strides for a view of x with another shape; false where only a copy has it.
bool strides_for(const Tensor& x, const Dims& shape, Dims* strides) {
  strides->rank = shape.rank;
  int from = 0;
  int to = 0;
  while (from < x.shape.rank || to < shape.rank) {
    // The shortest group of dimensions on either side with equal numbers of elements.
    const int first_from = from;
    const int first_to = to;
    index_t have = from < x.shape.rank ? x.shape[from++] : 1;
    index_t want = to < shape.rank ? shape[to++] : 1;
    while (have != want) {
      if (have < want && from < x.shape.rank) {
        have *= x.shape[from++];
      } else if (to < shape.rank) {
        want *= shape[to++];
      } else {
        return false;
      }
    }
    index_t stride = 0;
    int last = from - 1;
    while (last >= first_from && x.shape[last] == 1) --last;
    if (last >= first_from) {
      stride = x.strides[last];
      index_t expected = stride;
      for (int i = last; i >= first_from; --i) {
        if (x.shape[i] == 1) continue;
        if (x.strides[i] != expected) return false;
        expected = x.strides[i] * x.shape[i];
      }
    }
    for (int i = to - 1; i >= first_to; --i) {
      (*strides)[i] = stride;
      stride *= shape[i];
    }
  }
  return true;
}

}  // namespace

TensorPtr reshape(const TensorPtr& x, const Dims& shape) {
  if (x->count() == 0) return view_of(x, shape, contiguous_strides(shape));
  Dims strides;
  if (strides_for(*x, shape, &strides)) return view_of(x, shape, strides);
  return make_view(*contiguous(x), shape);
}

TensorPtr permute(const TensorPtr& x, const Dims& order) {
  Dims shape = x->shape;
  Dims strides = x->strides;
  for (int i = 0; i < order.rank; ++i) {
    shape[i] = x->shape[static_cast<int>(order[i])];
    strides[i] = x->strides[static_cast<int>(order[i])];
  }
  return view_of(x, shape, strides);
}

TensorPtr expand(const TensorPtr& x, const Dims& shape) {
  return view_of(x, shape, broadcast_strides(*x, shape));
}

TensorPtr cat(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs) {
  const int dim = attributes.dim;
  Dims shape = inputs[0]->shape;
  shape[dim] = 0;
  for (const TensorPtr& x : inputs) shape[dim] += x->shape[dim];
  TensorPtr out = make_tensor(inputs[0]->dtype, shape, Uninitialized{});
  index_t outer = 1;
  for (int i = 0; i < dim; ++i) outer *= shape[i];
  const auto item = static_cast<std::size_t>(item_bytes(out->dtype));
  const std::size_t out_block =
      outer == 0 ? 0 : static_cast<std::size_t>(out->count() / outer) * item;
  std::size_t at = 0;
  for (const TensorPtr& x : inputs) {
    const TensorPtr in = contiguous(x);
    const std::size_t block = outer == 0 ? 0 : static_cast<std::size_t>(in->count() / outer) * item;
    if (block == 0) continue;
    for (std::size_t o = 0; o < static_cast<std::size_t>(outer); ++o) {
      std::memcpy(out->data + o * out_block + at, in->data + o * block, block);
    }
    at += block;
  }
  return out;
}

namespace {

void cat_backward(const BackwardContext& context, Gradients& d_inputs) {
  const TensorPtr& d = context.d_output;
  const int dim = context.attributes.dim;
  index_t at = 0;
  for (std::size_t k = 0; k < context.inputs.size(); ++k) {
    const Dims& shape = context.inputs[k]->shape;
    if (context.wants(k)) {
      TensorPtr part = view_of(d, shape, d->strides);
      part->data += at * d->strides[dim] * item_bytes(d->dtype);
      d_inputs[k] = make_tensor(d->dtype, shape, Uninitialized{});
      copy_contiguous(*part, d_inputs[k]->data);
    }
    at += shape[dim];
  }
}

}  // namespace

void shape_backward(const BackwardContext& context, Gradients& d_inputs) {
  const TensorPtr& d = context.d_output;
  switch (context.op) {
    case Op::kClone:
      d_inputs[0] = d;
      return;
    case Op::kConvert:
      d_inputs[0] = converted(*d, context.inputs[0]->dtype);
      return;
    case Op::kReshape:
      d_inputs[0] = make_view(*d, context.inputs[0]->shape);
      return;
    case Op::kExpand:
      d_inputs[0] = sum_to_shape(d, context.inputs[0]->shape);
      return;
    case Op::kPermute: {
      Dims back = context.attributes.shape;
      for (int i = 0; i < back.rank; ++i) {
        back[static_cast<int>(context.attributes.shape[i])] = i;
      }
      d_inputs[0] = contiguous(permute(d, back));
      return;
    }
    default:
      cat_backward(context, d_inputs);
  }
}

}  // namespace schuss::ops

// SPDX-License-Identifier: MIT
#include <array>

#include "autograd/ops_impl.hpp"
#include "autograd/strided.hpp"
#include "kernels/dispatch.hpp"

namespace schuss {

Dims broadcast_shape(const Dims& a, const Dims& b, const char* what) {
  if (a == b) return a;
  const Dims& longer = a.rank >= b.rank ? a : b;
  const Dims& shorter = a.rank >= b.rank ? b : a;
  Dims shape = longer;
  const int missing = longer.rank - shorter.rank;
  for (int i = 0; i < shorter.rank; ++i) {
    const index_t size = shorter[i];
    index_t& out = shape[i + missing];
    if (size == out || size == 1) continue;
    if (out != 1) {
      throw ValueError(std::string(what) + ": shapes " + to_string(a) + " and " + to_string(b) +
                       " do not broadcast; sizes must be equal or 1, counted from the last");
    }
    out = size;
  }
  return shape;
}

Dims broadcast_strides(const Tensor& tensor, const Dims& shape) {
  Dims strides;
  strides.rank = shape.rank;
  const int missing = shape.rank - tensor.shape.rank;
  for (int i = 0; i < tensor.shape.rank; ++i) {
    if (tensor.shape[i] != 1) strides[i + missing] = tensor.strides[i];
  }
  return strides;
}

namespace ops {
namespace {

// ---- integers: exact, so that no kernel has to fix an order --------------------------------------

using Integer = std::int64_t;

/// Wraps around, as NumPy and PyTorch do.
Integer wrap(std::uint64_t x) { return static_cast<Integer>(x); }
std::uint64_t bits(Integer x) { return static_cast<std::uint64_t>(x); }

Integer integer_power(Integer base, Integer exponent) {
  std::uint64_t result = 1;
  std::uint64_t square = bits(base);
  for (Integer left = exponent; left > 0; left >>= 1) {
    if ((left & 1) != 0) result *= square;
    square *= square;
  }
  return wrap(result);
}

Integer integer_pair(Pair op, Integer a, Integer b) {
  switch (op) {
    case Pair::kAdd:
      return wrap(bits(a) + bits(b));
    case Pair::kSub:
      return wrap(bits(a) - bits(b));
    case Pair::kMul:
      return wrap(bits(a) * bits(b));
    case Pair::kPow:
      return integer_power(a, b);
    case Pair::kMaximum:
      return a < b ? b : a;
    case Pair::kMinimum:
      return b < a ? b : a;
    case Pair::kDiv:
      break;
  }
  throw TypeError("division of integers gives a floating tensor");
}

Integer integer_map(const OpAttributes& attributes, Integer x) {
  switch (attributes.map) {
    case Map::kNeg:
      return wrap(-bits(x));
    case Map::kAbs:
      return x < 0 ? wrap(-bits(x)) : x;
    case Map::kSquare:
      return wrap(bits(x) * bits(x));
    case Map::kPow:
      return integer_power(x, static_cast<Integer>(attributes.options.a));
    case Map::kClamp: {
      const double value = static_cast<double>(x);
      if (value < attributes.options.a) return static_cast<Integer>(attributes.options.a);
      if (value > attributes.options.b) return static_cast<Integer>(attributes.options.b);
      return x;
    }
    default:
      throw TypeError("got an int64 tensor; expected float32 or float64 (use .float())");
  }
}

// ---- runs ----------------------------------------------------------------------------------------

/// Two operands of one loop, whose runs have steps 0 or 1: where one lies otherwise it is copied.
template <class T>
struct PairLoop {
  TensorPtr a;  // null: a number
  TensorPtr b;
  T number;
  StridedLoop<2> loop;

  static StridedLoop<2> loop_of(const TensorPtr& a, const TensorPtr& b, const Dims& shape) {
    Dims none;
    none.rank = shape.rank;
    return {shape,
            {a == nullptr ? none : broadcast_strides(*a, shape),
             b == nullptr ? none : broadcast_strides(*b, shape)}};
  }

  PairLoop(TensorPtr left, TensorPtr right, double value, const Dims& shape)
      : a(std::move(left)),
        b(std::move(right)),
        number(static_cast<T>(value)),
        loop(loop_of(a, b, shape)) {
    const auto lies_well = [](index_t step) { return step == 0 || step == 1; };
    if (lies_well(loop.step[0]) && lies_well(loop.step[1])) return;
    if (a != nullptr) a = contiguous(a);
    if (b != nullptr) b = contiguous(b);
    loop = loop_of(a, b, shape);
  }

  /// run(a, b, number of the first element, how many).
  template <class F>
  void each(F&& run) const {
    const T* left = a == nullptr ? &number : a->template ptr<T>();
    const T* right = b == nullptr ? &number : b->template ptr<T>();
    index_t at = 0;
    loop.each([&](const std::array<index_t, 2>& offset) {
      run(Run<T>{left + offset[0], loop.step[0]}, Run<T>{right + offset[1], loop.step[1]}, at,
          loop.length);
      at += loop.length;
    });
  }
};

Dims pair_shape(const std::vector<TensorPtr>& inputs) {
  if (inputs[0] == nullptr) return inputs[1]->shape;
  if (inputs[1] == nullptr) return inputs[0]->shape;
  return broadcast_shape(inputs[0]->shape, inputs[1]->shape, "operands");
}

}  // namespace

TensorPtr map(const OpAttributes& attributes, const TensorPtr& x) {
  const TensorPtr in = contiguous(x);
  TensorPtr out = make_tensor(x->dtype, x->shape, Uninitialized{});
  const index_t n = in->count();
  if (x->dtype == DType::kInt64) {
    for (index_t i = 0; i < n; ++i) {
      out->ptr<Integer>()[i] = integer_map(attributes, in->ptr<Integer>()[i]);
    }
    return out;
  }
  dispatch_dtype(x->dtype, [&]<class T>() {
    kernels<T>().map[static_cast<int>(attributes.map)](in->ptr<T>(), out->ptr<T>(), n,
                                                       attributes.options);
  });
  return out;
}

void map_backward(const BackwardContext& context, Gradients& d_inputs) {
  const Map op = context.attributes.map;
  const TensorPtr x = derivative_reads_input(op) ? contiguous(context.inputs[0]) : nullptr;
  const TensorPtr& d = context.d_output;
  d_inputs[0] = make_tensor(d->dtype, d->shape, Uninitialized{});
  dispatch_dtype(d->dtype, [&]<class T>() {
    kernels<T>().map_backward[static_cast<int>(op)](
        x == nullptr ? nullptr : x->ptr<T>(),
        context.output == nullptr ? nullptr : context.output->ptr<T>(), d->ptr<T>(),
        d_inputs[0]->ptr<T>(), d->count(), context.attributes.options);
  });
}

TensorPtr pair(const OpAttributes& attributes, const std::vector<TensorPtr>& inputs) {
  const Dims shape = pair_shape(inputs);
  const TensorPtr& some = inputs[0] == nullptr ? inputs[1] : inputs[0];
  TensorPtr out = make_tensor(some->dtype, shape, Uninitialized{});
  if (some->dtype == DType::kInt64) {
    const PairLoop<Integer> loop(inputs[0], inputs[1], attributes.number, shape);
    loop.each([&](Run<Integer> a, Run<Integer> b, index_t first, index_t n) {
      for (index_t i = 0; i < n; ++i) {
        out->ptr<Integer>()[first + i] =
            integer_pair(attributes.pair, a.at[i * a.step], b.at[i * b.step]);
      }
    });
    return out;
  }
  dispatch_dtype(some->dtype, [&]<class T>() {
    const PairLoop<T> loop(inputs[0], inputs[1], attributes.number, shape);
    const auto kernel = kernels<T>().pair[static_cast<int>(attributes.pair)];
    T* y = out->ptr<T>();
    loop.each([&](Run<T> a, Run<T> b, index_t first, index_t n) { kernel(a, b, y + first, n); });
  });
  return out;
}

void pair_backward(const BackwardContext& context, Gradients& d_inputs) {
  const OpAttributes& attributes = context.attributes;
  const TensorPtr& d = context.d_output;
  TensorPtr made[2];
  const bool sums = attributes.pair == Pair::kAdd || attributes.pair == Pair::kSub;
  if (sums) {
    if (context.wants(0)) made[0] = d;
    if (context.wants(1) && attributes.pair == Pair::kAdd) made[1] = d;
    if (context.wants(1) && attributes.pair == Pair::kSub) {
      made[1] = make_tensor(d->dtype, d->shape, Uninitialized{});
      dispatch_dtype(d->dtype, [&]<class T>() {
        kernels<T>().map[static_cast<int>(Map::kNeg)](d->ptr<T>(), made[1]->ptr<T>(), d->count(),
                                                      MapOptions{});
      });
    }
  } else {
    for (std::size_t i = 0; i < 2; ++i) {
      if (context.wants(i)) made[i] = make_tensor(d->dtype, d->shape, Uninitialized{});
    }
    dispatch_dtype(d->dtype, [&]<class T>() {
      const PairLoop<T> loop(context.inputs[0], context.inputs[1], attributes.number, d->shape);
      const auto kernel = kernels<T>().pair_backward[static_cast<int>(attributes.pair)];
      // Without an output to save nothing depends on its values.
      const T* y = context.output == nullptr ? d->ptr<T>() : context.output->ptr<T>();
      loop.each([&](Run<T> a, Run<T> b, index_t first, index_t n) {
        kernel(a, b, y + first, d->ptr<T>() + first,
               made[0] == nullptr ? nullptr : made[0]->ptr<T>() + first,
               made[1] == nullptr ? nullptr : made[1]->ptr<T>() + first, n);
      });
    });
  }
  for (std::size_t i = 0; i < 2; ++i) {
    if (made[i] != nullptr) d_inputs[i] = sum_to_shape(made[i], context.inputs[i]->shape);
  }
}

namespace {

/// Softmax and log-softmax see their last dimension as columns; the others one run.
struct ActivationShape {
  index_t rows = 0;
  index_t cols = 0;

  ActivationShape(Activation kind, const Tensor& x) : rows(1), cols(x.count()) {
    if (kind != Activation::kSoftmax && kind != Activation::kLogSoftmax) return;
    cols = x.shape.rank == 0 ? 1 : x.shape[x.shape.rank - 1];
    rows = cols == 0 ? 0 : x.count() / cols;
  }
};

/// The dimension order that exchanges `dim` with the last; its own inverse.
Dims exchange(const Tensor& x, int dim) {
  Dims order = x.shape;
  for (int i = 0; i < order.rank; ++i) order[i] = i;
  if (order.rank > 0) std::swap(order[dim], order[order.rank - 1]);
  return order;
}

bool along_dimension(Activation kind) {
  return kind == Activation::kSoftmax || kind == Activation::kLogSoftmax;
}

}  // namespace

TensorPtr activation(const OpAttributes& attributes, const TensorPtr& x) {
  const Activation kind = attributes.activation;
  const bool moves = along_dimension(kind) && attributes.dim < x->shape.rank - 1;
  const TensorPtr in = contiguous(moves ? permute(x, exchange(*x, attributes.dim)) : x);
  TensorPtr out = make_tensor(x->dtype, in->shape, Uninitialized{});
  const ActivationShape size(kind, *in);
  dispatch_dtype(x->dtype, [&]<class T>() {
    kernels<T>().activation[static_cast<int>(kind)](in->ptr<T>(), size.cols, out->ptr<T>(),
                                                    size.cols, size.rows, size.cols,
                                                    attributes.activation_options);
  });
  return moves ? contiguous(permute(out, exchange(*out, attributes.dim))) : out;
}

void activation_backward(const BackwardContext& context, Gradients& d_inputs) {
  const Activation kind = context.attributes.activation;
  const Tensor& shaped = *context.d_output;
  const bool moves = along_dimension(kind) && context.attributes.dim < shaped.shape.rank - 1;
  const Dims order = moves ? exchange(shaped, context.attributes.dim) : shaped.shape;
  const auto moved = [&](const TensorPtr& t) {
    return t == nullptr ? nullptr : contiguous(moves ? permute(t, order) : t);
  };
  const TensorPtr x = activation_reads(kind) == Reads::kInput ? moved(context.inputs[0]) : nullptr;
  const TensorPtr y = moved(context.output);
  const TensorPtr given = moves ? permute(context.d_output, order) : context.d_output;
  const TensorPtr d = make_tensor(given->dtype, given->shape, Uninitialized{});
  copy_contiguous(*given, d->data);  // the kernel works in place
  const ActivationShape size(kind, *d);
  dispatch_dtype(d->dtype, [&]<class T>() {
    kernels<T>().activation_backward[static_cast<int>(kind)](
        x == nullptr ? nullptr : x->ptr<T>(), size.cols, y == nullptr ? nullptr : y->ptr<T>(),
        size.cols, d->ptr<T>(), size.cols, size.rows, size.cols,
        context.attributes.activation_options);
  });
  d_inputs[0] = moves ? contiguous(permute(d, order)) : d;
}

}  // namespace ops
}  // namespace schuss

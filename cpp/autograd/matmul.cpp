// SPDX-License-Identifier: MIT
/// Matrix products and dense layers: the orders of a layer (autograd/ops.hpp).
#include <algorithm>
#include <array>
#include <vector>

#include "autograd/ops_impl.hpp"
#include "autograd/products.hpp"
#include "autograd/strided.hpp"

namespace schuss::ops {
namespace {

/// Both operands as stacks of matrices over the same leading dimensions.
struct Stacks {
  Dims batch;
  TensorPtr a;  // (batch..., m, k)
  TensorPtr b;  // (batch..., k, n)
  index_t m, k, n;
  Dims out;  // of the result, without the dimensions that vectors lack

  Stacks(const TensorPtr& left, const TensorPtr& right) {
    const bool row = left->shape.rank == 1;
    const bool column = right->shape.rank == 1;
    if (left->shape.rank == 0 || right->shape.rank == 0) refuse(left, right);
    a = row ? reshape(left, {1, left->shape[0]}) : left;
    b = column ? reshape(right, {right->shape[0], 1}) : right;
    const int ra = a->shape.rank;
    const int rb = b->shape.rank;
    m = a->shape[ra - 2];
    k = a->shape[ra - 1];
    n = b->shape[rb - 1];
    if (b->shape[rb - 2] != k) refuse(left, right);
    batch = broadcast_shape(leading(a->shape), leading(b->shape), "matmul: leading dimensions");
    a = stacked(a);
    b = stacked(b);
    out = batch;
    if (!row) out[out.rank++] = m;
    if (!column) out[out.rank++] = n;
  }

  [[noreturn]] static void refuse(const TensorPtr& left, const TensorPtr& right) {
    throw ValueError("matmul: shapes " + to_string(left->shape) + " and " +
                     to_string(right->shape) +
                     " do not fit; the last size of the first must be the last but one of the "
                     "second (m, k) @ (k, n)");
  }

  static Dims leading(const Dims& shape) {
    Dims all = shape;
    all.rank -= 2;
    return all;
  }

  TensorPtr stacked(const TensorPtr& x) const {
    Dims shape = batch;
    shape[shape.rank++] = x->shape[x->shape.rank - 2];
    shape[shape.rank++] = x->shape[x->shape.rank - 1];
    return shape == x->shape ? x : expand(x, shape);
  }

  template <class T>
  static Matrix<T> matrix(const Tensor& x, index_t offset) {
    return {x.ptr<T>() + offset, x.strides[x.shape.rank - 2], x.strides[x.shape.rank - 1]};
  }

  /// each(offset of a, offset of b, number of the matrix).
  template <class F>
  void for_each(F&& each) const {
    Dims sa = leading(a->strides);
    Dims sb = leading(b->strides);
    const StridedLoop<2> loop(batch, {sa, sb});
    index_t at = 0;
    loop.each([&](const std::array<index_t, 2>& offset) {
      for (index_t i = 0; i < loop.length; ++i) {
        each(offset[0] + i * loop.step[0], offset[1] + i * loop.step[1], at++);
      }
    });
  }
};

double work_of(const Stacks& s) {
  return static_cast<double>(s.batch.count()) * static_cast<double>(s.m) *
         static_cast<double>(s.k) * (static_cast<double>(s.n) + 1.0);
}

/// Into how many pieces a stack falls.
index_t pieces_of(const Stacks& s) {
  return std::max(s.batch.count(), ForwardProduct<float>::pieces(s.m, s.n));
}

/// Products up to this size are not cut where there are many: a thread takes whole ones.
constexpr double kWholeWork = 4e6;
constexpr index_t kManyEach = 4;

/// run(crew, number of a product, offsets, scratch) for each of a stack, by a crew together or each by
/// one thread. `scratch`: elements that a product takes.
template <class T, class F>
void share_stack(const Stacks& s, Crew& crew, index_t scratch, bool whole, F&& run) {
  if (!whole) {
    Scratch<T> memory(scratch);
    s.for_each(
        [&](index_t at_a, index_t at_b, index_t i) { run(crew, at_a, at_b, i, memory.data()); });
    return;
  }
  const index_t count = s.batch.count();
  const index_t each = padded<T>(scratch);
  Scratch<T> memory(each * crew.threads());
  std::vector<std::array<index_t, 2>> offsets(static_cast<std::size_t>(count));
  s.for_each([&](index_t at_a, index_t at_b, index_t i) {
    offsets[static_cast<std::size_t>(i)] = {at_a, at_b};
  });
  constexpr int kPiecesEach = 8;
  const auto pieces = static_cast<int>(std::min<index_t>(count, kPiecesEach * crew.threads()));
  crew.share(pieces, [&](int thread, Part part) {
    Crew alone(1);
    for (index_t i = part.begin(count, 1); i < part.end(count, 1); ++i) {
      const auto& [at_a, at_b] = offsets[static_cast<std::size_t>(i)];
      run(alone, at_a, at_b, i, memory.data() + thread * each);
    }
  });
}

bool takes_whole(const Stacks& s, int threads) {
  const index_t count = s.batch.count();
  return threads > 1 && count >= kManyEach * threads &&
         work_of(s) <= kWholeWork * static_cast<double>(count);
}

}  // namespace

namespace {

/// Rows of all matrices by one right operand are rows of one matrix.
bool is_one_matrix(const TensorPtr& left, const TensorPtr& right) {
  return left->shape.rank > 2 && right->shape.rank > 0 && right->shape.rank <= 2 &&
         left->count() > 0 && left->shape[left->shape.rank - 1] == right->shape[0] &&
         left->is_contiguous();
}

}  // namespace

TensorPtr matmul(const TensorPtr& left, const TensorPtr& right) {
  if (is_one_matrix(left, right)) {
    const index_t k = right->shape[0];
    TensorPtr out = matmul(make_view(*left, {left->count() / k, k}), right);
    Dims shape = left->shape;
    --shape.rank;
    if (right->shape.rank == 2) shape[shape.rank++] = right->shape[1];
    out->shape = shape;
    out->strides = contiguous_strides(shape);
    return out;
  }
  const Stacks s(left, right);
  TensorPtr out = make_tensor(left->dtype, s.out, Uninitialized{});
  const int threads = crew_size(work_of(s), pieces_of(s));
  dispatch_dtype(left->dtype, [&]<class T>() {
    const ForwardProduct<T> product(Stacks::matrix<T>(*s.a, 0), Stacks::matrix<T>(*s.b, 0), s.m,
                                    s.k, s.n, Order::kLayer, threads);
    with_crew(threads, [&](Crew& crew) {
      share_stack<T>(s, crew, product.scratch(), takes_whole(s, threads),
                     [&](Crew& some, index_t at_a, index_t at_b, index_t i, T* scratch) {
                       product.run(some, Stacks::matrix<T>(*s.a, at_a),
                                   Stacks::matrix<T>(*s.b, at_b), nullptr,
                                   out->ptr<T>() + i * s.m * s.n, s.n, scratch);
                     });
    });
  });
  return out;
}

void matmul_backward(const BackwardContext& context, Gradients& d_inputs) {
  const Stacks s(context.inputs[0], context.inputs[1]);
  const TensorPtr& d = context.d_output;
  const TensorPtr d_a =
      context.wants(0) ? make_tensor(d->dtype, s.a->shape, Uninitialized{}) : nullptr;
  const TensorPtr d_b =
      context.wants(1) ? make_tensor(d->dtype, s.b->shape, Uninitialized{}) : nullptr;
  const double wanted = (d_a != nullptr ? 1.0 : 0.0) + (d_b != nullptr ? 1.0 : 0.0);
  const int threads = crew_size(wanted * work_of(s), pieces_of(s));
  dispatch_dtype(d->dtype, [&]<class T>() {
    const auto right = [&](index_t at) { return Stacks::matrix<T>(*s.b, at).transposed(); };
    const ForwardProduct<T> product({d->ptr<T>(), s.n, 1}, right(0), s.m, s.n, s.k, Order::kChains,
                                    threads);
    const ParameterGradient<T> gradient(Stacks::matrix<T>(*s.a, 0), s.m, s.k, s.n, false, s.n);
    const index_t scratch =
        std::max(d_a == nullptr ? 0 : product.scratch(), d_b == nullptr ? 0 : gradient.scratch());
    const bool whole = takes_whole(s, threads) && !gradient.allocates();
    with_crew(threads, [&](Crew& crew) {
      share_stack<T>(s, crew, scratch, whole,
                     [&](Crew& some, index_t at_a, index_t at_b, index_t i, T* memory) {
                       const T* d_c = d->ptr<T>() + i * s.m * s.n;
                       if (d_a != nullptr) {
                         product.run(some, {d_c, s.n, 1}, right(at_b), nullptr,
                                     d_a->ptr<T>() + i * s.m * s.k, s.k, memory);
                       }
                       if (d_b != nullptr) {
                         gradient.run(some, Stacks::matrix<T>(*s.a, at_a), d_c,
                                      d_b->ptr<T>() + i * s.k * s.n, nullptr, memory);
                       }
                     });
    });
  });
  // Vectors were seen as matrices with a dimension of 1, and stacks may have been broadcast.
  const auto back = [](const TensorPtr& grad, const TensorPtr& like, int missing_at) {
    Dims shape = like->shape;
    if (shape.rank == 1) shape = missing_at == 0 ? Dims{1, shape[0]} : Dims{shape[0], 1};
    return make_view(*sum_to_shape(grad, shape), like->shape);
  };
  if (d_a != nullptr) d_inputs[0] = back(d_a, context.inputs[0], 0);
  if (d_b != nullptr) d_inputs[1] = back(d_b, context.inputs[1], 1);
}

// ---- dense layers --------------------------------------------------------------------------------

namespace {

/// The operands of a dense layer; x as rows, whatever its rank.
struct Dense {
  TensorPtr x;              // (..., k)
  const TensorPtr& weight;  // (n, k)
  index_t m = 1;
  index_t k;
  index_t n;

  Dense(const TensorPtr& input, const TensorPtr& weights, const TensorPtr& bias)
      : x(input), weight(weights) {
    const int rank = x->shape.rank;
    if (weight->shape.rank != 2) {
      throw ValueError("linear: weight has shape " + to_string(weight->shape) +
                       "; expected (out_features, in_features)");
    }
    n = weight->shape[0];
    k = weight->shape[1];
    if (rank == 0 || x->shape[rank - 1] != k) {
      throw ValueError("linear: input has shape " + to_string(x->shape) + "; expected (..., " +
                       std::to_string(k) + "), as weight has shape " + to_string(weight->shape));
    }
    if (bias != nullptr && !(bias->shape == Dims{n})) {
      throw ValueError("linear: bias has shape " + to_string(bias->shape) + "; expected " +
                       to_string(Dims{n}) + ", as weight has shape " + to_string(weight->shape));
    }
    for (int i = 0; i + 1 < rank; ++i) m *= x->shape[i];
    if (rank > 2) x = contiguous(x);
  }

  template <class T>
  Matrix<T> rows() const {
    const int rank = x->shape.rank;
    return {x->ptr<T>(), rank == 2 ? x->strides[0] : k, rank > 2 ? 1 : x->strides[rank - 1]};
  }
  template <class T>
  Matrix<T> weights() const {
    return {weight->ptr<T>(), weight->strides[0], weight->strides[1]};
  }
  double work() const {
    return static_cast<double>(m) * static_cast<double>(k) * (static_cast<double>(n) + 1.0);
  }
};

/// A gradient to be written: in the layout of a leaf that has one of its own.
TensorPtr gradient_of(const Tensor& input) {
  if (input.is_leaf() && !input.grad_is_plain()) return input.make_grad();
  return make_tensor(input.dtype, input.shape, Uninitialized{});
}

}  // namespace

TensorPtr linear(const TensorPtr& x, const TensorPtr& weight, const TensorPtr& bias) {
  const Dense s(x, weight, bias);
  Dims shape = x->shape;
  shape[shape.rank - 1] = s.n;
  TensorPtr out = make_tensor(x->dtype, shape, Uninitialized{});
  const TensorPtr start = bias == nullptr ? nullptr : contiguous(bias);
  dispatch_dtype(x->dtype, [&]<class T>() {
    const Matrix<T> right = s.weights<T>().transposed();
    const int threads = crew_size(s.work(), ForwardProduct<T>::pieces(s.m, s.n));
    const ForwardProduct<T> product(s.rows<T>(), right, s.m, s.k, s.n, Order::kLayer, threads);
    Scratch<T> scratch(product.scratch());
    with_crew(threads, [&](Crew& crew) {
      product.run(crew, s.rows<T>(), right, start == nullptr ? nullptr : start->ptr<T>(),
                  out->ptr<T>(), s.n, scratch.data());
    });
  });
  return out;
}

void linear_backward(const BackwardContext& context, Gradients& d_inputs) {
  const Dense s(context.inputs[0], context.inputs[1], context.inputs[2]);
  const TensorPtr& d = context.d_output;
  // The product writes rows of neighbours; only parameters' gradients are made in any layout.
  if (context.wants(0)) d_inputs[0] = make_tensor(d->dtype, s.x->shape, Uninitialized{});
  for (std::size_t i = 1; i < 3; ++i) {
    if (context.wants(i)) d_inputs[i] = gradient_of(*context.inputs[i]);
  }
  const TensorPtr& d_x = d_inputs[0];
  const TensorPtr& d_w = d_inputs[1];
  const TensorPtr& d_b = d_inputs[2];
  const double wanted = (d_x != nullptr ? 1.0 : 0.0) + (d_w != nullptr ? 1.0 : 0.0);
  dispatch_dtype(d->dtype, [&]<class T>() {
    const Matrix<T> d_rows{d->ptr<T>(), s.n, 1};
    const int threads = crew_size(wanted * s.work(), ForwardProduct<T>::pieces(s.m, s.k));
    const ForwardProduct<T> product(d_rows, s.weights<T>(), s.m, s.n, s.k, Order::kChains, threads);
    const bool by_outputs = d_w == nullptr || d_w->strides[1] == 1;
    const ParameterGradient<T> gradient(s.rows<T>(), s.m, s.k, s.n, by_outputs,
                                        d_w == nullptr ? s.k : d_w->strides[by_outputs ? 0 : 1]);
    Scratch<T> scratch(std::max(d_x == nullptr ? 0 : product.scratch(), gradient.scratch()));
    with_crew(threads, [&](Crew& crew) {
      if (d_x != nullptr) {
        product.run(crew, d_rows, s.weights<T>(), nullptr, d_x->ptr<T>(), s.k, scratch.data());
      }
      if (d_w != nullptr || d_b != nullptr) {
        gradient.run(crew, s.rows<T>(), d->ptr<T>(), d_w == nullptr ? nullptr : d_w->ptr<T>(),
                     d_b == nullptr ? nullptr : d_b->ptr<T>(), scratch.data());
      }
    });
  });
}

}  // namespace schuss::ops

// SPDX-License-Identifier: MIT
/// Matrix products: the orders of a dense layer without bias (autograd/ops.hpp).
#include <algorithm>
#include <array>

#include "autograd/ops_impl.hpp"
#include "autograd/strided.hpp"
#include "autograd/sum_trees.hpp"
#include "kernels/dispatch.hpp"

namespace schuss::ops {
namespace {

/// Element (i, j) at data[i*row + j*col].
template <class T>
struct Matrix {
  const T* data = nullptr;
  index_t row = 0;
  index_t col = 0;

  Matrix transposed() const { return {data, col, row}; }
};

/// The matrix with rows of neighbours: itself, or a copy in `held`. A row starts `ld` after the last.
template <class T>
Matrix<T> with_dense_rows(Matrix<T> x, index_t rows, index_t cols, AlignedBuffer<T>* held) {
  if (x.col == 1 || (cols <= 1 && rows <= 1)) return {x.data, x.row, 1};
  *held = AlignedBuffer<T>(rows * cols, Uninitialized{});
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < cols; ++j) (*held)[i * cols + j] = x.data[i * x.row + j * x.col];
  }
  return {held->data(), cols, 1};
}

/// c (m, n) = a (m, k) b (k, n), one chain over k for each element; c is contiguous.
template <class T>
void chains(Matrix<T> a, Matrix<T> b, T* c, index_t m, index_t k, index_t n) {
  AlignedBuffer<T> held;
  const Matrix<T> rows = with_dense_rows(b, k, n, &held);
  Product<T> p;
  p.a = a.data;
  p.a_row = a.row;
  p.a_depth = a.col;
  p.b = rows.data;
  p.ldb = rows.row;
  p.c = c;
  p.ldc = n;
  p.m = m;
  p.n = n;
  p.k = k;
  kernels<T>().product(p);
}

template <class T>
void forward(Matrix<T> a, Matrix<T> b, T* c, index_t m, index_t k, index_t n) {
  if (!is_narrow(n)) return chains(a, b, c, m, k, n);
  AlignedBuffer<T> held;
  const Matrix<T> x = with_dense_rows(a, m, k, &held);
  const index_t ld = std::max(padded<T>(k), kAlignElements<T>);
  AlignedBuffer<T> weight(n * ld);
  for (index_t o = 0; o < n; ++o) {
    for (index_t i = 0; i < k; ++i) weight[o * ld + i] = b.data[i * b.row + o * b.col];
  }
  NarrowForward<T> p;
  p.x = x.data;
  p.ldx = x.row;
  p.weight = weight.data();
  p.ldw = ld;
  p.y = c;
  p.ldy = n;
  p.rows = m;
  p.n_in = k;
  p.n_out = n;
  kernels<T>().narrow_forward(p);
}

/// to (k, n) = a^T d over the rows of a (m, k) and d (m, n, contiguous), by chunks.
template <class T>
void gradient_of_right(Matrix<T> a, const T* d, T* to, index_t m, index_t k, index_t n) {
  const Kernels<T>& table = kernels<T>();
  AlignedBuffer<T> held;
  const Matrix<T> x = with_dense_rows(a, m, k, &held);
  const bool narrow = is_narrow(n);
  const bool lanes = is_small(k, n);
  const index_t chunks = std::max<index_t>((m + kChunkRows - 1) / kChunkRows, 1);
  GradientTree<T> tree(k * n, chunks);
  for (index_t c = 0; c < chunks; ++c) {
    const index_t first = c * kChunkRows;
    const index_t count = std::min(kChunkRows, m - first);
    const Finish finish = GradientTree<T>::finish(c);
    if (lanes) {
      SmallGradient<T> p;
      p.x = x.data + first * x.row;
      p.ldx = x.row;
      p.d_y = d + first * n;
      p.ldd = n;
      p.rows = count;
      p.n_in = k;
      p.n_out = n;
      p.d_weight = tree.target(c);
      p.ldw = k;
      p.add = finish == Finish::kAdd;
      table.small_gradient(p);
    } else {
      Product<T> p;  // narrow: (n, k), else (k, n): vectorised along the longer side
      p.a = narrow ? d + first * n : x.data + first * x.row;
      p.a_row = 1;
      p.a_depth = narrow ? n : x.row;
      p.b = narrow ? x.data + first * x.row : d + first * n;
      p.ldb = narrow ? x.row : n;
      p.c = tree.target(c);
      p.ldc = narrow ? k : n;
      p.m = narrow ? n : k;
      p.n = narrow ? k : n;
      p.k = count;
      p.finish = finish;
      table.product(p);
    }
    tree.close(c, c == chunks - 1);
  }
  const T* sums = tree.result();
  if (!narrow) {
    std::copy_n(sums, k * n, to);
    return;
  }
  for (index_t i = 0; i < k; ++i) {
    for (index_t o = 0; o < n; ++o) to[i * n + o] = sums[o * k + i];
  }
}

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

}  // namespace

TensorPtr matmul(const TensorPtr& left, const TensorPtr& right) {
  const Stacks s(left, right);
  TensorPtr out = make_tensor(left->dtype, s.out, Uninitialized{});
  dispatch_dtype(left->dtype, [&]<class T>() {
    s.for_each([&](index_t at_a, index_t at_b, index_t i) {
      forward(Stacks::matrix<T>(*s.a, at_a), Stacks::matrix<T>(*s.b, at_b),
              out->ptr<T>() + i * s.m * s.n, s.m, s.k, s.n);
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
  dispatch_dtype(d->dtype, [&]<class T>() {
    s.for_each([&](index_t at_a, index_t at_b, index_t i) {
      const T* d_c = d->ptr<T>() + i * s.m * s.n;
      if (d_a != nullptr) {
        chains(Matrix<T>{d_c, s.n, 1}, Stacks::matrix<T>(*s.b, at_b).transposed(),
               d_a->ptr<T>() + i * s.m * s.k, s.m, s.n, s.k);
      }
      if (d_b != nullptr) {
        gradient_of_right(Stacks::matrix<T>(*s.a, at_a), d_c, d_b->ptr<T>() + i * s.k * s.n, s.m,
                          s.k, s.n);
      }
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

}  // namespace schuss::ops

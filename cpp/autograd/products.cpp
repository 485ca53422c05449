// SPDX-License-Identifier: MIT
#include "autograd/products.hpp"

#include <algorithm>
#include <limits>
#include <new>
#include <optional>
#include <utility>

#include "autograd/strided.hpp"
#include "autograd/sum_trees.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/packing.hpp"

namespace schuss::ops {
namespace {

/// Fewer rows than this do not pay for sharing them.
constexpr index_t kFewRows = 4 * kPackRows;
/// Rows of a result that one thread takes whole, in tiles of registers.
constexpr index_t kRowGrain = 12;
constexpr index_t kGradientGrain = 24;
/// Batches up to this size make gradients some rows at a time.
constexpr index_t kShallowRows = 8;
/// Packed at a time where rows are few, so that it is read while still near.
constexpr index_t kNearBytes = 128 * 1024;
/// Packed at a time where rows are many.
constexpr index_t kPackedBytes = 4 * 1024 * 1024;
constexpr index_t kLeastColumns = 256;
constexpr int kPiecesEach = 8;
/// Each reads all of b anew, where it is far.
constexpr int kFarPiecesEach = 4;
/// Kept by a thread from product to product.
constexpr index_t kKeptBytes = kPackedBytes + kPackedBytes / 4;

thread_local AlignedBuffer<std::byte> kept;

template <class T>
constexpr auto kItem = static_cast<index_t>(sizeof(T));

/// a * b elements; std::bad_alloc where so many have no number of bytes.
template <class T>
index_t elements_of(index_t a, index_t b) {
  constexpr index_t kMost = std::numeric_limits<index_t>::max() / kItem<T> / 4;
  if (b > 0 && a > kMost / b) throw std::bad_alloc();
  return a * b;
}

index_t grains(index_t n, index_t grain) { return (n + grain - 1) / grain; }

int pieces_of(const Crew& crew, index_t n, index_t grain, int each) {
  return static_cast<int>(std::clamp<index_t>(grains(n, grain), 1, each * crew.threads()));
}

/// Whether `product` can read it as its left operand; then `as_left` is how.
template <class T>
bool is_left(const Matrix<T>& a, index_t m, index_t k) {
  return m <= 1 || k <= 1 || (a.col == 1 && a.row >= k) || (a.row == 1 && a.col >= m);
}

template <class T>
Matrix<T> as_left(const Matrix<T>& a, index_t m, index_t k) {
  if (a.col == 1 || k <= 1) return {a.data, a.row, 1};
  return {a.data, m <= 1 ? 1 : a.row, a.col};
}

/// Whether rows lie as kernels want them: neighbours, and apart from each other.
template <class T>
bool has_dense_rows(const Matrix<T>& x, index_t rows, index_t cols) {
  return (x.col == 1 || cols <= 1) && (x.row >= cols || rows <= 1);
}

template <class T>
void copy_rows(const Matrix<T>& from, index_t begin, index_t end, index_t cols, T* to) {
  copy_matrix(from.data + begin * from.row, from.row, from.col, end - begin, cols,
              to + begin * cols, cols);
}

}  // namespace

template <class T>
Scratch<T>::Scratch(index_t elements) {
  const index_t bytes = elements * kItem<T>;
  if (bytes <= kept.size()) {
    memory_ = std::move(kept);
    kept = {};
  } else {
    memory_ = AlignedBuffer<std::byte>(bytes, Uninitialized{});
  }
}

template <class T>
Scratch<T>::~Scratch() {
  if (memory_.size() <= kKeptBytes && memory_.size() > kept.size()) kept = std::move(memory_);
}

template <class T>
ForwardProduct<T>::ForwardProduct(Matrix<T> a, Matrix<T> b, index_t m, index_t k, index_t n,
                                  Order order, int threads)
    : m_(m),
      k_(k),
      n_(n),
      threads_(threads),
      panel_(kernels<T>().packed_size(1, 1)),
      narrow_(order == Order::kLayer && is_narrow(n)),
      by_columns_(m < kFewRows),
      packs_(!has_dense_rows(b, k, n) ||
             (k > kPackBytes / kItem<T> / std::max<index_t>(n, 1) && m >= kPackRows)),
      block_(n),
      copies_left_(narrow_ ? !has_dense_rows(a, m, k) : !is_left(a, m, k)) {
  const index_t bytes = by_columns_ ? kNearBytes : kPackedBytes;
  const index_t least = by_columns_ ? panel_ : kLeastColumns;
  const index_t fitting = std::max(bytes / kItem<T> / std::max<index_t>(k, 1), least);
  if (packs_) block_ = std::min(grains(n, panel_), grains(fitting, panel_)) * panel_;
}

template <class T>
index_t ForwardProduct<T>::pieces(index_t m, index_t n) {
  return m < kFewRows ? std::max(grains(m, kRowGrain), grains(n, kernels<T>().packed_size(1, 1)))
                      : grains(m, kRowGrain);
}

template <class T>
index_t ForwardProduct<T>::scratch() const {
  const index_t left = copies_left_ ? padded<T>(elements_of<T>(m_, k_)) : 0;
  if (narrow_) return left + elements_of<T>(n_, padded<T>(elements_of<T>(k_, 1)));
  if (!packs_) return left;
  return left + elements_of<T>(block_ * (by_columns_ ? threads_ : 1), k_);
}

template <class T>
void ForwardProduct<T>::run(Crew& crew, Matrix<T> a, Matrix<T> b, const T* bias, T* c, index_t ldc,
                            T* scratch) const {
  if (m_ == 0 || n_ == 0) return;
  if (narrow_) return run_narrow(crew, a, b, bias, c, ldc, scratch);
  if (copies_left_) {
    crew.share(pieces_of(crew, m_, kRowGrain, kPiecesEach), [&](int, Part part) {
      copy_rows(a, part.begin(m_, kRowGrain), part.end(m_, kRowGrain), k_, scratch);
    });
    a = {scratch, k_, 1};
    scratch += padded<T>(m_ * k_);
  } else {
    a = as_left(a, m_, k_);
  }
  by_columns_ ? run_columns(crew, a, b, bias, c, ldc, scratch)
              : run_rows(crew, a, b, bias, c, ldc, scratch);
}

template <class T>
void ForwardProduct<T>::run_narrow(Crew& crew, Matrix<T> a, Matrix<T> b, const T* bias, T* c,
                                   index_t ldc, T* scratch) const {
  const index_t ldw = padded<T>(k_);
  T* const weight = scratch + (copies_left_ ? padded<T>(m_ * k_) : 0);
  copy_matrix(b.data, b.col, b.row, n_, k_, weight, ldw);
  for (index_t o = 0; o < n_; ++o) std::fill(weight + o * ldw + k_, weight + (o + 1) * ldw, T(0));
  crew.share(pieces_of(crew, m_, kRowGrain, kPiecesEach), [&](int, Part part) {
    const index_t begin = part.begin(m_, kRowGrain);
    const index_t end = part.end(m_, kRowGrain);
    if (copies_left_) copy_rows(a, begin, end, k_, scratch);
    NarrowForward<T> p;
    p.x = copies_left_ ? scratch + begin * k_ : a.data + begin * a.row;
    p.ldx = copies_left_ ? k_ : std::max(a.row, k_);
    p.weight = weight;
    p.ldw = ldw;
    p.bias = bias;
    p.y = c + begin * ldc;
    p.ldy = ldc;
    p.rows = end - begin;
    p.n_in = k_;
    p.n_out = n_;
    kernels<T>().narrow_forward(p);
  });
}

/// Some of c. `b`: its columns, packed or as they lie.
template <class T>
void ForwardProduct<T>::run_block(Matrix<T> a, const T* b, index_t ldb, const T* bias, T* c,
                                  index_t ldc, const Block& block) const {
  Product<T> p;
  p.a = a.data + block.row * a.row;
  p.a_row = a.row;
  p.a_depth = a.col;
  p.packed = packs_;
  p.b = b;
  p.ldb = ldb;
  p.start = bias == nullptr ? Start::kZero : Start::kBias;
  p.bias = bias == nullptr ? nullptr : bias + block.column;
  p.c = c + block.row * ldc + block.column;
  p.ldc = ldc;
  p.m = block.rows;
  p.n = block.columns;
  p.k = k_;
  kernels<T>().product(p);
}

template <class T>
void ForwardProduct<T>::run_columns(Crew& crew, Matrix<T> a, Matrix<T> b, const T* bias, T* c,
                                    index_t ldc, T* scratch) const {
  crew.share(pieces_of(crew, n_, panel_, kPiecesEach), [&](int thread, Part part) {
    const index_t end = part.end(n_, panel_);
    const index_t step = packs_ ? block_ : n_;
    T* const packed = scratch + thread * block_ * k_;
    for (index_t j = part.begin(n_, panel_); j < end; j += step) {
      const index_t columns = std::min(step, end - j);
      const Matrix<T> right = b.from(0, j);
      if (packs_) kernels<T>().pack(right.data, right.row, right.col, k_, columns, packed);
      run_block(a, packs_ ? packed : right.data, right.row, bias, c, ldc, {0, m_, j, columns});
    }
  });
}

template <class T>
void ForwardProduct<T>::run_rows(Crew& crew, Matrix<T> a, Matrix<T> b, const T* bias, T* c,
                                 index_t ldc, T* scratch) const {
  for (index_t j = 0; j < n_; j += block_) {
    const index_t columns = std::min(block_, n_ - j);
    const Matrix<T> right = b.from(0, j);
    if (packs_) {
      crew.share(pieces_of(crew, columns, panel_, kPiecesEach), [&](int, Part part) {
        const index_t begin = part.begin(columns, panel_);
        const index_t end = part.end(columns, panel_);
        kernels<T>().pack(right.from(0, begin).data, right.row, right.col, k_, end - begin,
                          scratch + begin * k_);
      });
    }
    const int each = columns * k_ * kItem<T> > kFarBytes ? kFarPiecesEach : kPiecesEach;
    crew.share(pieces_of(crew, m_, kRowGrain, each), [&](int, Part part) {
      const index_t begin = part.begin(m_, kRowGrain);
      run_block(a, packs_ ? scratch : right.data, right.row, bias, c, ldc,
                {begin, part.end(m_, kRowGrain) - begin, j, columns});
    });
  }
}

// ---- gradients of parameters ---------------------------------------------------------------------

template <class T>
ParameterGradient<T>::ParameterGradient(Matrix<T> a, index_t m, index_t k, index_t n,
                                        bool by_outputs, index_t ld)
    : m_(m),
      k_(k),
      n_(n),
      by_outputs_(by_outputs || is_narrow(n)),
      turned_after_(by_outputs_ && !by_outputs),
      ld_(turned_after_ ? k : ld),
      ld_wanted_(ld),
      copies_left_(by_outputs_ ? !has_dense_rows(a, m, k)
                               : !is_left(a.transposed(), k, std::min(m, kChunkRows))) {}

template <class T>
index_t ParameterGradient<T>::scratch() const {
  return (copies_left_ ? padded<T>(elements_of<T>(m_, k_)) : 0) +
         (turned_after_ ? elements_of<T>(n_, k_) : 0);
}

template <class T>
bool ParameterGradient<T>::allocates() const {
  return m_ > kChunkRows * kTreeFanout;
}

/// Columns of d, or inputs, fall into parts; the last one sums the bias's gradient.
template <class T>
void ParameterGradient<T>::run_chunk(Matrix<T> a, const T* d, index_t count, const Targets& to,
                                     Part part) const {
  const Kernels<T>& table = kernels<T>();
  const bool narrow = is_narrow(n_);
  const bool lanes = is_small(k_, n_) && to.weight != nullptr;
  const bool last = part.is_last();
  if (last && narrow && (lanes || to.bias != nullptr)) {
    SmallGradient<T> p;
    p.x = a.data;
    p.ldx = a.row;
    p.d_y = d;
    p.ldd = n_;
    p.rows = count;
    p.n_in = lanes ? k_ : 0;
    p.n_out = n_;
    p.d_weight = to.weight;
    p.ldw = ld_;
    p.d_bias = to.bias;
    p.add = to.finish == Finish::kAdd;
    table.small_gradient(p);
  } else if (last && to.bias != nullptr) {
    table.column_sums(d, n_, count, n_, to.bias, Start::kZero, to.finish);
  }
  if (to.weight == nullptr || lanes) return;
  const index_t rows = by_outputs_ ? n_ : k_;
  const index_t begin = part.begin(rows, kGradientGrain);
  const Matrix<T> left = by_outputs_ ? Matrix<T>{d, 1, n_} : as_left(a.transposed(), k_, count);
  Product<T> p;  // (n, k): d^T a; (k, n): a^T d
  p.a_row = left.row;
  p.a_depth = left.col;
  p.b = by_outputs_ ? a.data : d;
  p.ldb = by_outputs_ ? a.row : n_;
  p.ldc = ld_;
  p.n = by_outputs_ ? k_ : n_;
  p.k = count;
  p.finish = to.finish;
  // Products of little depth go down all rows a register of columns at a time: some rows, then.
  const index_t end = part.end(rows, kGradientGrain);
  const index_t step = count > kShallowRows ? rows : kGradientGrain;
  for (index_t i = begin; i < end; i += step) {
    p.a = left.data + i * left.row;
    p.c = to.weight + i * ld_;
    p.m = std::min(step, end - i);
    table.product(p);
  }
}

template <class T>
void ParameterGradient<T>::run(Crew& crew, Matrix<T> a, const T* d, T* d_weight, T* d_bias,
                               T* scratch) const {
  const index_t rows = by_outputs_ ? n_ : k_;
  const index_t chunks = std::max<index_t>(grains(m_, kChunkRows), 1);
  if (copies_left_ && d_weight != nullptr) {
    crew.share(pieces_of(crew, m_, kRowGrain, kPiecesEach), [&](int, Part part) {
      copy_rows(a, part.begin(m_, kRowGrain), part.end(m_, kRowGrain), k_, scratch);
    });
    a = {scratch, k_, 1};
  }
  if (m_ <= 1) a.row = std::max(a.row, k_);
  T* const made = turned_after_ ? scratch + (copies_left_ ? padded<T>(m_ * k_) : 0) : d_weight;
  std::optional<GradientTree<T>> weight_tree;
  std::optional<GradientTree<T>> bias_tree;
  if (allocates()) {  // else the sums of chunks are added where they are wanted
    if (d_weight != nullptr) weight_tree.emplace(rows * ld_, chunks);
    if (d_bias != nullptr) bias_tree.emplace(n_, chunks);
  }
  for (index_t c = 0; c < chunks; ++c) {
    const index_t first = c * kChunkRows;
    const Targets to{weight_tree ? weight_tree->target(c) : (d_weight != nullptr ? made : nullptr),
                     bias_tree ? bias_tree->target(c) : d_bias, GradientTree<T>::finish(c)};
    crew.share(pieces_of(crew, rows, kGradientGrain, kPiecesEach), [&](int, Part part) {
      run_chunk(a.from(first, 0), d + first * n_, std::min(kChunkRows, m_ - first), to, part);
    });
    if (weight_tree) weight_tree->close(c, c == chunks - 1);
    if (bias_tree) bias_tree->close(c, c == chunks - 1);
  }
  if (weight_tree) std::copy_n(weight_tree->result(), rows * ld_, made);
  if (bias_tree) std::copy_n(bias_tree->result(), n_, d_bias);
  if (turned_after_ && d_weight != nullptr) {
    copy_matrix(made, 1, ld_, k_, n_, d_weight, ld_wanted_);
  }
}

template class Scratch<float>;
template class Scratch<double>;
template class ForwardProduct<float>;
template class ForwardProduct<double>;
template class ParameterGradient<float>;
template class ParameterGradient<double>;

}  // namespace schuss::ops

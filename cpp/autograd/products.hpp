// SPDX-License-Identifier: MIT
/// Matrix products of tensors, in the orders of a dense layer: what is copied first, and how threads
/// share it. Neither changes a bit: an element of a result is one chain, made by one thread.
#pragma once

#include "base/aligned_buffer.hpp"
#include "kernels/kernels.hpp"
#include "parallel/crew.hpp"

namespace schuss::ops {

/// Element (i, j) at data[i*row + j*col].
template <class T>
struct Matrix {
  const T* data = nullptr;
  index_t row = 0;
  index_t col = 0;

  Matrix transposed() const { return {data, col, row}; }
  Matrix from(index_t i, index_t j) const { return {data + i * row + j * col, row, col}; }
};

/// Memory that is written before it is read. The thread keeps the last up to some megabytes: to find
/// new pages takes longer than to copy into them.
template <class T>
class Scratch {
 public:
  explicit Scratch(index_t elements);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() { return reinterpret_cast<T*>(memory_.data()); }

 private:
  AlignedBuffer<std::byte> memory_;
};

enum class Order : std::uint8_t {
  kLayer,   // a layer's: lanes and their tree where the result is narrow, else chains
  kChains,  // chains, whatever the width: gradients with respect to a layer's input
};

/// c (m, n, rows ldc apart) = a (m, k) b (k, n), chains from +0 or from bias [n]. For any number of
/// products of matrices that lie alike, one at a time; m, k, n >= 0. c overlaps neither a nor b.
template <class T>
class ForwardProduct {
 public:
  /// For a crew of up to `threads`.
  ForwardProduct(Matrix<T> a, Matrix<T> b, index_t m, index_t k, index_t n, Order order,
                 int threads);

  /// Elements of scratch that `run` writes.
  index_t scratch() const;
  void run(Crew& crew, Matrix<T> a, Matrix<T> b, const T* bias, T* c, index_t ldc,
           T* scratch) const;

  /// Into how many pieces a product falls.
  static index_t pieces(index_t m, index_t n);

 private:
  struct Block {
    index_t row;
    index_t rows;
    index_t column;
    index_t columns;
  };
  void run_block(Matrix<T> a, const T* b, index_t ldb, const T* bias, T* c, index_t ldc,
                 const Block& block) const;
  void run_narrow(Crew& crew, Matrix<T> a, Matrix<T> b, const T* bias, T* c, index_t ldc,
                  T* scratch) const;
  void run_columns(Crew& crew, Matrix<T> a, Matrix<T> b, const T* bias, T* c, index_t ldc,
                   T* scratch) const;
  void run_rows(Crew& crew, Matrix<T> a, Matrix<T> b, const T* bias, T* c, index_t ldc,
                T* scratch) const;

  index_t m_;
  index_t k_;
  index_t n_;
  int threads_;
  index_t panel_;
  bool narrow_;
  bool by_columns_;  // threads share columns, each packs its own
  bool packs_;       // b is packed, `block_` columns at a time
  index_t block_;
  bool copies_left_;  // a has no stride of 1
};

/// Gradients of a layer's parameters: of the weight a^T d, of the bias the column sums of d, by chunks
/// of kChunkRows rows of a (m, k) and d (m, n, contiguous), through the tree.
template <class T>
class ParameterGradient {
 public:
  /// `by_outputs`: the weight's gradient is (n, k), else (k, n); its rows are ld apart.
  ParameterGradient(Matrix<T> a, index_t m, index_t k, index_t n, bool by_outputs, index_t ld);

  index_t scratch() const;
  /// d_weight or d_bias may be null. Elements between the rows of d_weight become +0 or stay.
  void run(Crew& crew, Matrix<T> a, const T* d, T* d_weight, T* d_bias, T* scratch) const;
  /// Whether `run` may take memory: trees of more than one level.
  bool allocates() const;

 private:
  struct Targets {
    T* weight;
    T* bias;
    Finish finish;
  };
  void run_chunk(Matrix<T> a, const T* d, index_t count, const Targets& to, Part part) const;

  index_t m_;
  index_t k_;
  index_t n_;
  bool by_outputs_;    // as it is computed
  bool turned_after_;  // computed (n, k), wanted (k, n)
  index_t ld_;         // of what is computed
  index_t ld_wanted_;
  bool copies_left_;
};

}  // namespace schuss::ops

// SPDX-License-Identifier: MIT
/// The three products of a dense layer as training makes them: shared among threads by rows, weights
/// packed by panels, weight gradients chunk by chunk.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>

#include "base/aligned_buffer.hpp"
#include "blas_peer.hpp"
#include "kernels/dispatch.hpp"
#include "parallel/part.hpp"
#include "parallel/team.hpp"

namespace schuss {

enum class Form : std::uint8_t { kForward, kWeight, kInput };
inline constexpr Form kForms[] = {Form::kForward, Form::kWeight, Form::kInput};
inline constexpr const char* kFormNames[] = {"forward", "weight", "input"};

struct Shape {
  index_t batch = 0;
  index_t n_in = 0;
  index_t n_out = 0;

  double flops() const { return 2.0 * static_cast<double>(batch * n_in * n_out); }
};

/// A layer's arrays, filled with small integers: every sum is exact in any order, so results of
/// different libraries are equal or wrong.
template <class T>
class Layer {
 public:
  /// dense: rows lie side by side, as a user's do; else in whole cache lines as the library lays
  /// them out, never a multiple of 512 bytes apart but for the weight.
  Layer(Shape shape, bool dense)
      : shape_(shape),
        ldx_(dense ? shape.n_in : spread(shape.n_in)),
        ldw_(dense ? shape.n_out : padded<T>(shape.n_out)),
        ldd_(dense ? shape.n_out : spread(shape.n_out)),
        x_(shape.batch * ldx_),
        w_(shape.n_in * ldw_),
        d_(shape.batch * ldd_),
        d_x_(shape.batch * ldx_),
        d_w_(shape.n_in * ldw_),
        y_(shape.batch * ldd_),
        packed_forward_(kernels<T>().packed_size(shape.n_in, shape.n_out)),
        packed_backward_(kernels<T>().packed_size(shape.n_out, shape.n_in)) {
    if (is_narrow(shape.n_out) || shape.batch > kChunkRows * kTreeFanout) {
      throw std::invalid_argument("a shape needs more than 4 outputs and at most 16384 rows");
    }
    fill(x_);
    fill(w_);
    fill(d_);
  }

  /// One product, by one thread of a region; ends when all threads' parts are done.
  void run(Form form, bool with_pack, const Region& region) {
    const Part part{region.thread, region.threads};
    if (with_pack && form != Form::kWeight) {
      pack(form, part);
      region.meet();
    }
    if (form == Form::kWeight) {
      weight_gradient(part);
    } else {
      by_rows(form, part);
    }
    region.meet();
  }

  void run(Form form, const BlasPeer& peer) {
    const Shape s = shape_;
    switch (form) {
      case Form::kForward:
        return peer.multiply(false, false, s.batch, s.n_out, s.n_in, x_.data(), ldx_, w_.data(),
                             ldw_, y_.data(), ldd_);
      case Form::kWeight:
        return peer.multiply(true, false, s.n_in, s.n_out, s.batch, x_.data(), ldx_, d_.data(),
                             ldd_, d_w_.data(), ldw_);
      case Form::kInput:
        return peer.multiply(false, true, s.batch, s.n_in, s.n_out, d_.data(), ldd_, w_.data(),
                             ldw_, d_x_.data(), ldx_);
    }
  }

  const AlignedBuffer<T>& result(Form form) const {
    return form == Form::kForward ? y_ : (form == Form::kWeight ? d_w_ : d_x_);
  }

 private:
  // The library's grains: rows of a batch, and of a weight, that one thread takes whole.
  static constexpr index_t kBatchGrain = 12;
  static constexpr index_t kWeightGrain = 24;

  static index_t spread(index_t width) {
    const index_t ld = padded<T>(width);
    return ld * static_cast<index_t>(sizeof(T)) % 512 == 0 ? ld + kAlignElements<T> : ld;
  }

  /// -4..4 from a multiplicative generator: sums of up to 16384 products stay below 2^24.
  void fill(AlignedBuffer<T>& buffer) {
    for (index_t i = 0; i < buffer.size(); ++i) {
      state_ = state_ * 6364136223846793005U + 1442695040888963407U;
      buffer[i] = static_cast<T>(static_cast<int>(state_ >> 40U) % 9 - 4);
    }
  }

  void pack(Form form, Part part) {
    const bool forward = form == Form::kForward;
    const index_t k = forward ? shape_.n_in : shape_.n_out;
    const index_t n = forward ? shape_.n_out : shape_.n_in;
    const index_t b_depth = forward ? ldw_ : 1;
    const index_t b_column = forward ? 1 : ldw_;
    T* packed = forward ? packed_forward_.data() : packed_backward_.data();
    const index_t panel = kernels<T>().packed_size(1, 1);
    const index_t begin = part.begin(n, panel);
    const index_t end = part.end(n, panel);
    if (begin == end) return;
    kernels<T>().pack(w_.data() + begin * b_column, b_depth, b_column, k, end - begin,
                      packed + begin * k);
  }

  void by_rows(Form form, Part part) {
    const bool forward = form == Form::kForward;
    const index_t begin = part.begin(shape_.batch, kBatchGrain);
    Product<T> p;
    p.a = forward ? x_.data() + begin * ldx_ : d_.data() + begin * ldd_;
    p.a_row = forward ? ldx_ : ldd_;
    p.a_depth = 1;
    p.b = forward ? packed_forward_.data() : packed_backward_.data();
    p.packed = true;
    p.c = forward ? y_.data() + begin * ldd_ : d_x_.data() + begin * ldx_;
    p.ldc = forward ? ldd_ : ldx_;
    p.m = part.end(shape_.batch, kBatchGrain) - begin;
    p.n = forward ? shape_.n_out : shape_.n_in;
    p.k = forward ? shape_.n_in : shape_.n_out;
    kernels<T>().product(p);
  }

  void weight_gradient(Part part) {
    const index_t begin = part.begin(shape_.n_in, kWeightGrain);
    for (index_t first = 0; first < shape_.batch; first += kChunkRows) {
      Product<T> p;
      p.a = x_.data() + first * ldx_ + begin;
      p.a_row = 1;
      p.a_depth = ldx_;
      p.b = d_.data() + first * ldd_;
      p.ldb = ldd_;
      p.c = d_w_.data() + begin * ldw_;
      p.ldc = ldw_;
      p.m = part.end(shape_.n_in, kWeightGrain) - begin;
      p.n = shape_.n_out;
      p.k = std::min(kChunkRows, shape_.batch - first);
      p.finish = first == 0 ? Finish::kStore : Finish::kAdd;
      kernels<T>().product(p);
    }
  }

  Shape shape_;
  index_t ldx_;
  index_t ldw_;
  index_t ldd_;
  AlignedBuffer<T> x_;
  AlignedBuffer<T> w_;
  AlignedBuffer<T> d_;
  AlignedBuffer<T> d_x_;
  AlignedBuffer<T> d_w_;
  AlignedBuffer<T> y_;
  AlignedBuffer<T> packed_forward_;
  AlignedBuffer<T> packed_backward_;
  std::uint64_t state_ = 1;
};

}  // namespace schuss

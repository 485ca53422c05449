// SPDX-License-Identifier: MIT
/// The buffers of a network for a number of rows, and the passes over them.
#pragma once

#include <vector>

#include "base/aligned_buffer.hpp"
#include "nn/gradients.hpp"
#include "nn/network.hpp"
#include "parallel/part.hpp"

namespace schuss {

/// A row-major block: element (r, c) at data[r*ld + c].
template <class T>
struct Block {
  T* data = nullptr;
  index_t ld = 0;

  T* row(index_t r) const { return data + r * ld; }
};

/// Leading dimension of a workspace of `width` columns: whole cache lines, and never a multiple of
/// 512 bytes, which would put the rows into the same few sets of the L1 cache. One column is dense.
template <class T>
constexpr index_t workspace_ld(index_t width) {
  if (width == 1) return 1;
  const index_t ld = padded<T>(width);
  return ld * static_cast<index_t>(sizeof(T)) % 512 == 0 ? ld + kAlignElements<T> : ld;
}

/// Whether a stage's weight moves down its gradient as that is made, and at which rate.
template <class T>
struct Descent {
  bool moves = false;
  T rate = T(0);
};

enum class Mode : std::uint8_t { kInference, kTraining };

/// Activations and their gradients for up to `rows` rows, and packed weights. Row r of every buffer
/// belongs to row r of the input block. Passes over disjoint rows may run at the same time once the
/// weights are packed. Nothing here allocates after construction.
template <class T>
class Workspace {
 public:
  /// In inference mode only two stages' outputs are held at a time.
  Workspace(const Network& network, index_t n_in, index_t rows, Mode mode);

  index_t rows() const { return rows_; }
  index_t n_in() const { return n_in_; }

  /// Copies the weights into the order the products read them in. Call after each change of a
  /// weight; `for_rows` is how many rows will use it (few rows: the copy does not pay).
  /// Several threads may each do a part.
  void pack_forward(const Network& network, index_t for_rows, Part part = {});
  /// Whether `pack_forward` does anything.
  bool packs_forward(index_t for_rows) const;
  /// The same for the gradient's way back through stages `first_stage` and up.
  void pack_backward(const Network& network, std::size_t first_stage, Part part = {});
  /// Both again, for a part's rows of each weight whose gradient is wanted: of the weights that change
  /// between steps. `pack_forward` and `pack_backward` have run.
  /// descents: what `gradients` was given.
  void repack(const Network& network, const GradientMap& map, Part part,
              const Descent<T>* descents);
  /// After `pack_forward`: how many rows will use the weights now.
  void expect_rows(index_t for_rows);

  /// Runs all stages over rows first..first+count of `x` (which holds row 0).
  void forward(const Network& network, Block<const T> x, index_t first, index_t count);

  Block<T> output() { return stages_.back().y; }
  /// Where the caller puts the gradient with respect to the output before `backward`.
  Block<T> d_output() { return stages_.back().d; }

  /// From d_output back to the first stage that needs it, `lowest`; leaves in each stage's buffer
  /// the gradient before its activation. d_x: null, or the gradient with respect to x.
  void backward(const Network& network, Block<const T> x, index_t first, index_t count,
                std::size_t lowest, Block<T>* d_x);

  /// Weight and bias gradients of every wanted stage from rows first..first+count (at most
  /// kChunkRows, one link of the tree) into `arena`, stored or added. A part does its rows of each
  /// wide weight's storage (`weight_rows`); the last part does everything else.
  /// descents: null, or one for each stage: wide weights that move have no gradient in the arena, and
  /// their packed copies for the way forward move with them. fetch: null, or what is read next.
  void gradients(const Network& network, Block<const T> x, index_t first, index_t count,
                 const GradientMap& map, T* arena, Finish finish, Part part = {},
                 const Descent<T>* descents = nullptr, Fetch* fetch = nullptr);

  /// Grain of the rows of a chunk that threads share: whole tiles of rows.
  static constexpr index_t kBatchGrain = 12;
  /// Grain of a wide weight's rows in `gradients`: whole panels of the transposed weight.
  static index_t row_grain();

 private:
  struct StageBuffers {
    AlignedBuffer<T> memory_z;
    AlignedBuffer<T> memory_y;
    AlignedBuffer<T> memory_d;
    AlignedBuffer<T> packed_forward;
    AlignedBuffer<T> packed_backward;
    bool use_packed = false;
    Block<T> z;  // before the activation; equal to y when the activation runs in place
    Block<T> y;
    Block<T> d;
    index_t width = 0;
  };

  Block<const T> input_of(std::size_t s, Block<const T> x) const {
    if (s == 0) return x;
    return {stages_[s - 1].y.data, stages_[s - 1].y.ld};
  }
  void dense_forward(const Stage& stage, StageBuffers& buffers, Block<const T> in, index_t first,
                     index_t count);
  void dense_backward(const Stage& stage, const StageBuffers& buffers, index_t first, index_t count,
                      Block<T> d_in, const Stage* below, const StageBuffers* below_buffers);

  std::vector<StageBuffers> stages_;
  index_t n_in_ = 0;
  index_t rows_ = 0;
};

/// Weights too large for a second-level cache are read anew by each block of rows: they should be read
/// seldom.
template <class T>
bool weights_are_far(const Network& network);

extern template class Workspace<float>;
extern template class Workspace<double>;

}  // namespace schuss

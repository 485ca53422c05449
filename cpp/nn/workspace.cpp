// SPDX-License-Identifier: MIT
#include "nn/workspace.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/dispatch.hpp"
#include "kernels/packing.hpp"

namespace schuss {
namespace {

/// The activation is applied as the dense layer's results are stored.
bool fused_relu(const Stage& stage) {
  return stage.dense() && stage.activation == Activation::kReLU;
}

}  // namespace

template <class T>
Workspace<T>::Workspace(const Network& network, index_t n_in, index_t rows, Mode mode)
    : stages_(network.stages().size()), n_in_(n_in), rows_(rows) {
  const Kernels<T>& k = kernels<T>();
  const bool training = mode == Mode::kTraining;
  index_t width = n_in;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    const Stage& stage = network.stages()[s];
    StageBuffers& buffers = stages_[s];
    if (stage.dense()) width = stage.n_out;
    buffers.width = width;
    const index_t ld = workspace_ld<T>(width);
    if (training) {
      buffers.memory_y = AlignedBuffer<T>(rows * ld);
      buffers.y = {buffers.memory_y.data(), ld};
    }
    buffers.z = buffers.y;
    if (training) {
      if (stage.keeps_input()) {
        buffers.memory_z = AlignedBuffer<T>(rows * ld);
        buffers.z = {buffers.memory_z.data(), ld};
      }
      buffers.memory_d = AlignedBuffer<T>(rows * ld);
      buffers.d = {buffers.memory_d.data(), ld};
    }
    if (!stage.dense() || stage.narrow()) continue;
    if (stage.n_in * stage.n_out * static_cast<index_t>(sizeof(T)) > kPackBytes &&
        rows >= kPackRows) {
      buffers.packed_forward = AlignedBuffer<T>(k.packed_size(stage.n_in, stage.n_out));
    }
    if (training) {
      buffers.packed_backward = AlignedBuffer<T>(k.packed_size(stage.n_out, stage.n_in));
    }
  }
  if (training) return;
  // Inference: stages take turns in two buffers, each as wide as its widest user. A row lies in the
  // same place for all of them, as rows belong to threads; one column is dense, apart from these.
  for (std::size_t turn = 0; turn < 2 && turn < stages_.size(); ++turn) {
    index_t widest = 0;
    for (std::size_t s = turn; s < stages_.size(); s += 2) {
      const index_t ld = workspace_ld<T>(stages_[s].width);
      if (stages_[s].width != 1) widest = ld > widest ? ld : widest;
    }
    AlignedBuffer<T>& shared = stages_[turn].memory_z;
    shared = AlignedBuffer<T>(rows * widest);
    for (std::size_t s = turn; s < stages_.size(); s += 2) {
      StageBuffers& buffers = stages_[s];
      if (buffers.width == 1) buffers.memory_y = AlignedBuffer<T>(rows);
      buffers.y = buffers.width == 1 ? Block<T>{buffers.memory_y.data(), 1}
                                     : Block<T>{shared.data(), widest};
      buffers.z = buffers.y;
    }
  }
}

/// A part packs its panels: columns of b in whole panels.
template <class T>
void pack_part(const T* b, index_t b_depth, index_t b_column, index_t k, index_t n, T* packed,
               Part part) {
  const index_t panel = kernels<T>().packed_size(1, 1);
  const index_t begin = part.begin(n, panel);
  const index_t end = part.end(n, panel);
  if (begin == end) return;
  kernels<T>().pack(b + begin * b_column, b_depth, b_column, k, end - begin, packed + begin * k);
}

template <class T>
index_t Workspace<T>::row_grain() {
  constexpr index_t kLeast = 24;  // some register tiles
  const index_t panel = kernels<T>().packed_size(1, 1);
  return (kLeast + panel - 1) / panel * panel;
}

template <class T>
void Workspace<T>::expect_rows(index_t for_rows) {
  for (StageBuffers& buffers : stages_) {
    buffers.use_packed = !buffers.packed_forward.empty() && for_rows >= kPackRows;
  }
}

template <class T>
void Workspace<T>::pack_forward(const Network& network, index_t for_rows, Part part) {
  if (part.index == 0) expect_rows(for_rows);
  if (for_rows < kPackRows) return;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    StageBuffers& buffers = stages_[s];
    if (buffers.packed_forward.empty()) continue;
    const Stage& stage = network.stages()[s];
    pack_part<T>(stage.weight->ptr<T>(), stage.weight->layout.ld, 1, stage.n_in, stage.n_out,
                 buffers.packed_forward.data(), part);
  }
}

template <class T>
void Workspace<T>::pack_backward(const Network& network, std::size_t first_stage, Part part) {
  for (std::size_t s = first_stage; s < stages_.size(); ++s) {
    const Stage& stage = network.stages()[s];
    if (!stage.dense() || stage.narrow()) continue;
    pack_part<T>(stage.weight->ptr<T>(), 1, stage.weight->layout.ld, stage.n_out, stage.n_in,
                 stages_[s].packed_backward.data(), part);
  }
}

template <class T>
void Workspace<T>::repack(const Network& network, const GradientMap& map, Part part,
                          const Descent<T>* descents) {
  const Kernels<T>& k = kernels<T>();
  const index_t panel = k.packed_size(1, 1);
  const index_t grain = row_grain();
  for (std::size_t s = map.lowest; s < stages_.size(); ++s) {
    const Stage& stage = network.stages()[s];
    if (!stage.dense() || stage.narrow() || map.slots[s].weight == GradientMap::kNone) continue;
    StageBuffers& buffers = stages_[s];
    const bool forward =
        !buffers.packed_forward.empty() && (descents == nullptr || !descents[s].moves);
    const index_t ld = stage.weight->layout.ld;
    const index_t end = part.end(stage.n_in, grain);
    // A grain at a time: its rows lie in few pages.
    for (index_t i = part.begin(stage.n_in, grain); i < end; i += grain) {
      const index_t rows = end - i < grain ? end - i : grain;
      const T* from = stage.weight->ptr<T>() + i * ld;
      if (forward) {
        for (index_t j = 0; j < stage.n_out; j += panel) {
          const index_t columns = stage.n_out - j < panel ? stage.n_out - j : panel;
          k.pack(from + j, ld, 1, rows, columns,
                 buffers.packed_forward.data() + j * stage.n_in + i * panel);
        }
      }
      if (s == map.lowest) continue;  // no gradient goes below
      k.pack(from, 1, ld, stage.n_out, rows, buffers.packed_backward.data() + i * stage.n_out);
    }
  }
}

template <class T>
void Workspace<T>::dense_forward(const Stage& stage, StageBuffers& buffers, Block<const T> in,
                                 index_t first, index_t count) {
  const T* bias = stage.bias == nullptr ? nullptr : stage.bias->ptr<T>();
  if (stage.narrow()) {
    NarrowForward<T> p;
    p.x = in.row(first);
    p.ldx = in.ld;
    p.weight = stage.weight->ptr<T>();
    p.ldw = stage.weight->layout.ld;
    p.bias = bias;
    p.y = buffers.z.row(first);
    p.ldy = buffers.z.ld;
    p.rows = count;
    p.n_in = stage.n_in;
    p.n_out = stage.n_out;
    p.relu = fused_relu(stage);
    return kernels<T>().narrow_forward(p);
  }
  Product<T> p;
  p.a = in.row(first);
  p.a_row = in.ld;
  p.a_depth = 1;
  p.packed = buffers.use_packed;
  p.b = p.packed ? buffers.packed_forward.data() : stage.weight->ptr<T>();
  p.ldb = stage.weight->layout.ld;
  p.c = buffers.z.row(first);
  p.ldc = buffers.z.ld;
  p.m = count;
  p.n = stage.n_out;
  p.k = stage.n_in;
  p.start = bias == nullptr ? Start::kZero : Start::kBias;
  p.bias = bias;
  p.finish = fused_relu(stage) ? Finish::kReLU : Finish::kStore;
  kernels<T>().product(p);
}

template <class T>
void Workspace<T>::forward(const Network& network, Block<const T> x, index_t first, index_t count) {
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    const Stage& stage = network.stages()[s];
    StageBuffers& buffers = stages_[s];
    Block<const T> in = input_of(s, x);
    if (stage.dense()) {
      dense_forward(stage, buffers, in, first, count);
      if (stage.activation == Activation::kIdentity || fused_relu(stage)) continue;
      in = {buffers.z.data, buffers.z.ld};
    }
    const auto run = kernels<T>().activation[static_cast<int>(stage.activation)];
    run(in.row(first), in.ld, buffers.y.row(first), buffers.y.ld, count, buffers.width,
        stage.options);
  }
}

template <class T>
void Workspace<T>::dense_backward(const Stage& stage, const StageBuffers& buffers, index_t first,
                                  index_t count, Block<T> d_in, const Stage* below,
                                  const StageBuffers* below_buffers) {
  Product<T> p;
  p.a = buffers.d.row(first);
  p.a_row = buffers.d.ld;
  p.a_depth = 1;
  p.packed = !stage.narrow();
  p.b = p.packed ? buffers.packed_backward.data() : stage.weight->ptr<T>();
  p.ldb = stage.weight->layout.ld;
  p.c = d_in.row(first);
  p.ldc = d_in.ld;
  p.m = count;
  p.n = stage.n_in;
  p.k = stage.n_out;
  if (below != nullptr && below->activation == Activation::kReLU) {
    p.finish = Finish::kReLUMask;
    p.gate = below_buffers->y.row(first);
    p.ldgate = below_buffers->y.ld;
  }
  kernels<T>().product(p);
}

template <class T>
void Workspace<T>::backward(const Network& network, Block<const T> x, index_t first, index_t count,
                            std::size_t lowest, Block<T>* d_x) {
  bool through_activation = false;  // the product above masked this stage's ReLU already
  for (std::size_t s = stages_.size(); s-- > 0;) {
    const Stage& stage = network.stages()[s];
    StageBuffers& buffers = stages_[s];
    if (!through_activation && stage.activation != Activation::kIdentity) {
      const Block<const T> in =
          stage.dense() ? Block<const T>{buffers.z.data, buffers.z.ld} : input_of(s, x);
      const auto run = kernels<T>().activation_backward[static_cast<int>(stage.activation)];
      run(in.row(first), in.ld, buffers.y.row(first), buffers.y.ld, buffers.d.row(first),
          buffers.d.ld, count, buffers.width, stage.options);
    }
    through_activation = false;
    const bool to_x = s == 0 && d_x != nullptr;
    if (d_x == nullptr && s <= lowest) return;
    const Block<T> d_in = to_x ? *d_x : stages_[s - 1].d;
    if (stage.dense()) {
      const Stage* below = to_x ? nullptr : &network.stages()[s - 1];
      dense_backward(stage, buffers, first, count, d_in, below, to_x ? nullptr : &stages_[s - 1]);
      through_activation = below != nullptr && below->activation == Activation::kReLU;
    } else {
      for (index_t r = first; r < first + count; ++r) {
        std::memcpy(d_in.row(r), buffers.d.row(r),
                    static_cast<std::size_t>(buffers.width) * sizeof(T));
      }
    }
  }
}

template <class T>
void Workspace<T>::gradients(const Network& network, Block<const T> x, index_t first, index_t count,
                             const GradientMap& map, T* arena, Finish finish, Part part,
                             const Descent<T>* descents, Fetch* fetch) {
  const Kernels<T>& k = kernels<T>();
  const bool last_part = part.is_last();
  for (std::size_t s = stages_.size(); s-- > map.lowest;) {
    const GradientMap::Slot slot = map.slots[s];
    const Stage& stage = network.stages()[s];
    const Block<T> d = stages_[s].d;
    const Block<const T> in = input_of(s, x);
    T* d_weight = slot.weight == GradientMap::kNone ? nullptr : arena + slot.weight;
    T* d_bias = slot.bias == GradientMap::kNone ? nullptr : arena + slot.bias;
    if (!last_part) d_bias = nullptr;
    if (!last_part && stage.narrow()) d_weight = nullptr;
    if (d_weight == nullptr && d_bias == nullptr) continue;
    const bool lanes = stage.small() && d_weight != nullptr;
    if (stage.narrow() && (lanes || d_bias != nullptr)) {
      SmallGradient<T> p;
      p.x = in.row(first);
      p.ldx = in.ld;
      p.d_y = d.row(first);
      p.ldd = d.ld;
      p.rows = count;
      p.n_in = lanes ? stage.n_in : 0;
      p.n_out = stage.n_out;
      p.d_weight = d_weight;
      p.ldw = stage.weight->layout.ld;
      p.d_bias = d_bias;
      p.add = finish == Finish::kAdd;
      k.small_gradient(p);
    } else if (d_bias != nullptr) {
      k.column_sums(d.row(first), d.ld, count, stage.n_out, d_bias, Start::kZero, finish);
    }
    if (d_weight == nullptr || lanes) continue;
    const index_t begin = stage.narrow() ? 0 : part.begin(stage.n_in, row_grain());
    const index_t end = stage.narrow() ? stage.n_out : part.end(stage.n_in, row_grain());
    Product<T> p;  // wide: d_weight[i,o] = sum x[r,i] d[r,o]; narrow: the transpose of that
    const T* in_rows = in.row(first);
    const T* d_rows = d.row(first);
    p.a = stage.narrow() ? d_rows : in_rows + begin;
    p.a_depth = stage.narrow() ? d.ld : in.ld;
    p.a_row = 1;
    p.b = stage.narrow() ? in_rows : d_rows;
    p.ldb = stage.narrow() ? in.ld : d.ld;
    p.c = d_weight + begin * stage.weight->layout.ld;
    p.ldc = stage.weight->layout.ld;
    p.m = end - begin;
    p.n = stage.narrow() ? stage.n_in : stage.n_out;
    p.k = count;
    p.finish = finish;
    p.fetch = fetch;
    if (!stage.narrow() && descents != nullptr && descents[s].moves) {
      StageBuffers& buffers = stages_[s];
      p.c = stage.weight->ptr<T>() + begin * p.ldc;
      p.finish = Finish::kDescend;
      p.rate = descents[s].rate;
      if (!buffers.packed_forward.empty()) {
        const index_t panel = k.packed_size(1, 1);
        p.copy = buffers.packed_forward.data() + begin * panel;
        p.copy_panel = stage.n_in * panel;
      }
    }
    k.product(p);
  }
}

template <class T>
bool Workspace<T>::packs_forward(index_t for_rows) const {
  if (for_rows < kPackRows) return false;
  return std::any_of(stages_.begin(), stages_.end(),
                     [](const StageBuffers& stage) { return !stage.packed_forward.empty(); });
}

template <class T>
bool weights_are_far(const Network& network) {
  index_t weights = 0;
  for (const Stage& stage : network.stages()) {
    if (stage.dense()) weights += stage.n_in * stage.n_out;
  }
  return weights * static_cast<index_t>(sizeof(T)) > kFarBytes;
}

template bool weights_are_far<float>(const Network&);
template bool weights_are_far<double>(const Network&);
template class Workspace<float>;
template class Workspace<double>;

}  // namespace schuss

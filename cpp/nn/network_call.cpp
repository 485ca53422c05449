// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>

#include "autograd/gradients.hpp"
#include "base/fp_environment.hpp"
#include "kernels/dispatch.hpp"
#include "nn/calls.hpp"
#include "parallel/crew.hpp"

namespace schuss {
namespace {

/// Pieces of a phase for each thread, taken by halves. Each taking of rows reads the weights anew, so
/// where these are far it is one; and their gradients are cut less finely.
constexpr int kPiecesEach = 8;
constexpr int kFarPiecesEach = 4;

/// Buffers for more rows are not kept: such calls are rare, and their memory is not small.
constexpr index_t kMostIdleRows = 16 * kChunkRows;

index_t grains_of(index_t rows) {
  return (rows + Workspace<float>::kBatchGrain - 1) / Workspace<float>::kBatchGrain;
}

/// Into how many pieces `rows` rows fall.
int row_pieces(const Crew& crew, index_t rows, bool far) {
  const index_t most = far ? crew.threads() : kPiecesEach * crew.threads();
  return static_cast<int>(std::clamp<index_t>(grains_of(rows), 1, most));
}

template <class T>
void copy_rows(Block<const T> from, Block<T> to, index_t first, index_t count, index_t width) {
  if (from.ld == width && to.ld == width) {
    const auto bytes = static_cast<std::size_t>(count * width) * sizeof(T);
    if (bytes > 0) std::memcpy(to.row(first), from.row(first), bytes);
    return;
  }
  for (index_t r = first; r < first + count; ++r) {
    std::memcpy(to.row(r), from.row(r), static_cast<std::size_t>(width) * sizeof(T));
  }
}

/// A forward pass over all rows by a workspace that keeps them, or else holds a chunk.
template <class T>
struct ForwardPass {
  const Network& network;
  Workspace<T>& workspace;
  Block<const T> x;
  Block<T> out;
  index_t rows;
  index_t width;
  bool keep;

  /// Rows of one chunk.
  void run(index_t first, index_t count) const {
    const index_t at = keep ? first : first % kChunkRows;
    workspace.forward(network, keep ? x : Block<const T>{x.row(first - at), x.ld}, at, count);
    const Block<T> y = workspace.output();
    copy_rows<T>({y.row(at), y.ld}, {out.row(first), out.ld}, 0, count, width);
  }
  void operator()(Crew& crew) const {
    const bool far = weights_are_far<T>(network);
    if (workspace.packs_forward(rows)) {
      crew.share(kPiecesEach * crew.threads(),
                 [&](int, Part part) { workspace.pack_forward(network, rows, part); });
    } else {
      workspace.pack_forward(network, rows);
    }
    const index_t together = keep ? rows : kChunkRows;
    for (index_t base = 0; base < rows; base += together) {
      const index_t n = std::min(together, rows - base);
      crew.share(row_pieces(crew, n, far), [&](int, Part part) {
        const index_t end = base + part.end(n, Workspace<T>::kBatchGrain);
        for (index_t first = base + part.begin(n, Workspace<T>::kBatchGrain); first < end;
             first += kChunkRows) {
          run(first, std::min(kChunkRows, end - first));
        }
      });
    }
  }
};

}  // namespace

/// A forward pass that keeps its activations.
template <class T>
class NetworkNode final : public Node, public HasParameters {
 public:
  NetworkNode(std::shared_ptr<CallableNetwork> callable, std::shared_ptr<Workspace<T>> workspace,
              HeldRows x)
      : callable_(std::move(callable)),
        workspace_(std::move(workspace)),
        x_(std::move(x)),
        version_(callable_->network().version()) {
    const bool d_x_wanted = x_.tensor != nullptr && x_.tensor->requires_grad;
    inputs.push_back(d_x_wanted ? x_.tensor : nullptr);
    if (x_.tensor != nullptr) x_version_ = x_.tensor->storage->version;
  }

  ~NetworkNode() override { release(); }

  const char* name() const override { return "AddmmBackward0"; }

  void each_parameter(const std::function<void(const TensorPtr&)>& f) const override {
    for (const ParameterPtr& p : callable_->network().parameters()) f(p);
  }

  void check() const override {
    if (workspace_ == nullptr) {
      throw StateError(
          "backward: this output's graph was freed by an earlier backward; pass retain_graph=True "
          "to the first call, or call the model again");
    }
    if (x_.tensor != nullptr && x_version_ != x_.tensor->storage->version) {
      throw StateError(
          "backward: the input was changed after this output was computed; call the model again "
          "before backward");
    }
    if (version_ != callable_->network().version()) {
      throw StateError(
          "backward: a parameter changed after this output was computed (an optimizer step, fit, "
          "or "
          "an in-place write); call the model again before backward");
    }
  }

  void backward(const TensorPtr& d_output, bool retain) override {
    const BusyGuard guard(callable_->busy(), "the model");
    const FpEnvironment environment;
    const Network& network = callable_->network();
    const GradientMap& map = callable_->gradient_map();
    TensorPtr d_input;
    Block<T> d_x;
    if (inputs[0] != nullptr) {
      d_input = make_tensor(dtype_of<T>(), inputs[0]->shape, Uninitialized{});
      d_x = {d_input->ptr<T>(), x_.cols};
    }
    const auto tree = callable_->gradient_tree<T>((x_.rows + kChunkRows - 1) / kChunkRows);
    const double work = 2.0 * static_cast<double>(x_.rows) *
                        (network.work_per_row() + static_cast<double>(x_.cols));
    with_crew(crew_size(work, grains_of(x_.rows)), [&](Crew& crew) {
      run_back(crew, *d_output, d_input == nullptr ? nullptr : &d_x, map, *tree);
      for (const GradientMap::Merge& merge : map.merges) {
        kernels<T>().add(tree->result() + merge.from, tree->result() + merge.to, merge.extent);
      }
      deposit(crew, map, tree->result());
    });
    d_inputs[0] = d_input;
    if (!retain) release();
  }

 private:
  /// Gradients of all rows into the tree; d_x: null, or where that with respect to x goes.
  void run_back(Crew& crew, const Tensor& d_output, Block<T>* d_x, const GradientMap& map,
                GradientTree<T>& tree) {
    const Network& network = callable_->network();
    const Block<const T> x{static_cast<const T*>(x_.data), x_.ld};
    const index_t width = d_output.shape[1];
    const bool far = weights_are_far<T>(network);
    const std::size_t packed_from = d_x != nullptr ? 0 : map.lowest + 1;
    crew.share(kPiecesEach * crew.threads(), [&](int, Part part) {
      const index_t begin = part.begin(x_.rows, 1);
      copy_rows<T>({d_output.ptr<T>(), width}, workspace_->d_output(), begin,
                   part.end(x_.rows, 1) - begin, width);
      workspace_->pack_backward(network, packed_from, part);
    });
    const index_t chunks = (x_.rows + kChunkRows - 1) / kChunkRows;
    for (index_t chunk = 0; chunk < chunks; ++chunk) {
      const index_t first = chunk * kChunkRows;
      const index_t count = std::min(kChunkRows, x_.rows - first);
      crew.share(row_pieces(crew, count, far), [&](int, Part part) {
        const index_t begin = part.begin(count, Workspace<T>::kBatchGrain);
        const index_t n = part.end(count, Workspace<T>::kBatchGrain) - begin;
        workspace_->backward(network, x, first + begin, n, map.lowest, d_x);
      });
      crew.share((far ? kFarPiecesEach : kPiecesEach) * crew.threads(), [&](int, Part part) {
        workspace_->gradients(network, x, first, count, map, tree.target(chunk),
                              GradientTree<T>::finish(chunk), part);
      });
      tree.close(chunk, chunk == chunks - 1);
    }
  }

  /// Gradients lie like their parameter, so each is one contiguous pass.
  static void deposit(Crew& crew, const GradientMap& map, const T* gradients) {
    std::vector<TensorPtr> made;  // all before the first is seen: memory may be short
    made.reserve(map.entries.size());
    for (const GradientMap::Entry& entry : map.entries) {
      const Parameter& parameter = *entry.parameter;
      const bool has_one = parameter.grad != nullptr;
      made.push_back(has_one ? nullptr : make_like(parameter, Uninitialized{}));
    }
    crew.share(kPiecesEach * crew.threads(), [&](int, Part part) {
      for (std::size_t i = 0; i < made.size(); ++i) {
        const GradientMap::Entry& entry = map.entries[i];
        const index_t extent = entry.parameter->layout.extent();
        const index_t begin = part.begin(extent, kAlignElements<T>);
        const index_t count = part.end(extent, kAlignElements<T>) - begin;
        const T* from = gradients + entry.offset + begin;
        if (count == 0) continue;
        if (made[i] == nullptr) {
          kernels<T>().add(from, entry.parameter->grad->template ptr<T>() + begin, count);
        } else {
          std::memcpy(made[i]->template ptr<T>() + begin, from,
                      static_cast<std::size_t>(count) * sizeof(T));
        }
      }
    });
    for (std::size_t i = 0; i < made.size(); ++i) {
      if (made[i] != nullptr) map.entries[i].parameter->grad = std::move(made[i]);
    }
  }

  void release() override {
    if (workspace_ == nullptr) return;
    callable_->give_back(x_.rows, x_.cols, std::move(workspace_));
    workspace_ = nullptr;
    x_ = HeldRows{nullptr, x_.rows, x_.cols, 0, nullptr, nullptr};
  }

  std::shared_ptr<CallableNetwork> callable_;
  std::shared_ptr<Workspace<T>> workspace_;
  HeldRows x_;
  std::uint64_t version_;
  std::uint64_t x_version_ = 0;
};

template <class T>
std::shared_ptr<Workspace<T>> CallableNetwork::borrow(index_t rows, index_t n_in) {
  {
    const std::lock_guard lock(mutex_);
    for (auto it = idle_.begin(); it != idle_.end(); ++it) {
      if (it->rows != rows || it->n_in != n_in) continue;
      auto workspace = std::static_pointer_cast<Workspace<T>>(it->workspace);
      idle_.erase(it);
      return workspace;
    }
  }
  return std::make_shared<Workspace<T>>(*network_, n_in, rows, Mode::kTraining);
}

void CallableNetwork::give_back(index_t rows, index_t n_in, std::shared_ptr<void> workspace) {
  constexpr std::size_t kMostIdle = 2;  // whole batches, and the last short one
  if (rows > kMostIdleRows) return;
  const std::lock_guard lock(mutex_);
  if (idle_.size() >= kMostIdle) idle_.erase(idle_.begin());
  idle_.push_back({rows, n_in, std::move(workspace)});
}

const GradientMap& CallableNetwork::gradient_map() {
  const auto& parameters = network_->parameters();
  bool same = map_.has_value();
  for (std::size_t i = 0; same && i < parameters.size(); ++i) {
    same = parameters[i]->requires_grad == mapped_[i];
  }
  if (!same) {
    mapped_.clear();
    for (const ParameterPtr& p : parameters) mapped_.push_back(p->requires_grad);
    map_.emplace(*network_, [](const Parameter& p) { return p.requires_grad; });
    tree_ = nullptr;
  }
  return *map_;
}

template <class T>
std::shared_ptr<GradientTree<T>> CallableNetwork::gradient_tree(index_t chunks) {
  const bool keeps = chunks > 0 && chunks <= kMostIdleRows / kChunkRows;
  if (keeps && tree_ != nullptr && tree_chunks_ == chunks) {
    return std::static_pointer_cast<GradientTree<T>>(tree_);
  }
  auto tree = std::make_shared<GradientTree<T>>(map_->size, std::max<index_t>(chunks, 1));
  tree_ = keeps ? tree : nullptr;
  tree_chunks_ = chunks;
  return tree;
}

template <class T>
TensorPtr CallableNetwork::call_as(const HeldRows& x, bool record) {
  const BusyGuard guard(busy_, "the model");
  const FpEnvironment environment;
  const index_t width = network_->n_out(x.cols);
  bool needs = x.tensor != nullptr && x.tensor->requires_grad;
  for (const ParameterPtr& p : network_->parameters()) needs = needs || p->requires_grad;
  const bool keep = record && needs;

  TensorPtr out = make_tensor(dtype_of<T>(), {x.rows, width}, Uninitialized{});
  const std::shared_ptr<Workspace<T>> workspace =
      keep ? borrow<T>(x.rows, x.cols)
           : std::make_shared<Workspace<T>>(*network_, x.cols, std::min(x.rows, kChunkRows),
                                            Mode::kInference);
  const double work =
      static_cast<double>(x.rows) * (network_->work_per_row() + static_cast<double>(x.cols));
  const index_t together = keep ? x.rows : std::min(x.rows, kChunkRows);
  with_crew(crew_size(work, grains_of(together)),
            ForwardPass<T>{*network_,
                           *workspace,
                           {static_cast<const T*>(x.data), x.ld},
                           {out->ptr<T>(), width},
                           x.rows,
                           width,
                           keep});
  if (keep) {
    remember(out, std::allocate_shared<NetworkNode<T>>(BlockAllocator<NetworkNode<T>>(),
                                                       shared_from_this(), workspace, x));
  }
  return out;
}

TensorPtr CallableNetwork::call(const HeldRows& x, bool record) {
  return dispatch_dtype(network_->dtype(), [&]<class T>() { return call_as<T>(x, record); });
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>

#include "autograd/gradients.hpp"
#include "base/fp_environment.hpp"
#include "kernels/dispatch.hpp"
#include "nn/calls.hpp"

namespace schuss {

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
    const Block<const T> x{static_cast<const T*>(x_.data), x_.ld};
    const Block<T> d = workspace_->d_output();
    const index_t width = d_output->shape[1];
    for (index_t r = 0; r < x_.rows; ++r) {
      std::memcpy(d.row(r), d_output->ptr<T>() + r * width,
                  static_cast<std::size_t>(width) * sizeof(T));
    }

    const GradientMap& map = callable_->gradient_map();
    TensorPtr d_input;
    Block<T> d_x;
    if (inputs[0] != nullptr) {
      d_input = make_tensor(dtype_of<T>(), inputs[0]->shape, Uninitialized{});
      d_x = {d_input->ptr<T>(), x_.cols};
    }
    const bool to_x = d_input != nullptr;
    workspace_->pack_backward(network, to_x ? 0 : map.lowest + 1);
    const index_t chunks = (x_.rows + kChunkRows - 1) / kChunkRows;
    GradientTree<T> tree(map.size, std::max<index_t>(chunks, 1));
    for (index_t chunk = 0; chunk < chunks; ++chunk) {
      const index_t first = chunk * kChunkRows;
      const index_t count = std::min(kChunkRows, x_.rows - first);
      workspace_->backward(network, x, first, count, map.lowest, to_x ? &d_x : nullptr);
      workspace_->gradients(network, x, first, count, map, tree.target(chunk),
                            GradientTree<T>::finish(chunk));
      tree.close(chunk, chunk == chunks - 1);
    }
    for (const GradientMap::Merge& merge : map.merges) {
      kernels<T>().add(tree.result() + merge.from, tree.result() + merge.to, merge.extent);
    }
    for (const GradientMap::Entry& entry : map.entries) {
      deposit(*entry.parameter, tree.result() + entry.offset);
    }
    d_inputs[0] = d_input;
    if (!retain) release();
  }

 private:
  /// Gradients lie like their parameter, so this is one contiguous pass.
  static void deposit(Parameter& parameter, const T* gradient) {
    const index_t extent = parameter.layout.extent();
    if (parameter.grad == nullptr) {
      parameter.grad = make_like(parameter, Uninitialized{});
      std::memcpy(parameter.grad->data, gradient, static_cast<std::size_t>(extent) * sizeof(T));
    } else {
      kernels<T>().add(gradient, parameter.grad->ptr<T>(), extent);
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
  constexpr std::size_t kMostIdle = 2;            // whole batches, and the last short one
  constexpr index_t kMostRows = 16 * kChunkRows;  // larger ones are rare, and their memory is not
  if (rows > kMostRows) return;
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
  }
  return *map_;
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
  const Block<const T> in{static_cast<const T*>(x.data), x.ld};
  std::shared_ptr<Workspace<T>> workspace =
      keep ? borrow<T>(x.rows, x.cols)
           : std::make_shared<Workspace<T>>(*network_, x.cols, std::min(x.rows, kChunkRows),
                                            Mode::kInference);
  workspace->pack_forward(*network_, x.rows);
  for (index_t first = 0; first < x.rows; first += kChunkRows) {
    const index_t count = std::min(kChunkRows, x.rows - first);
    const index_t at = keep ? first : 0;  // a workspace for inference holds one chunk
    workspace->forward(*network_, keep ? in : Block<const T>{in.row(first), in.ld}, at, count);
    const Block<T> y = workspace->output();
    for (index_t r = 0; r < count; ++r) {
      std::memcpy(out->ptr<T>() + (first + r) * width, y.row(at + r),
                  static_cast<std::size_t>(width) * sizeof(T));
    }
  }
  if (keep) {
    remember(out,
             std::allocate_shared<NetworkNode<T>>(BlockAllocator<NetworkNode<T>>(),
                                                  shared_from_this(), std::move(workspace), x));
  }
  return out;
}

TensorPtr CallableNetwork::call(const HeldRows& x, bool record) {
  return dispatch_dtype(network_->dtype(), [&]<class T>() { return call_as<T>(x, record); });
}

}  // namespace schuss

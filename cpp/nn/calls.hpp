// SPDX-License-Identifier: MIT
/// Networks and losses as nodes of the graph: the step-by-step API over the kernels that `fit` uses,
/// in the same order of operations.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "autograd/tensor.hpp"
#include "base/busy.hpp"
#include "nn/gradients.hpp"
#include "nn/loss.hpp"
#include "nn/network.hpp"
#include "nn/workspace.hpp"

namespace schuss {

/// Rows of the model's dtype that somebody keeps alive.
struct HeldRows {
  const void* data = nullptr;
  index_t rows = 0;
  index_t cols = 0;
  index_t ld = 0;
  std::shared_ptr<void> owner;
  TensorPtr tensor;  // when the rows are a tensor with a history
};

/// A network that can be called: keeps workspaces for reuse, so that a step allocates little.
class CallableNetwork : public std::enable_shared_from_this<CallableNetwork> {
 public:
  explicit CallableNetwork(const std::vector<Layer>& layers,
                           DType without_parameters = DType::kFloat32)
      : network_(std::make_shared<const Network>(layers, without_parameters)) {}

  const Network& network() const { return *network_; }
  const std::shared_ptr<const Network>& shared_network() const { return network_; }
  BusyFlag& busy() { return busy_; }

  /// The outputs (rows, n_out). With `record`, and when x or a parameter requires a gradient, the
  /// result remembers how it was made.
  TensorPtr call(const HeldRows& x, bool record);

 private:
  template <class T>
  friend class NetworkNode;

  struct Idle {
    index_t rows = 0;
    index_t n_in = 0;
    std::shared_ptr<void> workspace;  // Workspace<T> of the network's dtype
  };
  template <class T>
  TensorPtr call_as(const HeldRows& x, bool record);
  template <class T>
  std::shared_ptr<Workspace<T>> borrow(index_t rows, index_t n_in);
  void give_back(index_t rows, index_t n_in, std::shared_ptr<void> workspace);
  /// Places for the gradients of the parameters that require one; made anew when those are others.
  /// Under the busy flag.
  const GradientMap& gradient_map();
  /// A tree for the gradients of `chunks` chunks, kept for the next backward of as many. Under the busy
  /// flag; after gradient_map().
  template <class T>
  std::shared_ptr<GradientTree<T>> gradient_tree(index_t chunks);

  std::shared_ptr<const Network> network_;
  std::mutex mutex_;  // guards idle_: a graph may be freed by another thread
  std::vector<Idle> idle_;
  BusyFlag busy_;
  std::vector<bool> mapped_;  // which parameters `map_` is for
  std::optional<GradientMap> map_;
  std::shared_ptr<void> tree_;  // GradientTree<T> for the places of map_
  index_t tree_chunks_ = 0;
};

/// Targets of a loss call, kept alive.
struct HeldTargets {
  HeldRows numbers;                      // rows of the prediction's dtype, or
  const std::int64_t* labels = nullptr;  // class indices
  std::shared_ptr<void> owner;
};

/// The loss of predictions (rows, cols) or (rows,) against targets: a scalar, or with
/// Reduction::kNone one value an element (for row losses one a row). When every label is ignored the
/// mean is NaN and the sum 0, as in PyTorch. The sum over rows is that of `shards` (nn/shards.hpp).
TensorPtr call_loss(const LossSpec& spec, const TensorPtr& prediction, const HeldTargets& targets,
                    bool record, index_t shards = 1);

}  // namespace schuss

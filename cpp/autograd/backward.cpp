// SPDX-License-Identifier: MIT
/// The way back through a graph.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <unordered_map>

#include "autograd/gradients.hpp"
#include "autograd/strided.hpp"
#include "autograd/tensor.hpp"
#include "base/fp_environment.hpp"
#include "kernels/dispatch.hpp"

namespace schuss {

Node::~Node() {
  std::vector<TensorPtr> waiting = std::move(inputs);
  while (!waiting.empty()) {
    const TensorPtr tensor = std::move(waiting.back());
    waiting.pop_back();
    if (tensor == nullptr || tensor.use_count() > 1 || tensor->grad_fn.use_count() != 1) continue;
    const std::shared_ptr<Node> node = std::move(tensor->grad_fn);
    for (TensorPtr& input : node->inputs) waiting.push_back(std::move(input));
    node->inputs.clear();
  }
}

void remember(const TensorPtr& output, std::shared_ptr<Node> node) {
  std::uint64_t level = 0;
  for (const TensorPtr& input : node->inputs) {
    if (input != nullptr && input->grad_fn != nullptr) {
      level = std::max(level, input->grad_fn->level_);
    }
  }
  node->level_ = level + 1;
  output->grad_fn = std::move(node);
  output->requires_grad = true;
}

namespace {

/// Whether it is what make_grad gives: laid out like the leaf, padding included.
bool lies_like(const Tensor& d, const Tensor& leaf) {
  return d.strides == leaf.strides && d.data == d.storage->own.data() &&
         d.storage->own.size() == leaf.extent() * item_bytes(leaf.dtype);
}

}  // namespace

void accumulate_grad(Tensor& leaf, TensorPtr d) {
  const bool alike = lies_like(*d, leaf);
  if (leaf.grad == nullptr) {
    const bool only_ours = d.use_count() == 1 && d->storage.use_count() == 1;
    if (only_ours && (alike || leaf.grad_is_plain())) {
      leaf.grad = std::move(d);
    } else {
      leaf.grad = leaf.make_grad();
      write_contiguous(*leaf.grad, contiguous(d)->data);
    }
    return;
  }
  if (alike && lies_like(*leaf.grad, leaf)) {
    dispatch_dtype(leaf.dtype, [&]<class T>() {
      kernels<T>().add(d->ptr<T>(), leaf.grad->ptr<T>(), leaf.extent());
    });
    ++leaf.grad->storage->version;
    return;
  }
  d = contiguous(d);
  dispatch_dtype(leaf.dtype, [&]<class T>() {
    const T* from = d->ptr<T>();
    for_each_run<T>(*leaf.grad, [&](T* run, index_t step, index_t n) {
      if (step == 1) {
        kernels<T>().add(from, run, n);
      } else {
        for (index_t i = 0; i < n; ++i) run[i * step] = run[i * step] + from[i];
      }
      from += n;
    });
  });
  ++leaf.grad->storage->version;
}

namespace {

void add_in_place(Tensor& to, const Tensor& d) {
  dispatch_dtype(to.dtype,
                 [&]<class T>() { kernels<T>().add(d.ptr<T>(), to.ptr<T>(), to.count()); });
}

TensorPtr starting_gradient(const Tensor& root, const TensorPtr& given) {
  if (given != nullptr) {
    if (!(given->shape == root.shape)) {
      throw ValueError("backward: gradient has shape " + to_string(given->shape) + "; expected " +
                       to_string(root.shape) + ", the shape of the tensor");
    }
    if (given->dtype == root.dtype && given->is_contiguous()) return detached(*given);
    return converted(*given, root.dtype);
  }
  if (root.count() != 1) {
    throw StateError("backward: the tensor has shape " + to_string(root.shape) +
                     " and needs a gradient of that shape; pass backward(gradient), or reduce it "
                     "to one number first");
  }
  TensorPtr one = make_tensor(root.dtype, root.shape, Uninitialized{});
  dispatch_dtype(root.dtype, [&]<class T>() { *one->ptr<T>() = T(1); });
  return one;
}

std::atomic<std::uint64_t> passes{0};

}  // namespace

/// One pass: the nodes below a root, each after everything that it feeds.
class BackwardPass {
 public:
  explicit BackwardPass(Node* root) : number_(++passes) {
    visit(root);
    for (std::size_t i = 0; i < order_.size(); ++i) {
      for (const TensorPtr& input : order_[i]->inputs) {
        if (input != nullptr && input->grad_fn != nullptr) visit(input->grad_fn.get());
      }
    }
    const auto later = [](const Node* a, const Node* b) { return a->level_ > b->level_; };
    if (!std::is_sorted(order_.begin(), order_.end(), later)) {
      std::stable_sort(order_.begin(), order_.end(), later);
    }
  }
  ~BackwardPass() {
    for (Node* node : order_) node->pending_ = nullptr;
  }
  BackwardPass(const BackwardPass&) = delete;
  BackwardPass& operator=(const BackwardPass&) = delete;

  void check() const {
    for (const Node* node : order_) node->check();
  }

  void run(const TensorPtr& start, bool retain) {
    order_.front()->pending_ = start;
    for (Node* node : order_) {
      if (node->pending_ == nullptr) continue;
      step(*node, retain);
    }
  }

  const std::vector<Node*>& nodes() const { return order_; }

  /// From the leaves up: a node is gone only after a later one let go of it.
  void release() {
    for (auto node = order_.rbegin(); node != order_.rend(); ++node) (*node)->release();
    order_.clear();
  }

 private:
  void visit(Node* node) {
    if (node->visited_ == number_) return;
    node->visited_ = number_;
    order_.push_back(node);
  }

  static void step(Node& node, bool retain) {
    TensorPtr d = std::move(node.pending_);
    node.pending_ = nullptr;
    if (const TensorPtr made = node.retained.lock()) accumulate_grad(*made, detached(*d));
    node.d_inputs.assign(node.inputs.size(), nullptr);
    node.backward(d, retain);
    d = nullptr;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const TensorPtr& input = node.inputs[i];
      if (input == nullptr || node.d_inputs[i] == nullptr) continue;
      if (input->grad_fn != nullptr) {
        gather(*input->grad_fn, std::move(node.d_inputs[i]));
      } else if (input->requires_grad) {
        accumulate_grad(*input, std::move(node.d_inputs[i]));
      }
    }
    node.d_inputs.clear();
  }

  static void gather(Node& node, TensorPtr d) {
    if (node.pending_ == nullptr) {
      node.pending_ = std::move(d);
      node.pending_is_ours_ = false;
      return;
    }
    if (!node.pending_is_ours_) {
      const TensorPtr& first = node.pending_;
      TensorPtr copy = make_tensor(first->dtype, first->shape, Uninitialized{});
      copy_contiguous(*first, copy->data);
      node.pending_ = std::move(copy);
      node.pending_is_ours_ = true;
    }
    add_in_place(*node.pending_, *d);
  }

  std::uint64_t number_;
  std::vector<Node*> order_;
};

void run_backward(const TensorPtr& root, const TensorPtr& d_root, bool retain_graph) {
  const FpEnvironment environment;
  if (root->grad_fn == nullptr && !root->requires_grad) {
    throw StateError(
        "backward: the tensor has no history; compute it from a model, a parameter or a tensor "
        "that requires gradients, outside no_grad()");
  }
  TensorPtr start = starting_gradient(*root, d_root);
  if (root->grad_fn == nullptr) return accumulate_grad(*root, std::move(start));
  const std::shared_ptr<Node> first = root->grad_fn;
  BackwardPass pass(first.get());
  pass.check();
  pass.run(start, retain_graph);
  if (!retain_graph) pass.release();
}

namespace {

/// Takes the gradients of tensors away, and puts them back at its end. Holds the tensors: the pass
/// lets go of those that only the graph knows.
class GradientsAside {
 public:
  GradientsAside() = default;
  GradientsAside(const GradientsAside&) = delete;
  GradientsAside& operator=(const GradientsAside&) = delete;
  ~GradientsAside() {
    for (auto& [tensor, grad] : kept_) tensor->grad = std::move(grad);
  }
  void take(const TensorPtr& tensor) {
    if (kept_.try_emplace(tensor, tensor->grad).second) tensor->grad = nullptr;
  }

 private:
  std::unordered_map<TensorPtr, TensorPtr> kept_;
};

/// Makes nodes keep the gradient of what they made, for a while.
class Retaining {
 public:
  explicit Retaining(const std::vector<TensorPtr>& tensors) {
    for (const TensorPtr& t : tensors) {
      if (t->grad_fn == nullptr) continue;
      before_.emplace_back(t->grad_fn, t->grad_fn->retained);
      t->grad_fn->retained = t;
    }
  }
  Retaining(const Retaining&) = delete;
  Retaining& operator=(const Retaining&) = delete;
  ~Retaining() {
    for (auto entry = before_.rbegin(); entry != before_.rend(); ++entry) {
      entry->first->retained = entry->second;
    }
  }

 private:
  std::vector<std::pair<std::shared_ptr<Node>, std::weak_ptr<Tensor>>> before_;
};

/// Every tensor whose gradient a pass from `root` may change.
void set_aside(const Tensor& root, GradientsAside* aside) {
  if (root.grad_fn == nullptr) return;
  const BackwardPass pass(root.grad_fn.get());
  for (const Node* node : pass.nodes()) {
    for (const TensorPtr& input : node->inputs) {
      if (input != nullptr) aside->take(input);
    }
    if (const TensorPtr made = node->retained.lock()) aside->take(made);
    if (const auto* holder = dynamic_cast<const HasParameters*>(node)) {
      holder->each_parameter([&](const TensorPtr& parameter) { aside->take(parameter); });
    }
  }
}

}  // namespace

std::vector<TensorPtr> gradients(const std::vector<TensorPtr>& roots,
                                 const std::vector<TensorPtr>& d_roots,
                                 const std::vector<TensorPtr>& inputs, bool retain_graph) {
  for (const TensorPtr& input : inputs) {
    if (!input->requires_grad) {
      throw StateError(
          "grad: one of the inputs does not require a gradient; make it with "
          "requires_grad=True");
    }
  }
  const Retaining retaining(inputs);
  GradientsAside aside;
  for (const TensorPtr& root : roots) {
    aside.take(root);
    set_aside(*root, &aside);
  }
  for (const TensorPtr& input : inputs) aside.take(input);
  for (std::size_t i = 0; i < roots.size(); ++i) {
    // What an earlier root frees, a later one may share.
    run_backward(roots[i], d_roots[i], retain_graph || i + 1 < roots.size());
  }
  std::vector<TensorPtr> found;
  for (const TensorPtr& input : inputs) found.push_back(input->grad);
  return found;
}

}  // namespace schuss

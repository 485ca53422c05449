// SPDX-License-Identifier: MIT
#include "autograd/tensor.hpp"

#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "base/fp_environment.hpp"

namespace schuss {
namespace {

Dims contiguous_strides(const Dims& shape) {
  Dims strides = shape;
  index_t stride = 1;
  for (int i = shape.rank - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

/// Calls visit(element of the strided tensor, its row-major number) for each element.
template <class T, class Visit>
void for_each_element(const Tensor& tensor, Visit visit) {
  Dims at = tensor.shape;
  for (int i = 0; i < at.rank; ++i) at[i] = 0;
  T* p = tensor.ptr<T>();
  const index_t n = tensor.count();
  for (index_t number = 0; number < n; ++number) {
    visit(*p, number);
    for (int i = at.rank - 1; i >= 0; --i) {
      p += tensor.strides[i];
      if (++at[i] < tensor.shape[i]) break;
      p -= tensor.strides[i] * tensor.shape[i];
      at[i] = 0;
    }
  }
}

}  // namespace

std::string to_string(const Dims& shape) {
  std::string text = "(";
  for (int i = 0; i < shape.rank; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  if (shape.rank == 1) text += ",";
  return text + ")";
}

bool Tensor::is_contiguous() const {
  index_t stride = 1;
  for (int i = shape.rank - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[i] != stride) return false;
    stride *= shape[i];
  }
  return true;
}

TensorPtr Tensor::make_grad() const { return make_tensor(dtype, shape); }

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

double Tensor::item() const {
  if (count() != 1) {
    throw ValueError("item: got a tensor of shape " + to_string(shape) +
                     "; expected one element (use .numpy() for the others)");
  }
  return dispatch_dtype(dtype, [&]<class T>() { return static_cast<double>(*ptr<T>()); });
}

namespace {

/// Throws std::bad_alloc when no memory could hold that shape.
index_t bytes_of(DType dtype, const Dims& shape) {
  index_t bytes = item_bytes(dtype);
  for (int i = 0; i < shape.rank; ++i) {
    if (__builtin_mul_overflow(bytes, shape[i], &bytes)) throw std::bad_alloc();
  }
  return bytes;
}

TensorPtr own_contiguous(DType dtype, const Dims& shape, AlignedBuffer<std::byte> memory) {
  auto tensor = std::make_shared<Tensor>();
  tensor->storage = std::make_shared<Storage>();
  tensor->storage->own = std::move(memory);
  tensor->data = tensor->storage->own.data();
  tensor->dtype = dtype;
  tensor->shape = shape;
  tensor->strides = contiguous_strides(shape);
  return tensor;
}

}  // namespace

TensorPtr make_tensor(DType dtype, const Dims& shape) {
  return own_contiguous(dtype, shape, AlignedBuffer<std::byte>(bytes_of(dtype, shape)));
}

TensorPtr make_tensor(DType dtype, const Dims& shape, Uninitialized tag) {
  return own_contiguous(dtype, shape, AlignedBuffer<std::byte>(bytes_of(dtype, shape), tag));
}

TensorPtr make_view(const Tensor& tensor, const Dims& shape) {
  auto view = std::make_shared<Tensor>();
  view->storage = tensor.storage;
  view->data = tensor.data;
  view->dtype = tensor.dtype;
  view->shape = shape;
  view->strides = contiguous_strides(shape);
  return view;
}

void copy_contiguous(const Tensor& tensor, void* to) {
  dispatch_dtype(tensor.dtype, [&]<class T>() {
    if (tensor.is_contiguous()) {
      const auto bytes = static_cast<std::size_t>(tensor.count()) * sizeof(T);
      if (bytes > 0) std::memcpy(to, tensor.data, bytes);
      return;
    }
    for_each_element<T>(tensor, [&](T& value, index_t i) { static_cast<T*>(to)[i] = value; });
  });
}

void write_contiguous(Tensor& tensor, const void* from) {
  dispatch_dtype(tensor.dtype, [&]<class T>() {
    for_each_element<T>(tensor,
                        [&](T& value, index_t i) { value = static_cast<const T*>(from)[i]; });
  });
  ++tensor.storage->version;
}

void accumulate_grad(Tensor& leaf, const Tensor& d) {
  dispatch_dtype(leaf.dtype, [&]<class T>() {
    const T* from = d.ptr<T>();
    if (leaf.grad == nullptr) {
      leaf.grad = leaf.make_grad();
      for_each_element<T>(*leaf.grad, [&](T& value, index_t i) { value = from[i]; });
    } else {
      for_each_element<T>(*leaf.grad, [&](T& value, index_t i) { value = value + from[i]; });
    }
  });
}

namespace {

/// Nodes reachable from `root`, each after everything that it feeds: the order of back-propagation.
std::vector<Node*> backward_order(Node* root) {
  struct Visit {
    Node* node;
    std::size_t next_input;
  };
  std::vector<Node*> finished;
  std::unordered_set<Node*> seen{root};
  std::vector<Visit> stack{{root, 0}};
  while (!stack.empty()) {
    Visit& top = stack.back();
    if (top.next_input == top.node->inputs.size()) {
      finished.push_back(top.node);
      stack.pop_back();
      continue;
    }
    const TensorPtr& input = top.node->inputs[top.next_input++];
    if (input != nullptr && input->grad_fn != nullptr && seen.insert(input->grad_fn.get()).second) {
      stack.push_back({input->grad_fn.get(), 0});
    }
  }
  return {finished.rbegin(), finished.rend()};
}

void add_in_place(Tensor& to, const Tensor& d) {
  dispatch_dtype(to.dtype, [&]<class T>() {
    T* sum = to.ptr<T>();
    const T* from = d.ptr<T>();
    const index_t n = to.count();
    for (index_t i = 0; i < n; ++i) sum[i] = sum[i] + from[i];
  });
}

TensorPtr starting_gradient(const Tensor& root, const TensorPtr& given) {
  if (given != nullptr) {
    if (!(given->shape == root.shape)) {
      throw ValueError("backward: gradient has shape " + to_string(given->shape) + "; expected " +
                       to_string(root.shape) + ", the shape of the tensor");
    }
    if (given->dtype == root.dtype && given->is_contiguous()) return given;
    TensorPtr copy = make_tensor(root.dtype, root.shape);
    dispatch_dtype(given->dtype, [&]<class From>() {
      dispatch_dtype(root.dtype, [&]<class To>() {
        for_each_element<From>(
            *given, [&](From& value, index_t i) { copy->ptr<To>()[i] = static_cast<To>(value); });
      });
    });
    return copy;
  }
  if (root.count() != 1) {
    throw StateError("backward: the tensor has shape " + to_string(root.shape) +
                     " and needs a gradient of that shape; pass backward(gradient), or reduce it "
                     "to one number first");
  }
  TensorPtr one = make_tensor(root.dtype, root.shape);
  dispatch_dtype(root.dtype, [&]<class T>() { *one->ptr<T>() = T(1); });
  return one;
}

}  // namespace

void run_backward(const TensorPtr& root, const TensorPtr& d_root, bool retain_graph) {
  const FpEnvironment environment;
  if (root->grad_fn == nullptr && !root->requires_grad) {
    throw StateError(
        "backward: the tensor has no history; compute it from a model or a parameter that requires "
        "gradients, outside no_grad()");
  }
  const TensorPtr start = starting_gradient(*root, d_root);
  if (root->grad_fn == nullptr) return accumulate_grad(*root, *start);

  const std::vector<Node*> order = backward_order(root->grad_fn.get());
  for (const Node* node : order) node->check();

  struct Pending {
    TensorPtr d;
    bool ours = false;  // may be added to in place
  };
  std::unordered_map<Node*, Pending> pending;
  pending[root->grad_fn.get()] = {start, false};
  for (Node* node : order) {
    const auto found = pending.find(node);
    if (found == pending.end()) continue;
    const TensorPtr d = found->second.d;
    pending.erase(found);
    node->backward(*d, retain_graph);
    for (std::size_t i = 0; i < node->inputs.size(); ++i) {
      const TensorPtr& input = node->inputs[i];
      const TensorPtr d_input = node->d_inputs[i];
      if (input == nullptr || d_input == nullptr) continue;
      if (input->grad_fn == nullptr) {
        if (input->requires_grad) accumulate_grad(*input, *d_input);
        continue;
      }
      Pending& waiting = pending[input->grad_fn.get()];
      if (waiting.d == nullptr) {
        waiting = {d_input, false};
        continue;
      }
      if (!waiting.ours) {
        TensorPtr copy = make_tensor(waiting.d->dtype, waiting.d->shape);
        copy_contiguous(*waiting.d, copy->data);
        waiting = {copy, true};
      }
      add_in_place(*waiting.d, *d_input);
    }
    node->d_inputs.assign(node->inputs.size(), nullptr);
  }
}

}  // namespace schuss

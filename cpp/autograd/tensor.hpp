// SPDX-License-Identifier: MIT
/// Tensors, and the graph that remembers how each was computed.
#pragma once

#include <array>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "base/dtype.hpp"
#include "base/require.hpp"

namespace schuss {

inline constexpr int kMaxRank = 8;

/// Up to kMaxRank sizes or strides, without an allocation.
struct Dims {
  int rank = 0;
  std::array<index_t, kMaxRank> at{};

  Dims() = default;
  Dims(std::initializer_list<index_t> sizes) {
    for (const index_t n : sizes) at[static_cast<std::size_t>(rank++)] = n;
  }
  index_t operator[](int i) const { return at[static_cast<std::size_t>(i)]; }
  index_t& operator[](int i) { return at[static_cast<std::size_t>(i)]; }
  index_t count() const {
    index_t n = 1;
    for (int i = 0; i < rank; ++i) n *= (*this)[i];
    return n;
  }
  bool operator==(const Dims& other) const {
    if (rank != other.rank) return false;
    for (int i = 0; i < rank; ++i) {
      if ((*this)[i] != other[i]) return false;
    }
    return true;
  }
};

/// "(3, 4)", "(3,)" or "()", as Python prints a tuple.
std::string to_string(const Dims& shape);

/// Memory that tensors share: our own, or a user's array kept alive by `owner`.
/// `version` counts the writes made through schuss; a backward pass whose inputs moved on raises.
struct Storage {
  AlignedBuffer<std::byte> own;
  std::shared_ptr<void> owner;
  std::uint64_t version = 0;
};

class Node;

/// A handle to strided elements, and its place in the graph.
struct Tensor {
  std::shared_ptr<Storage> storage;
  std::byte* data = nullptr;  // first element
  DType dtype = DType::kFloat32;
  Dims shape;
  Dims strides;  // elements
  bool requires_grad = false;
  bool is_view = false;           // shares the elements of another tensor by an operation
  std::shared_ptr<Node> grad_fn;  // null: a leaf
  std::shared_ptr<Tensor> grad;   // of leaves, and where retain_grad was called; null: None

  virtual ~Tensor() = default;
  /// A zeroed tensor for this one's gradient.
  virtual std::shared_ptr<Tensor> make_grad() const;
  /// Whether any contiguous tensor may be this one's gradient.
  virtual bool grad_is_plain() const { return true; }
  /// Elements from `data` on that belong to it, and to its gradient, padding included.
  virtual index_t extent() const { return count(); }

  template <class T>
  T* ptr() const {
    return reinterpret_cast<T*>(data);
  }
  bool is_leaf() const { return grad_fn == nullptr; }
  index_t count() const { return shape.count(); }
  bool is_contiguous() const;
  /// Value of a tensor of one element.
  double item() const;
};
using TensorPtr = std::shared_ptr<Tensor>;

/// Row-major strides.
Dims contiguous_strides(const Dims& shape);

/// A new contiguous tensor; the elements are zero.
TensorPtr make_tensor(DType dtype, const Dims& shape);
/// The same, for elements that will be written before they are read.
TensorPtr make_tensor(DType dtype, const Dims& shape, Uninitialized);

/// Another handle to the same elements, outside any graph.
TensorPtr detached(const Tensor& tensor);

/// A view of another tensor's elements with another shape (both contiguous), outside any graph.
TensorPtr make_view(const Tensor& tensor, const Dims& shape);

/// The tensor where its elements lie in row-major order, else a copy outside any graph.
TensorPtr contiguous(const TensorPtr& tensor);

/// to[...] = tensor[...] in row-major order; `to` has count() elements of its dtype.
void copy_contiguous(const Tensor& tensor, void* to);

/// tensor[...] = from[...] in row-major order, in place, and a new version of its storage.
void write_contiguous(Tensor& tensor, const void* from);

/// A new contiguous tensor of another dtype, each element converted in one correctly rounded step
/// (to integers: towards zero; to bool: x != 0), outside any graph.
TensorPtr converted(const Tensor& tensor, DType dtype);

/// An operation that made a tensor.
class Node {
 public:
  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  /// Frees a chain of nodes one by one: a chain of any length, without recursion.
  virtual ~Node();
  /// What PyTorch would call it: "AddBackward0".
  virtual const char* name() const = 0;
  /// Throws StateError when a tensor that backward needs was changed since, or was freed.
  virtual void check() const = 0;
  /// `d_output`: the gradient of what this node made, same shape and dtype, contiguous. Fills
  /// `d_inputs` (contiguous, or as a leaf's `make_grad`; null where none is needed; `d_output`
  /// itself where it is passed on) and adds to parameters' gradients. Without `retain` it may free
  /// what the forward pass saved.
  virtual void backward(const TensorPtr& d_output, bool retain) = 0;
  /// Frees what the forward pass saved, after a backward pass that does not retain the graph.
  virtual void release() {}

  std::vector<TensorPtr> inputs;  // what backward hands gradients to; null: nothing
  std::vector<TensorPtr> d_inputs;
  std::weak_ptr<Tensor> retained;  // what it made, where that keeps its gradient

 private:
  friend void remember(const TensorPtr&, std::shared_ptr<Node>);
  friend class BackwardPass;
  std::uint64_t level_ = 0;       // larger than that of every node that it follows from
  std::uint64_t visited_ = 0;     // the number of the pass that saw it last
  TensorPtr pending_;             // the gradient gathered so far
  bool pending_is_ours_ = false;  // it may be added to in place
};

/// output.grad_fn = node, whose inputs are set, and output requires a gradient.
void remember(const TensorPtr& output, std::shared_ptr<Node> node);

/// Back-propagates from `root` with gradient `d_root` (null: 1, for a single element) to every leaf
/// that requires a gradient. Iterative, so a graph may be deep. Everything is checked before
/// anything changes. Throws StateError when `root` has no history or part of it was freed.
void run_backward(const TensorPtr& root, const TensorPtr& d_root, bool retain_graph);

/// leaf.grad = d, or leaf.grad + d in place; d is contiguous, or as the leaf's `make_grad`. A `d`
/// that nobody else holds may be kept itself.
void accumulate_grad(Tensor& leaf, TensorPtr d);

}  // namespace schuss

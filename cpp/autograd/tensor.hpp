// SPDX-License-Identifier: MIT
/// Tensors, and the graph that remembers how each was computed.
#pragma once

#include <array>
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
  std::shared_ptr<Node> grad_fn;  // null: a leaf
  std::shared_ptr<Tensor> grad;   // leaves only; null: None

  virtual ~Tensor() = default;
  /// A zeroed tensor for this one's gradient.
  virtual std::shared_ptr<Tensor> make_grad() const;

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

/// A new contiguous tensor; the elements are zero.
TensorPtr make_tensor(DType dtype, const Dims& shape);
/// The same, for elements that will be written before they are read.
TensorPtr make_tensor(DType dtype, const Dims& shape, Uninitialized);

/// A view of another tensor's elements with another shape (both contiguous), outside any graph.
TensorPtr make_view(const Tensor& tensor, const Dims& shape);

/// to[...] = tensor[...] in row-major order; `to` has count() elements of its dtype.
void copy_contiguous(const Tensor& tensor, void* to);

/// tensor[...] = from[...] in row-major order, in place, and a new version of its storage.
void write_contiguous(Tensor& tensor, const void* from);

/// An operation that made a tensor.
class Node {
 public:
  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  /// Frees a chain of nodes one by one: a chain of any length, without recursion.
  virtual ~Node();
  /// Throws StateError when a tensor that backward needs was changed since, or was freed.
  virtual void check() const = 0;
  /// `d_output`: the gradient of what this node made, same shape and dtype, contiguous. Fills
  /// `d_inputs` (contiguous; null where an input needs none) and adds to parameters' gradients.
  /// Without `retain` it frees what the forward pass saved.
  virtual void backward(const Tensor& d_output, bool retain) = 0;

  std::vector<TensorPtr> inputs;  // what backward hands gradients to; null: nothing
  std::vector<TensorPtr> d_inputs;
};

/// Back-propagates from `root` with gradient `d_root` (null: 1, for a single element) to every leaf
/// that requires a gradient. Iterative, so a graph may be deep. Everything is checked before
/// anything changes. Throws StateError when `root` has no history or part of it was freed.
void run_backward(const TensorPtr& root, const TensorPtr& d_root, bool retain_graph);

/// leaf.grad = d, or leaf.grad + d in place; d is contiguous.
void accumulate_grad(Tensor& leaf, const Tensor& d);

}  // namespace schuss

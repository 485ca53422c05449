// SPDX-License-Identifier: MIT
#include "autograd/tensor.hpp"

#include <cstring>

#include "autograd/strided.hpp"
#include "base/block_cache.hpp"

namespace schuss {

Dims contiguous_strides(const Dims& shape) {
  Dims strides = shape;
  index_t stride = 1;
  for (int i = shape.rank - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

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

double Tensor::item() const {
  if (count() != 1) {
    throw ValueError("item: got a tensor of shape " + to_string(shape) +
                     "; expected one element (use .tolist() for all of them)");
  }
  return dispatch_any(dtype, [&]<class T>() { return static_cast<double>(*ptr<T>()); });
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
  auto tensor = std::allocate_shared<Tensor>(BlockAllocator<Tensor>());
  tensor->storage = std::allocate_shared<Storage>(BlockAllocator<Storage>());
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

TensorPtr detached(const Tensor& tensor) {
  auto copy = std::allocate_shared<Tensor>(BlockAllocator<Tensor>());
  copy->storage = tensor.storage;
  copy->data = tensor.data;
  copy->dtype = tensor.dtype;
  copy->shape = tensor.shape;
  copy->strides = tensor.strides;
  return copy;
}

TensorPtr make_view(const Tensor& tensor, const Dims& shape) {
  TensorPtr view = detached(tensor);
  view->shape = shape;
  view->strides = contiguous_strides(shape);
  return view;
}

TensorPtr contiguous(const TensorPtr& tensor) {
  if (tensor->is_contiguous()) return tensor;
  TensorPtr copy = make_tensor(tensor->dtype, tensor->shape, Uninitialized{});
  copy_contiguous(*tensor, copy->data);
  return copy;
}

void copy_contiguous(const Tensor& tensor, void* to) {
  if (tensor.is_contiguous()) {
    const auto bytes = static_cast<std::size_t>(tensor.count() * item_bytes(tensor.dtype));
    if (bytes > 0) std::memcpy(to, tensor.data, bytes);
    return;
  }
  dispatch_any(tensor.dtype, [&]<class T>() {
    auto* next = static_cast<T*>(to);
    const StridedLoop<1> runs(tensor.shape, {tensor.strides});
    if (runs.rank == 0)
      return copy_matrix<T>(tensor.ptr<T>(), 0, runs.step[0], 1, runs.length, next, runs.length);
    StridedLoop<1> matrices = runs;  // the runs of the innermost dimension around them
    const auto last = static_cast<std::size_t>(--matrices.rank);
    matrices.each([&](const std::array<index_t, 1>& offset) {
      copy_matrix<T>(tensor.ptr<T>() + offset[0], runs.stride[last][0], runs.step[0],
                     runs.size[last], runs.length, next, runs.length);
      next += runs.size[last] * runs.length;
    });
  });
}

void write_contiguous(Tensor& tensor, const void* from) {
  dispatch_any(tensor.dtype, [&]<class T>() {
    const auto* next = static_cast<const T*>(from);
    for_each_run<T>(tensor, [&](T* run, index_t step, index_t n) {
      for (index_t i = 0; i < n; ++i) run[i * step] = next[i];
      next += n;
    });
  });
  ++tensor.storage->version;
}

namespace {

template <class To, class From>
To convert(From x) {
  if constexpr (std::is_same_v<To, bool>) {
    return x != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    // Outside the range a cast is undefined: the smallest integer, as x86 has it.
    const bool fits = x >= From(-0x1p63) && x < From(0x1p63);
    return fits ? static_cast<To>(x) : std::numeric_limits<To>::min();
  } else {
    return static_cast<To>(x);
  }
}

}  // namespace

TensorPtr converted(const Tensor& tensor, DType dtype) {
  TensorPtr made = make_tensor(dtype, tensor.shape, Uninitialized{});
  dispatch_any(tensor.dtype, [&]<class From>() {
    dispatch_any(dtype, [&]<class To>() {
      To* next = made->ptr<To>();
      for_each_run<From>(tensor, [&](const From* run, index_t step, index_t n) {
        for (index_t i = 0; i < n; ++i) next[i] = convert<To>(run[i * step]);
        next += n;
      });
    });
  });
  return made;
}

}  // namespace schuss

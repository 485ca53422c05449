// SPDX-License-Identifier: MIT
#include "nn/parameter.hpp"

#include <cstring>
#include <limits>

#include "kernels/kernels.hpp"

namespace schuss {
namespace {

/// Of a weight seen as (n_out, n_in), its rows in memory `ld` apart: narrow [out, in], else [in, out].
Dims weight_strides(index_t n_out, index_t ld) {
  return is_narrow(n_out) ? Dims{ld, 1} : Dims{1, ld};
}

index_t padded_count(DType dtype, index_t n) {
  return dtype == DType::kFloat32 ? padded<float>(n) : padded<double>(n);
}

ParameterPtr view_segment(const std::shared_ptr<Storage>& storage, DType dtype, index_t offset,
                          Layout layout) {
  auto parameter = std::make_shared<Parameter>();
  parameter->storage = storage;
  parameter->dtype = dtype;
  parameter->data = storage->own.data() + offset * item_bytes(dtype);
  parameter->layout = layout;
  parameter->requires_grad = true;
  return parameter;
}

}  // namespace

TensorPtr make_like(const Parameter& parameter, Uninitialized tag) {
  auto tensor = std::allocate_shared<Tensor>(BlockAllocator<Tensor>());
  tensor->storage = std::allocate_shared<Storage>(BlockAllocator<Storage>());
  tensor->storage->own =
      AlignedBuffer<std::byte>(parameter.layout.extent() * item_bytes(parameter.dtype), tag);
  tensor->data = tensor->storage->own.data();
  tensor->dtype = parameter.dtype;
  tensor->shape = parameter.shape;
  tensor->strides = parameter.strides;
  return tensor;
}

TensorPtr make_like(const Parameter& parameter) {
  TensorPtr tensor = make_like(parameter, Uninitialized{});
  const AlignedBuffer<std::byte>& memory = tensor->storage->own;
  if (!memory.empty()) std::memset(tensor->data, 0, static_cast<std::size_t>(memory.size()));
  return tensor;
}

TensorPtr Parameter::make_grad() const { return make_like(*this); }

ParameterPtr make_parameter(DType dtype, const Dims& shape) {
  const index_t n = shape.count();
  auto storage = std::make_shared<Storage>();
  storage->own = AlignedBuffer<std::byte>(padded_count(dtype, n) * item_bytes(dtype));
  auto parameter = view_segment(storage, dtype, 0, {1, n, padded_count(dtype, n)});
  parameter->shape = shape;
  parameter->strides = shape;
  index_t stride = 1;
  for (int i = shape.rank - 1; i >= 0; --i) {
    parameter->strides[i] = stride;
    stride *= shape[i];
  }
  return parameter;
}

LinearParameters make_linear(DType dtype, index_t n_in, index_t n_out, bool bias) {
  require(n_in > 0, "Linear: in_features must be positive");
  require(n_out > 0, "Linear: out_features must be positive");
  const bool narrow = is_narrow(n_out);
  const index_t rows = narrow ? n_out : n_in;
  const index_t cols = narrow ? n_in : n_out;
  constexpr index_t kMost = std::numeric_limits<index_t>::max() / 64;
  require(cols < kMost && rows < kMost / (cols + 64), "Linear: the weight would not fit in memory");
  const index_t ld = padded_count(dtype, cols);
  const index_t bias_extent = bias ? padded_count(dtype, n_out) : 0;

  auto storage = std::make_shared<Storage>();
  storage->own = AlignedBuffer<std::byte>((rows * ld + bias_extent) * item_bytes(dtype));
  LinearParameters made;
  made.weight = view_segment(storage, dtype, 0, {rows, cols, ld});
  made.weight->shape = {n_out, n_in};
  made.weight->strides = weight_strides(n_out, ld);
  if (bias) {
    made.bias = view_segment(storage, dtype, rows * ld, {1, n_out, bias_extent});
    made.bias->shape = {n_out};
    made.bias->strides = {1};
  }
  return made;
}

ParameterPtr as_layer_weight(const TensorPtr& tensor) {
  const auto parameter = std::dynamic_pointer_cast<Parameter>(tensor);
  if (parameter == nullptr || parameter->shape.rank != 2) return nullptr;
  const index_t n_out = parameter->shape[0];
  const index_t n_in = parameter->shape[1];
  const index_t ld = padded_count(parameter->dtype, is_narrow(n_out) ? n_in : n_out);
  return parameter->strides == weight_strides(n_out, ld) ? parameter : nullptr;
}

ParameterPtr as_layer_bias(const TensorPtr& tensor) {
  const auto parameter = std::dynamic_pointer_cast<Parameter>(tensor);
  return parameter != nullptr && parameter->shape.rank == 1 ? parameter : nullptr;
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// nn.functional.linear: whatever the user passes becomes tensors of one dtype, held in place where
/// possible.
#include <pybind11/numpy.h>

#include <optional>

#include "autograd/recording.hpp"
#include "bindings/slots.hpp"
#include "bindings/tensor_object.hpp"

namespace schuss::bindings {
namespace {

/// Work (multiply-adds) above which giving other Python threads the interpreter is worth its cost.
constexpr double kReleaseWork = 1e6;

/// A tensor that shares the memory of an ndarray; null where its elements are not `dtype` as they lie.
TensorPtr shared_array(py::handle object, DType dtype) {
  if (Py_TYPE(object.ptr()) != py::detail::npy_api::get().PyArray_Type_) return nullptr;
  const auto array = py::reinterpret_borrow<py::array>(object);
  const auto item = static_cast<py::ssize_t>(item_bytes(dtype));
  const auto* descriptor =
      py::detail::array_descriptor_proxy(py::detail::array_proxy(array.ptr())->descr);
  constexpr int kFlagAligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  const bool fits = descriptor->type_num == numpy_dtype(dtype).num() &&
                    descriptor->byteorder == '=' && array.ndim() <= kMaxRank &&
                    (array.flags() & kFlagAligned) != 0;
  if (!fits) return nullptr;
  auto made = std::allocate_shared<Tensor>(BlockAllocator<Tensor>());
  made->dtype = dtype;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    if (array.strides(i) % item != 0) return nullptr;
    made->shape[made->shape.rank++] = array.shape(i);
    made->strides[made->strides.rank++] = array.strides(i) / item;
  }
  made->storage = std::allocate_shared<Storage>(BlockAllocator<Storage>());
  made->data = static_cast<std::byte*>(const_cast<void*>(array.data()));
  made->storage->owner = keep_alive(array);
  return made;
}

/// The elements in `dtype`; a tensor that must keep its history as it is.
TensorPtr parse(py::handle object, DType dtype, const char* name) {
  if (TensorPtr given = tensor_or_null(object.ptr())) {
    if (given->dtype == dtype || given->requires_grad) return given;
    note_read(*given, "a conversion to another dtype");
    return copy_to_tensor(to_numpy(given), dtype, name);
  }
  if (TensorPtr shared = shared_array(object, dtype)) return shared;
  return copy_to_tensor(object, dtype, name);
}

DType dtype_of_weight(py::handle weight) {
  DType dtype = DType::kFloat32;
  if (const TensorPtr given = tensor_or_null(weight.ptr())) {
    dtype = given->dtype;
  } else if (py::isinstance<py::array>(weight)) {
    const py::dtype of = py::reinterpret_borrow<py::array>(weight).dtype();
    if (of.num() == py::dtype::num_of<double>()) dtype = DType::kFloat64;
  }
  return is_floating(dtype) ? dtype : DType::kFloat32;
}

TensorPtr reshaped(const TensorPtr& x, const Dims& shape) {
  OpAttributes attributes;
  attributes.shape = shape;
  return apply(Op::kReshape, attributes, {x});
}

TensorPtr apply_linear(const TensorPtr& x, const TensorPtr& weight, const TensorPtr& bias) {
  const double work = static_cast<double>(x->count()) *
                      static_cast<double>(weight->shape.rank == 2 ? weight->shape[0] : 1);
  std::optional<py::gil_scoped_release> release;
  // The tensors are held here; who listens may be Python's.
  if (work >= kReleaseWork && op_listener() == nullptr) release.emplace();
  return apply(Op::kLinear, {}, {x, weight, bias});
}

TensorPtr linear(py::handle x_given, py::handle weight_given, py::handle bias_given) {
  const DType dtype = dtype_of_weight(weight_given);
  const TensorPtr weight = parse(weight_given, dtype, "weight");
  const TensorPtr x = parse(x_given, dtype, "input");
  const TensorPtr bias = bias_given.is_none() ? nullptr : parse(bias_given, dtype, "bias");
  if (weight->shape.rank != 1) return apply_linear(x, weight, bias);
  // As PyTorch has it: one output, without a dimension for it.
  if (bias != nullptr && bias->shape.rank != 0) {
    throw ValueError("linear: bias has shape " + to_string(bias->shape) +
                     "; expected (), as weight has shape " + to_string(weight->shape));
  }
  const int rank = x->shape.rank;
  if (rank == 0 || x->shape[rank - 1] != weight->shape[0]) {
    throw ValueError("linear: input has shape " + to_string(x->shape) + "; expected (..., " +
                     std::to_string(weight->shape[0]) + "), as weight has shape " +
                     to_string(weight->shape));
  }
  const TensorPtr column = apply_linear(x, reshaped(weight, {1, weight->shape[0]}),
                                        bias == nullptr ? nullptr : reshaped(bias, {1}));
  Dims shape = column->shape;
  --shape.rank;
  return reshaped(column, shape);
}

PyObject* linear_function(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    if (count != 3) throw TypeError("linear: expected input, weight, and bias or None");
    return wrap(linear(arguments[0], arguments[1], arguments[2]));
  });
}

}  // namespace

void register_linear(py::module_& m) {
  static PyMethodDef definition = {
      "linear", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&linear_function)),
      METH_FASTCALL, "linear($module, input, weight, bias, /)\n--\n\ninput @ weight.T + bias."};
  m.attr("linear") = py::reinterpret_steal<py::object>(PyCFunction_New(&definition, m.ptr()));
}

}  // namespace schuss::bindings

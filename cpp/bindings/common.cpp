// SPDX-License-Identifier: MIT
#include "bindings/common.hpp"

#include <pybind11/numpy.h>

#include <unistd.h>

#include <cstring>

#include "base/fp_environment.hpp"
#include "bindings/tensor_object.hpp"

namespace schuss::bindings {

std::shared_ptr<void> keep_alive(py::object object) {
  const auto release = [](PyObject* held) {
    if (Py_IsInitialized() == 0) return;  // the interpreter is gone, and its objects with it
    const py::gil_scoped_acquire gil;
    Py_DECREF(held);
  };
  return {object.release().ptr(), release, BlockAllocator<PyObject>()};
}

DType parse_dtype(py::handle dtype) {
  if (dtype.is_none()) return DType::kFloat32;
  py::dtype wanted = py::dtype::from_args(py::reinterpret_borrow<py::object>(dtype));
  if (wanted.is(py::dtype::of<float>()) || wanted.equal(py::dtype::of<float>())) {
    return DType::kFloat32;
  }
  if (wanted.equal(py::dtype::of<double>())) return DType::kFloat64;
  throw TypeError("dtype: got " + py::str(wanted).cast<std::string>() +
                  "; expected float32 or float64");
}

py::dtype numpy_dtype(DType dtype) {
  return dispatch_any(dtype, []<class T>() { return py::dtype::of<T>(); });
}

py::array to_numpy(const TensorPtr& tensor) {
  std::vector<py::ssize_t> shape;
  std::vector<py::ssize_t> strides;
  for (int i = 0; i < tensor->shape.rank; ++i) {
    shape.push_back(tensor->shape[i]);
    strides.push_back(tensor->strides[i] * item_bytes(tensor->dtype));
  }
  py::array array(numpy_dtype(tensor->dtype), shape, strides, tensor->data, py::cast(tensor));
  if (tensor->grad_fn != nullptr) {
    py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  }
  return array;
}

namespace {

Dims dims_of(const py::array& array, const char* name) {
  if (array.ndim() > kMaxRank) {
    throw ValueError(std::string(name) + ": got " + std::to_string(array.ndim()) +
                     " dimensions; expected at most " + std::to_string(kMaxRank));
  }
  Dims shape;
  shape.rank = static_cast<int>(array.ndim());
  for (int i = 0; i < shape.rank; ++i) shape[i] = array.shape(i);
  return shape;
}

}  // namespace

TensorPtr copy_to_tensor(py::handle object, DType dtype, const char* name) {
  if (py::isinstance<Tensor>(object)) {
    const auto given = object.cast<TensorPtr>();
    if (given->dtype == dtype) {
      TensorPtr copy = make_tensor(dtype, given->shape, Uninitialized{});
      copy_contiguous(*given, copy->data);
      return copy;
    }
  }
  const py::module_ numpy = py::module_::import("numpy");
  const bool is_array = py::isinstance<py::array>(object);
  const py::array array = is_array ? py::reinterpret_borrow<py::array>(object)
                                   : py::array(numpy.attr("asarray")(object));
  TensorPtr copy = make_tensor(dtype, dims_of(array, name));
  if (copy->count() == 0) return copy;
  // One or two dimensions are what parse_array takes; a list goes in as it came, for its errors.
  const bool flat = array.ndim() == 1 || array.ndim() == 2;
  const py::object rows =
      flat ? py::reinterpret_borrow<py::object>(object) : py::object(array.attr("reshape")(-1));
  const HeldRows held = convert_rows(parse_array(rows, name, ""), name, dtype);
  const auto row_bytes = static_cast<std::size_t>(held.cols * item_bytes(dtype));
  for (index_t r = 0; r < held.rows; ++r) {
    std::memcpy(copy->data + static_cast<std::size_t>(r) * row_bytes,
                static_cast<const std::byte*>(held.data) + r * held.ld * item_bytes(dtype),
                row_bytes);
  }
  return copy;
}

void assign_values(Parameter& parameter, py::handle values, const char* name) {
  const TensorPtr from = copy_to_tensor(values, parameter.dtype, name);
  if (!(from->shape == parameter.shape)) {
    throw ValueError(std::string(name) + ": got shape " + to_string(from->shape) + "; expected " +
                     to_string(parameter.shape));
  }
  write_contiguous(parameter, from->data);
}

HeldRows convert_rows(const InputArray& array, const char* name, DType dtype) {
  const FpEnvironment environment;
  HeldRows held;
  held.rows = array.view.rows;
  held.cols = array.view.cols;
  dispatch_dtype(dtype, [&]<class T>() {
    if (const T* direct = direct_rows<T>(array.view)) {
      held.data = direct;
      held.ld = direct_ld(array.view);
      held.owner = keep_alive(array.owner);
      return;
    }
    auto copy = std::make_shared<AlignedBuffer<T>>(held.rows * held.cols);
    held.ld = held.cols;
    held.data = copy->data();
    held.owner = copy;
    BadElement bad;
    if (!gather_rows<T>(array.view, nullptr, 0, held.rows, copy->data(), held.ld, &bad)) {
      throw ValueError(overflow_message(bad, array, name, dtype_name(dtype)));
    }
  });
  return held;
}

HeldRows hold_rows(py::handle x, const char* name, DType dtype, index_t cols,
                   const std::string& where) {
  if (TensorPtr tensor = tensor_or_null(x.ptr())) {
    const bool fits = tensor->shape.rank == 2 && (cols < 0 || tensor->shape[1] == cols);
    if (tensor->requires_grad) {
      if (tensor->dtype != dtype) {
        throw TypeError(where + ": " + name + " is a " + dtype_name(tensor->dtype) +
                        " tensor; expected " + dtype_name(dtype));
      }
      if (!fits) {
        throw ValueError(where + ": " + name + " has shape " + to_string(tensor->shape) +
                         "; expected (n, " + (cols < 0 ? "k" : std::to_string(cols)) + ")");
      }
    }
    if (fits && tensor->dtype == dtype && tensor->count() > 0) {
      if (!tensor->is_contiguous()) tensor = apply(Op::kClone, {}, {tensor});
      return {tensor->data, tensor->shape[0], tensor->shape[1], tensor->shape[1], tensor, tensor};
    }
    return convert_rows(parse_features(to_numpy(tensor), name, cols, where), name, dtype);
  }
  return convert_rows(parse_features(x, name, cols, where), name, dtype);
}

namespace {

/// A thread that Python would end where it stands, in the middle of our frames, waits instead for
/// the process to go away (as Python 3.14 has it do).
void wait_out_finalization() {
#if PY_VERSION_HEX >= 0x030D0000
  const bool ending = Py_IsFinalizing() != 0;
#else
  const bool ending = _Py_IsFinalizing() != 0;
#endif
  while (ending) pause();
}

}  // namespace

bool signal_pending() {
  wait_out_finalization();
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

}  // namespace schuss::bindings

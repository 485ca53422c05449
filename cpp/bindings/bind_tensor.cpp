// SPDX-License-Identifier: MIT
/// Tensor and Parameter.
#include <pybind11/numpy.h>
#include <pybind11/operators.h>
#include <pybind11/stl.h>

#include <cmath>

#include "autograd/scalar_ops.hpp"
#include "bindings/common.hpp"
#include "kernels/kernels.hpp"

namespace schuss::bindings {
namespace {

py::tuple shape_of(const Tensor& tensor) {
  py::tuple shape(static_cast<std::size_t>(tensor.shape.rank));
  for (int i = 0; i < tensor.shape.rank; ++i) {
    shape[static_cast<std::size_t>(i)] = py::int_(tensor.shape[i]);
  }
  return shape;
}

bool is_number(py::handle object) {
  return PyFloat_Check(object.ptr()) || PyLong_Check(object.ptr()) ||
         (!py::isinstance<py::array>(object) && PyNumber_Check(object.ptr()) != 0 &&
          py::hasattr(object, "__float__") && !py::isinstance<Tensor>(object) &&
          !PyComplex_Check(object.ptr()));
}

/// For operators that tensors do not have.
[[noreturn]] void no_expression(const char* what) {
  throw TypeError(
      std::string(what) +
      ": tensors that remember their history have + - * / on single numbers; use one of "
      "nn's losses, or output.backward(d_output) with a gradient of your own; "
      ".detach().numpy() gives the values");
}

/// Arithmetic is for tensors of one element; everything else says what to use instead.
py::object arithmetic(ScalarOp op, const char* sign, py::handle left, py::handle right) {
  const auto operand = [&](py::handle object) -> std::optional<ScalarOperand> {
    if (py::isinstance<Tensor>(object)) {
      auto tensor = object.cast<TensorPtr>();
      if (tensor->count() != 1) {
        throw TypeError(std::string("operator ") + sign + ": got a tensor of shape " +
                        to_string(tensor->shape) +
                        "; expressions work on tensors of one element (a cost). Use one of nn's "
                        "losses, or output.backward(d_output) with a gradient of your own; "
                        ".detach().numpy() gives the values");
      }
      return ScalarOperand{tensor, 0.0};
    }
    if (is_number(object)) {
      return ScalarOperand{nullptr, py::float_(py::reinterpret_borrow<py::object>(object))};
    }
    return std::nullopt;
  };
  const auto a = operand(left);
  const auto b = right ? operand(right) : ScalarOperand{};
  if (!a || !b) no_expression((std::string("operator ") + sign).c_str());
  return py::cast(scalar_op(op, *a, *b, grad_enabled()));
}

py::object compare(const TensorPtr& self, py::handle other, int op) {
  const py::object left = to_numpy(self);
  const py::object right = py::isinstance<Tensor>(other)
                               ? py::object(to_numpy(other.cast<TensorPtr>()))
                               : py::reinterpret_borrow<py::object>(other);
  PyObject* result = PyObject_RichCompare(left.ptr(), right.ptr(), op);
  if (result == nullptr) throw py::error_already_set();
  const auto object = py::reinterpret_steal<py::object>(result);
  if (self->shape.rank == 0 && !py::isinstance<py::array>(object)) {
    return py::bool_(object.cast<bool>());
  }
  return object;
}

TensorPtr detached(const TensorPtr& self) {
  auto copy = std::make_shared<Tensor>();
  copy->storage = self->storage;
  copy->data = self->data;
  copy->dtype = self->dtype;
  copy->shape = self->shape;
  copy->strides = self->strides;
  return copy;
}

std::string repr(const TensorPtr& self, const char* type) {
  std::string values = py::str(py::module_::import("numpy").attr("array2string")(
                                   to_numpy(self), py::arg("separator") = ", "))
                           .cast<std::string>();
  std::string text = std::string(type) + "(" + values + ", dtype=" + dtype_name(self->dtype);
  if (self->grad_fn == nullptr && self->requires_grad) text += ", requires_grad=True";
  if (self->grad_fn != nullptr) text += ", has history";
  return text + ")";
}

void backward(const TensorPtr& self, const py::object& gradient, bool retain_graph) {
  const TensorPtr d =
      gradient.is_none() ? nullptr : copy_to_tensor(gradient, self->dtype, "gradient");
  run_backward(self, d, retain_graph);
}

void set_grad(Tensor& self, const py::object& value) {
  if (!self.is_leaf()) throw TypeError("grad: only a leaf (a parameter) has one");
  if (value.is_none()) {
    self.grad = nullptr;
    return;
  }
  const TensorPtr from = copy_to_tensor(value, self.dtype, "grad");
  if (!(from->shape == self.shape)) {
    throw ValueError("grad: got shape " + to_string(from->shape) + "; expected " +
                     to_string(self.shape));
  }
  auto* parameter = dynamic_cast<Parameter*>(&self);
  const TensorPtr grad =
      parameter != nullptr ? make_like(*parameter) : make_tensor(self.dtype, self.shape);
  write_contiguous(*grad, from->data);
  self.grad = grad;
}

py::object array_protocol(const TensorPtr& self, const py::object& dtype, const py::object& copy) {
  const py::object array = to_numpy(self);
  const bool want_copy = !copy.is_none() && copy.cast<bool>();
  if (!dtype.is_none() && !numpy_dtype(self->dtype).equal(py::dtype::from_args(dtype))) {
    if (!copy.is_none() && !want_copy) {
      throw ValueError("__array__: another dtype needs a copy; got copy=False");
    }
    return array.attr("astype")(dtype);
  }
  return want_copy ? array.attr("copy")() : array;
}

ParameterPtr new_parameter(const py::object& data, bool requires_grad) {
  DType dtype = DType::kFloat32;
  if (py::isinstance<Tensor>(data)) {
    dtype = data.cast<TensorPtr>()->dtype;
  } else if (py::isinstance<py::array>(data) &&
             py::reinterpret_borrow<py::array>(data).dtype().equal(py::dtype::of<double>())) {
    dtype = DType::kFloat64;
  }
  const TensorPtr values = copy_to_tensor(data, dtype, "data");
  ParameterPtr made = make_parameter(dtype, values->shape);
  write_contiguous(*made, values->data);
  made->requires_grad = requires_grad;
  return made;
}

/// (values, lies like a dense layer's weight, requires_grad, grad): pickling keeps the layout.
py::tuple parameter_state(const ParameterPtr& self) {
  const bool plain = self->layout.rows == 1 && self->shape[0] != 1 && self->strides[1] == 1;
  const bool weight = self->shape.rank == 2 && !plain;
  const py::object grad = self->grad == nullptr ? py::none() : to_numpy(self->grad).attr("copy")();
  return py::make_tuple(to_numpy(self).attr("copy")("C"), weight, self->requires_grad, grad);
}

ParameterPtr parameter_from_state(const py::tuple& state) {
  const py::array values = state[0];
  const DType dtype = parse_dtype(values.dtype());
  ParameterPtr made;
  if (state[1].cast<bool>()) {
    made = make_linear(dtype, values.shape(1), values.shape(0), false).weight;
  } else {
    Dims shape;
    for (py::ssize_t i = 0; i < values.ndim(); ++i)
      shape.at[static_cast<std::size_t>(shape.rank++)] = values.shape(i);
    made = make_parameter(dtype, shape);
  }
  assign_values(*made, values, "state");
  made->requires_grad = state[2].cast<bool>();
  set_grad(*made, state[3]);
  return made;
}

[[noreturn]] void no_indexing() {
  throw TypeError(
      "indexing a tensor is not differentiable here; use .detach().numpy()[...] for its values");
}

LinearParameters make_linear_or_say_why(DType dtype, index_t n_in, index_t n_out, bool bias) {
  try {
    return make_linear(dtype, n_in, n_out, bias);
  } catch (const std::bad_alloc&) {
    py::set_error(PyExc_MemoryError,
                  ("Linear(" + std::to_string(n_in) + ", " + std::to_string(n_out) +
                   "): there is not enough memory for " + std::to_string(n_in) + " x " +
                   std::to_string(n_out) + " weights; use smaller sizes")
                      .c_str());
    throw py::error_already_set();
  }
}

}  // namespace

void register_tensor(py::module_& m) {
  py::class_<Tensor, TensorPtr> tensor(
      m, "Tensor",
      "Output of a model or a loss: values, and how they were computed.\n\n"
      "Not an ndarray; ``np.asarray(t)`` and ``t.numpy()`` give one.");
  tensor.def_property_readonly("shape", &shape_of, "Sizes, a tuple.")
      .def_property_readonly("ndim", [](const Tensor& t) { return t.shape.rank; })
      .def_property_readonly("size", [](const Tensor& t) { return t.count(); })
      .def_property_readonly("dtype", [](const Tensor& t) { return numpy_dtype(t.dtype); })
      .def_property(
          "requires_grad", [](const Tensor& t) { return t.requires_grad; },
          [](Tensor& t, bool wanted) {
            if (!t.is_leaf()) {
              throw StateError(
                  "requires_grad: can be changed on leaves only; use .detach() for a tensor "
                  "without "
                  "history");
            }
            t.requires_grad = wanted;
          })
      .def_property_readonly("is_leaf", &Tensor::is_leaf)
      .def_property(
          "grad", [](const Tensor& t) { return t.grad; }, &set_grad,
          "Gradient (a leaf's), or None. Assigning copies and checks the shape.")
      .def("numpy", &to_numpy, "The values as an ndarray that shares memory.")
      .def("detach", &detached, "The same values without history.")
      .def("item", &Tensor::item, "The value of a tensor of one element, as a float.")
      .def("tolist", [](const TensorPtr& t) { return to_numpy(t).attr("tolist")(); })
      .def(
          "argmax",
          [](const TensorPtr& t, const py::object& axis) {
            return to_numpy(t).attr("argmax")(py::arg("axis") = axis);
          },
          py::arg("axis") = py::none(), "Index of the largest value, as NumPy's argmax.")
      .def("backward", &backward, py::arg("gradient") = py::none(), py::arg("retain_graph") = false,
           "Back-propagates to the parameters' ``grad``.")
      .def("__array__", &array_protocol, py::arg("dtype") = py::none(),
           py::arg("copy") = py::none())
      .def("__len__",
           [](const Tensor& t) {
             if (t.shape.rank == 0) throw TypeError("len() of a tensor of no dimensions");
             return t.shape[0];
           })
      .def("__float__", &Tensor::item)
      .def("__int__", [](const Tensor& t) { return py::int_(py::float_(t.item())); })
      .def("__bool__", [](const Tensor& t) { return t.item() != 0.0; })
      .def("__format__",
           [](const TensorPtr& t, const std::string& spec) -> py::object {
             if (spec.empty() || t->count() != 1)
               return py::str(py::cast(t)).attr("__format__")(spec);
             return py::float_(t->item()).attr("__format__")(spec);
           })
      .def("__repr__", [](const TensorPtr& t) { return repr(t, "Tensor"); })
      .def("__getitem__", [](const Tensor&, const py::object&) { no_indexing(); })
      .def("__iter__", [](const Tensor&) { no_indexing(); })
      .def("__hash__", [](const Tensor& t) { return reinterpret_cast<std::uintptr_t>(&t) >> 4; });
  const auto binary = [&](const char* name, const char* reflected, const char* sign, ScalarOp op) {
    tensor.def(name, [op, sign](const py::object& self, const py::object& other) {
      return arithmetic(op, sign, self, other);
    });
    tensor.def(reflected, [op, sign](const py::object& self, const py::object& other) {
      return arithmetic(op, sign, other, self);
    });
  };
  binary("__add__", "__radd__", "+", ScalarOp::kAdd);
  binary("__sub__", "__rsub__", "-", ScalarOp::kSub);
  binary("__mul__", "__rmul__", "*", ScalarOp::kMul);
  binary("__truediv__", "__rtruediv__", "/", ScalarOp::kDiv);
  tensor.def("__neg__", [](const py::object& self) {
    return arithmetic(ScalarOp::kNeg, "-", self, py::handle());
  });
  for (const char* name :
       {"__pow__", "__rpow__", "__matmul__", "__rmatmul__", "__mod__", "__floordiv__"}) {
    tensor.def(name, [name](const Tensor&, const py::object&) { no_expression(name); });
  }
  tensor.def("__abs__", [](const Tensor&) { no_expression("abs()"); });
  tensor.def("__getattr__", [](const Tensor&, const std::string& name) -> py::object {
    throw py::attribute_error(
        "Tensor has no attribute '" + name +
        "'. Tensors that remember their history have + - * / on single numbers, .backward, .item, "
        ".argmax, .tolist and .detach; .detach().numpy() gives the values");
  });
  const auto comparison = [&](const char* name, int op) {
    tensor.def(name, [op](const TensorPtr& self, const py::object& other) {
      return compare(self, other, op);
    });
  };
  comparison("__lt__", Py_LT);
  comparison("__le__", Py_LE);
  comparison("__gt__", Py_GT);
  comparison("__ge__", Py_GE);
  comparison("__eq__", Py_EQ);
  comparison("__ne__", Py_NE);
  // NumPy must ask us first, so that nothing differentiable turns into an array unseen.
  tensor.attr("__array_ufunc__") = py::none();

  py::class_<Parameter, ParameterPtr, Tensor>(
      m, "Parameter", "A tensor that optimizers update; its storage stays where it is for life.")
      .def(py::init(&new_parameter), py::arg("data"), py::arg("requires_grad") = true)
      .def_property(
          "data", [](const ParameterPtr& p) { return detached(p); },
          [](Parameter& p, const py::object& values) { assign_values(p, values, "data"); },
          "The values without gradient; assigning copies them in place.")
      .def(
          "copy_",
          [](const ParameterPtr& p, const py::object& values) {
            assign_values(*p, values, "copy_");
            return p;
          },
          py::arg("values"), "Writes values of the parameter's shape in place.")
      .def("zero_",
           [](const ParameterPtr& p) {
             const TensorPtr zeros = make_tensor(p->dtype, p->shape);
             write_contiguous(*p, zeros->data);
             return p;
           })
      .def("__repr__", [](const ParameterPtr& p) { return repr(p, "Parameter"); })
      .def(py::pickle(&parameter_state, &parameter_from_state));

  m.def(
      "make_linear",
      [](index_t in_features, index_t out_features, bool bias, const py::object& dtype) {
        const LinearParameters made =
            make_linear_or_say_why(parse_dtype(dtype), in_features, out_features, bias);
        return py::make_tuple(made.weight, made.bias);
      },
      py::arg("in_features"), py::arg("out_features"), py::arg("bias"), py::arg("dtype"),
      "Weight (out_features, in_features) and bias, or None, in one segment; zeros.");
  m.def("is_grad_enabled", &grad_enabled);
  m.def(
      "set_grad_enabled",
      [](bool enabled) {
        const bool before = grad_enabled();
        set_grad_enabled(enabled);
        return before;
      },
      py::arg("enabled"), "Turns recording on or off in this thread; returns what it was.");
}

}  // namespace schuss::bindings

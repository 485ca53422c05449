// SPDX-License-Identifier: MIT
/// Tensor and Parameter.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "autograd/gradients.hpp"
#include "autograd/recording.hpp"
#include "bindings/slots.hpp"
#include "bindings/tensor_object.hpp"
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

std::string repr(const py::object& self) {
  // Never released: at the end of the process Python is gone before statics are.
  static const py::handle text =
      py::object(py::module_::import("schuss._printing").attr("text")).release();
  return text(self).cast<std::string>();
}

TensorPtr gradient_for(const Tensor& root, const py::object& gradient) {
  TensorPtr d = gradient.is_none() ? nullptr : tensor_or_null(gradient.ptr());
  if (d == nullptr && !gradient.is_none()) d = copy_to_tensor(gradient, root.dtype, "gradient");
  return d;
}

bool is_true(const py::object& flag, const char* name) {
  if (flag.is_none()) return false;
  if (PyBool_Check(flag.ptr()) == 0) {
    throw TypeError(std::string(name) + ": got " + Py_TYPE(flag.ptr())->tp_name +
                    "; expected True, False or None");
  }
  return flag.ptr() == Py_True;
}

void backward(const TensorPtr& self, const py::object& gradient, const py::object& retain_graph,
              bool create_graph) {
  if (create_graph) {
    throw ValueError(
        "create_graph: gradients of gradients are not computed; write the derivative as an "
        "expression and differentiate that");
  }
  run_backward(self, gradient_for(*self, gradient), is_true(retain_graph, "retain_graph"));
}

std::vector<TensorPtr> gradients_of(const std::vector<TensorPtr>& outputs,
                                    const std::vector<py::object>& d_outputs,
                                    const std::vector<TensorPtr>& inputs, bool retain_graph) {
  std::vector<TensorPtr> d_roots;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    d_roots.push_back(gradient_for(*outputs[i], d_outputs[i]));
  }
  return gradients(outputs, d_roots, inputs, retain_graph);
}

/// backward(), as in most programs.
PyObject* backward_slot(PyObject* self, PyObject* const*, Py_ssize_t count) {
  if (count != 0) return nullptr;
  const TensorPtr tensor = tensor_or_null(self);
  if (tensor == nullptr) throw TypeError("backward: Tensor.__init__ was not called");
  run_backward(tensor, nullptr, false);
  Py_RETURN_NONE;
}

/// NumPy asks for several attributes that there are not: no C++ exception for each.
PyObject* missing_attribute(PyObject*, PyObject* name) {
  PyErr_Format(PyExc_AttributeError,
               "Tensor has no attribute '%S'; .detach().numpy() gives its values to NumPy", name);
  return nullptr;
}

void install_getattr(TensorClass& tensor) {
  static PyMethodDef definition = {"__getattr__", &missing_attribute, METH_O,
                                   "__getattr__($self, name, /)\n--\n\nRaises AttributeError."};
  auto* type = reinterpret_cast<PyTypeObject*>(tensor.ptr());
  tensor.attr("__getattr__") =
      py::reinterpret_steal<py::object>(PyDescr_NewMethod(type, &definition));
}

void set_grad(Tensor& self, const py::object& value) {
  if (!self.is_leaf()) {
    throw TypeError("grad: only a leaf has one to assign; make it with requires_grad=True");
  }
  if (value.is_none()) {
    self.grad = nullptr;
    return;
  }
  const TensorPtr from = copy_to_tensor(value, self.dtype, "grad");
  if (!(from->shape == self.shape)) {
    throw ValueError("grad: got shape " + to_string(from->shape) + "; expected " +
                     to_string(self.shape));
  }
  const TensorPtr grad = self.make_grad();
  write_contiguous(*grad, from->data);
  self.grad = grad;
}

py::object array_protocol(const TensorPtr& self, const py::object& dtype, const py::object& copy) {
  note_read(*self, "an array made");
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

void set_requires_grad(Tensor& t, bool wanted) {
  if (!t.is_leaf()) {
    throw StateError(
        "requires_grad: can be changed on leaves only; use .detach() for a tensor without history");
  }
  if (wanted && !is_floating(t.dtype)) {
    throw StateError(std::string("requires_grad: got a tensor of ") + dtype_name(t.dtype) +
                     "; only floating tensors have gradients (use .float())");
  }
  t.requires_grad = wanted;
}

/// t.data = values: copied in place; parameters and optimizers keep their storage.
void assign_data(Tensor& t, const py::object& values) {
  const TensorPtr given = tensor_or_null(values.ptr());
  const TensorPtr from = given != nullptr       ? converted(*given, t.dtype)
                         : is_floating(t.dtype) ? copy_to_tensor(values, t.dtype, "data")
                                                : tensor_from(values, py::str(dtype_name(t.dtype)));
  if (!(from->shape == t.shape)) {
    throw ValueError("data: got shape " + to_string(from->shape) + "; expected " +
                     to_string(t.shape));
  }
  write_contiguous(t, from->data);
}

py::object format(const py::object& self, const std::string& spec) {
  const TensorPtr t = tensor_or_null(self.ptr());
  note_read(*t, "formatting");
  const bool as_text = t->shape.rank > 0 && (spec.empty() || t->count() != 1);
  return (as_text ? py::object(py::str(self)) : python_number(*t)).attr("__format__")(spec);
}

void retain_grad(const TensorPtr& t) {
  if (!t->requires_grad) {
    throw StateError("retain_grad: the tensor has no history, and so no gradient");
  }
  if (t->grad_fn != nullptr) t->grad_fn->retained = t;
}

py::object size_of(const Tensor& t, const py::object& dim) {
  if (dim.is_none()) return shape_of(t);
  if (t.shape.rank == 0) throw py::index_error("size: the tensor has no dimensions");
  return py::int_(t.shape[normal_dim(dim.cast<index_t>(), t.shape.rank)]);
}

/// What made a tensor, as it prints: <MulBackward0>.
struct GradFn {
  std::shared_ptr<Node> node;
};

void define_properties(TensorClass& tensor) {
  tensor.def_property_readonly("shape", &shape_of, "Sizes, a tuple.")
      .def_property_readonly("ndim", [](const Tensor& t) { return t.shape.rank; })
      .def("dim", [](const Tensor& t) { return t.shape.rank; })
      .def("size", &size_of, py::arg("dim") = py::none(), "Sizes, or the size of one dimension.")
      .def("numel", [](const Tensor& t) { return t.count(); })
      .def("nelement", [](const Tensor& t) { return t.count(); })
      .def("element_size", [](const Tensor& t) { return item_bytes(t.dtype); })
      .def("stride",
           [](const Tensor& t) {
             py::tuple strides(static_cast<std::size_t>(t.strides.rank));
             for (int i = 0; i < t.strides.rank; ++i) {
               strides[static_cast<std::size_t>(i)] = py::int_(t.strides[i]);
             }
             return strides;
           })
      .def("is_contiguous", &Tensor::is_contiguous)
      .def("is_floating_point", [](const Tensor& t) { return is_floating(t.dtype); })
      .def_property_readonly("dtype", [](const Tensor& t) { return numpy_dtype(t.dtype); })
      .def_property_readonly("device", [](const Tensor&) { return "cpu"; })
      .def_property(
          "requires_grad", [](const Tensor& t) { return t.requires_grad; }, &set_requires_grad)
      .def_property_readonly("is_leaf", &Tensor::is_leaf)
      .def_property_readonly("grad_fn",
                             [](const Tensor& t) -> py::object {
                               if (t.grad_fn == nullptr) return py::none();
                               return py::cast(GradFn{t.grad_fn});
                             })
      .def_property(
          "grad", [](const Tensor& t) { return t.grad; }, &set_grad,
          "Gradient (a leaf's), or None. Assigning copies and checks the shape.")
      .def_property(
          "data", [](const Tensor& t) { return detached(t); }, &assign_data,
          "The values without history; assigning copies them in place.")
      .def(
          "detach", [](const Tensor& t) { return detached(t); }, "The same values, no history.")
      .def(
          "detach_",
          [](const TensorPtr& t) {
            if (t->is_view) {
              throw StateError("detach_: the tensor is a view; use .detach()");
            }
            t->grad_fn = nullptr;
            t->requires_grad = false;
            return t;
          },
          "Forgets how it was computed.")
      .def("retain_grad", &retain_grad, "Keeps the gradient of a tensor that is no leaf.");
}

void define_values(TensorClass& tensor) {
  tensor
      .def(
          "numpy",
          [](const TensorPtr& t) {
            note_read(*t, "numpy()");
            return to_numpy(t);
          },
          "The values as an ndarray that shares memory.")
      .def(
          "item",
          [](const Tensor& t) -> py::object {
            note_read(t, "item()");
            if (is_floating(t.dtype)) return py::float_(t.item());
            t.item();  // one element, or an error
            return python_number(t);
          },
          "The value of a tensor of one element, as a Python number.")
      .def("tolist",
           [](const TensorPtr& t) {
             note_read(*t, "tolist()");
             return to_numpy(t).attr("tolist")();
           })
      .def("backward", &backward, py::arg("gradient") = py::none(),
           py::arg("retain_graph") = py::none(), py::arg("create_graph") = false,
           "Back-propagates to the leaves' ``grad``.")
      .def("__array__", &array_protocol, py::arg("dtype") = py::none(),
           py::arg("copy") = py::none())
      .def("__format__", &format)
      .def("__repr__", &repr)
      .def("__hash__", [](const Tensor& t) { return reinterpret_cast<std::uintptr_t>(&t) >> 4; });
  // NumPy must ask us first, so that nothing differentiable turns into an array unseen.
  tensor.attr("__array_ufunc__") = py::none();
}

/// Pickled as (values, requires_grad, grad); history stays behind.
py::tuple tensor_state(const TensorPtr& self) {
  if (!self->is_leaf()) {
    throw StateError("a tensor with history cannot be copied or pickled; use .detach()");
  }
  const py::object grad = self->grad == nullptr ? py::none() : to_numpy(self->grad).attr("copy")();
  return py::make_tuple(to_numpy(self).attr("copy")("C"), self->requires_grad, grad);
}

TensorPtr tensor_from_state(const py::tuple& state) {
  TensorPtr made = tensor_from(py::object(state[0]), py::none());
  made->requires_grad = state[1].cast<bool>();
  set_grad(*made, state[2]);
  return made;
}

}  // namespace

void register_tensor(py::module_& m) {
  TensorClass tensor(m, "Tensor",
                     "Elements of one dtype, and how they were computed.\n\n"
                     "Not an ndarray; ``np.asarray(t)`` and ``t.numpy()`` give one.");
  py::class_<GradFn>(m, "GradFn", "What made a tensor.")
      .def("name", [](const GradFn& f) { return std::string(f.node->name()); })
      .def("__repr__",
           [](const GradFn& f) { return std::string("<").append(f.node->name()).append(">"); });
  tensor.def(py::init([](const py::object& data) { return tensor_from(data, py::str("float32")); }),
             py::arg("data"), "float32 values, copied; schuss.tensor keeps the kind of numbers.");
  define_properties(tensor);
  define_values(tensor);
  define_operators(tensor);
  define_methods(tensor);
  define_more(tensor);
  define_in_place(tensor);
  define_indexing(tensor);
  tensor.def(py::pickle(&tensor_state, &tensor_from_state));
  install_slots(tensor);
  MethodSlot<&backward_slot>::install(
      tensor, "backward",
      "backward($self, gradient=None, retain_graph=None, create_graph=False)\n--\n\n"
      "Back-propagates to the leaves' ``grad``.");
  install_getattr(tensor);
  register_activation(m);
  register_creation(m);
  register_linear(m);

  py::class_<Parameter, ParameterPtr, Tensor>(
      m, "Parameter", "A tensor that optimizers update; its storage stays where it is for life.")
      .def(py::init(&new_parameter), py::arg("data"), py::arg("requires_grad") = true)
      .def_property(
          "data", [](const Parameter& p) { return detached(p); },
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
  m.def("gradients", &gradients_of, py::arg("outputs"), py::arg("d_outputs"), py::arg("inputs"),
        py::arg("retain_graph"), "Gradients of the inputs; no tensor's own changes.");
  register_grad_mode(m);
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

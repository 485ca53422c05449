// SPDX-License-Identifier: MIT
/// The context managers behind no_grad, enable_grad and set_grad_enabled: C types, since entering and
/// leaving one is in every step of a loop written by hand.
#include <array>

#include "bindings/tensor_object.hpp"

namespace schuss::bindings {
namespace {

/// One object may be entered again inside itself: what was on before is a bit each.
struct GradModeObject {
  PyObject_HEAD bool wanted;
  int depth;
  std::uint64_t before;
};

GradModeObject* self_of(PyObject* object) { return reinterpret_cast<GradModeObject*>(object); }

/// type(), or for type(function), a decorator without brackets, what type()(function) gives.
PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject* made = type->tp_alloc(type, 0);
  const bool decorates =
      PyTuple_GET_SIZE(args) == 1 && PyCallable_Check(PyTuple_GET_ITEM(args, 0)) != 0;
  if (made == nullptr || !decorates) return made;
  const auto self = py::reinterpret_steal<py::object>(made);
  return PyObject_CallOneArg(self.ptr(), PyTuple_GET_ITEM(args, 0));
}

int set_up(PyObject* object, PyObject* args, PyObject* options) {
  int wanted = 0;
  const std::array<const char*, 2> names = {"mode", nullptr};
  char** const keywords = const_cast<char**>(names.data());
  if (PyArg_ParseTupleAndKeywords(args, options, "|p", keywords, &wanted) == 0) return -1;
  self_of(object)->wanted = wanted != 0;
  return 0;
}

PyObject* enter(PyObject* object, PyObject*) {
  GradModeObject* self = self_of(object);
  if (self->depth == 64) {
    PyErr_SetString(PyExc_RuntimeError, "no_grad: one object is entered 64 times inside itself");
    return nullptr;
  }
  self->before = (self->before << 1) | (grad_enabled() ? 1U : 0U);
  ++self->depth;
  set_grad_enabled(self->wanted);
  Py_RETURN_NONE;
}

PyObject* leave(PyObject* object, PyObject* const*, Py_ssize_t) {
  GradModeObject* self = self_of(object);
  if (self->depth == 0) {
    PyErr_SetString(PyExc_RuntimeError, "no_grad: left without having been entered");
    return nullptr;
  }
  --self->depth;
  set_grad_enabled((self->before & 1U) != 0);
  self->before >>= 1;
  Py_RETURN_NONE;
}

std::array<PyMethodDef, 3> methods = {
    PyMethodDef{"__enter__", &enter, METH_NOARGS, nullptr},
    PyMethodDef{"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&leave)),
                METH_FASTCALL, nullptr},
    PyMethodDef{nullptr, nullptr, 0, nullptr}};

std::array<PyType_Slot, 5> slots = {
    PyType_Slot{Py_tp_new, reinterpret_cast<void*>(&make)},
    PyType_Slot{Py_tp_init, reinterpret_cast<void*>(&set_up)},
    PyType_Slot{Py_tp_methods, methods.data()},
    PyType_Slot{Py_tp_doc, const_cast<char*>("Sets whether history is kept inside a with block.")},
    PyType_Slot{0, nullptr}};

PyType_Spec spec = {"schuss._schuss.GradMode", sizeof(GradModeObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots.data()};

}  // namespace

void register_grad_mode(py::module_& m) {
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  m.attr("GradMode") = py::reinterpret_steal<py::object>(type);
}

}  // namespace schuss::bindings

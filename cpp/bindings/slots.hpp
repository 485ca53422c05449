// SPDX-License-Identifier: MIT
/// C functions in the slots of our types: a call from Python that goes round the dispatcher of
/// overloads, which costs more than the smallest operations.
#pragma once

#include <new>
#include <utility>
#include <vector>

#include "bindings/common.hpp"

namespace schuss::bindings {

/// Runs `body`, turning C++ exceptions into Python's.
template <class F>
PyObject* guarded(F&& body) {
  try {
    return body();
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const py::builtin_exception& e) {
    e.set_error();
  } catch (const TypeError& e) {
    PyErr_SetString(PyExc_TypeError, e.what());
  } catch (const ValueError& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
  return nullptr;
}

/// The C++ object of an object of exactly this type, which is T's; null for any other, and for one
/// whose __init__ has not run.
template <class T>
T* exact_or_null(PyObject* object, PyTypeObject* type) {
  if (Py_TYPE(object) != type) return nullptr;
  auto* instance = reinterpret_cast<py::detail::instance*>(object);
  if (!instance->simple_layout || !instance->simple_holder_constructed) return nullptr;
  return static_cast<T*>(instance->simple_value_holder[0]);
}

/// Calls of T's objects with `kArguments` arguments by position go to `Function(T&, PyObject* const*)`,
/// which returns a new reference; all others go where they went. After the definition of __call__.
template <class T, Py_ssize_t kArguments, auto Function>
class CallSlot {
 public:
  static void install(py::handle type) {
    type_ = reinterpret_cast<PyTypeObject*>(type.ptr());
    general_ = std::exchange(type_->tp_call, &call);
    PyType_Modified(type_);
  }

 private:
  static PyObject* call(PyObject* self, PyObject* args, PyObject* keywords) {
    T* object = exact_or_null<T>(self, type_);
    if (object == nullptr && Py_TYPE(self) == type_) {
      PyErr_Format(PyExc_TypeError, "%s: __init__ was not called", type_->tp_name);
      return nullptr;
    }
    if (object == nullptr || keywords != nullptr || PyTuple_GET_SIZE(args) != kArguments) {
      return general_(self, args, keywords);
    }
    return guarded([&] { return Function(*object, &PyTuple_GET_ITEM(args, 0)); });
  }

  static inline PyTypeObject* type_ = nullptr;
  static inline ternaryfunc general_ = nullptr;
};

/// A method as a plain C function, called by position: `Function(self, arguments, count)` returns a new
/// reference, or null for a call that goes where it went, as those with keywords do.
/// After the definition of the method, whose doc string begins with its signature.
template <auto Function>
class MethodSlot {
 public:
  static void install(py::handle type, const char* name, const char* doc) {
    definition_ = {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call)),
                   METH_FASTCALL | METH_KEYWORDS, doc};
    general_ = py::object(type.attr(name)).release().ptr();
    py::setattr(type, name,
                py::reinterpret_steal<py::object>(
                    PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &definition_)));
  }

 private:
  static PyObject* call(PyObject* self, PyObject* const* arguments, Py_ssize_t count,
                        PyObject* keywords) {
    return guarded([&] {
      PyObject* const result = keywords == nullptr ? Function(self, arguments, count) : nullptr;
      if (result != nullptr) return result;
      const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
      std::vector<PyObject*> all{self};
      all.insert(all.end(), arguments, arguments + count + named);
      return PyObject_Vectorcall(general_, all.data(), static_cast<std::size_t>(count) + 1,
                                 keywords);
    });
  }

  static inline PyMethodDef definition_{};
  static inline PyObject* general_ = nullptr;
};

}  // namespace schuss::bindings

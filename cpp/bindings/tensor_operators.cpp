// SPDX-License-Identifier: MIT
/// Python's operators. Each is a C function, reached through the type's number slots; the methods of
/// the same names (for subclasses written in Python, and for help()) call it too.
#include "autograd/recording.hpp"
#include "bindings/slots.hpp"
#include "bindings/tensor_object.hpp"

namespace schuss::bindings {
namespace {

PyObject* not_implemented() {
  Py_INCREF(Py_NotImplemented);
  return Py_NotImplemented;
}

DType dtype_beside(PyObject* a, PyObject* b) {
  const TensorPtr left = tensor_or_null(a);
  if (left != nullptr) return left->dtype;
  const TensorPtr right = tensor_or_null(b);
  return right == nullptr ? DType::kFloat32 : right->dtype;
}

/// f(operands), or NotImplemented where one is something else.
template <class F>
PyObject* with_operands(PyObject* a, PyObject* b, F&& f) {
  return guarded([&]() -> PyObject* {
    Operand left;
    Operand right;
    const DType like = dtype_beside(a, b);
    if (!parse_operand(a, like, &left) || !parse_operand(b, like, &right)) {
      return not_implemented();
    }
    if (left.tensor == nullptr && right.tensor == nullptr) return not_implemented();
    return wrap(f(left, right));
  });
}

template <Pair kPair>
PyObject* pair_slot(PyObject* a, PyObject* b) {
  return with_operands(a, b,
                       [](const Operand& x, const Operand& y) { return apply_pair(kPair, x, y); });
}

template <Division kDivision>
PyObject* division_slot(PyObject* a, PyObject* b) {
  return with_operands(
      a, b, [](const Operand& x, const Operand& y) { return apply_division(kDivision, x, y); });
}

PyObject* power_slot(PyObject* a, PyObject* b, PyObject*) {
  return with_operands(a, b, &apply_power);
}

PyObject* matmul_slot(PyObject* a, PyObject* b) {
  return with_operands(a, b, [](const Operand& x, const Operand& y) {
    if (x.tensor == nullptr || y.tensor == nullptr) {
      throw TypeError("operator @: got a number; expected two tensors");
    }
    return apply(Op::kMatmul, {}, {x.tensor, y.tensor});
  });
}

template <Logical kLogical>
PyObject* logical_slot(PyObject* a, PyObject* b) {
  return with_operands(a, b, [](const Operand& x, const Operand& y) {
    const auto is_bool = [](const Operand& o) {
      return o.tensor == nullptr ? o.kind == NumberKind::kBool : o.tensor->dtype == DType::kBool;
    };
    if (!is_bool(x) || !is_bool(y)) {
      throw TypeError("operators & | ^: expected bool tensors, such as comparisons give");
    }
    OpAttributes attributes;
    attributes.logical = kLogical;
    return apply_two(Op::kLogical, std::move(attributes), x, y);
  });
}

template <class F>
PyObject* in_place(PyObject* self, PyObject* other, F&& result_of) {
  return guarded([&]() -> PyObject* {
    const TensorPtr target = tensor_or_null(self);
    Operand right;
    if (target == nullptr || !parse_operand(other, target->dtype, &right)) {
      return not_implemented();
    }
    check_in_place(*target, right.tensor != nullptr && right.tensor->requires_grad);
    Operand left;
    // A handle of its own: the target becomes the result, and must not be its own history.
    left.tensor = detached(*target);
    left.tensor->requires_grad = target->requires_grad;
    left.tensor->grad_fn = target->grad_fn;
    assign_result(target, result_of(left, right));
    Py_INCREF(self);
    return self;
  });
}

template <Pair kPair>
PyObject* in_place_slot(PyObject* self, PyObject* other) {
  return in_place(self, other,
                  [](const Operand& x, const Operand& y) { return apply_pair(kPair, x, y); });
}

template <Division kDivision>
PyObject* in_place_division_slot(PyObject* self, PyObject* other) {
  return in_place(self, other, [](const Operand& x, const Operand& y) {
    return apply_division(kDivision, x, y);
  });
}

PyObject* in_place_power_slot(PyObject* self, PyObject* other, PyObject*) {
  return in_place(self, other, &apply_power);
}

template <Map kMap>
PyObject* map_slot(PyObject* self) {
  return guarded([&] { return wrap(apply_map(kMap, tensor_or_null(self))); });
}

PyObject* positive_slot(PyObject* self) {
  Py_INCREF(self);
  return self;
}

PyObject* invert_slot(PyObject* self) {
  return guarded([&] {
    const TensorPtr x = tensor_or_null(self);
    if (x->dtype != DType::kBool) {
      throw TypeError("operator ~: expected a bool tensor, such as comparisons give");
    }
    OpAttributes attributes;
    attributes.logical = Logical::kNot;
    return wrap(apply(Op::kLogical, attributes, {x}));
  });
}

PyObject* compare_slot(PyObject* a, PyObject* b, int op) {
  constexpr Compare kOps[] = {Compare::kLt, Compare::kLe, Compare::kEq,
                              Compare::kNe, Compare::kGt, Compare::kGe};
  return guarded([&]() -> PyObject* {
    const TensorPtr self = tensor_or_null(a);
    Operand left;
    Operand right;
    left.tensor = self;
    if (self == nullptr || !parse_operand(b, self->dtype, &right)) return not_implemented();
    OpAttributes attributes;
    attributes.compare = kOps[op];
    return wrap(apply_two(Op::kCompare, std::move(attributes), left, right));
  });
}

int bool_slot(PyObject* self) {
  const TensorPtr x = tensor_or_null(self);
  if (x->count() != 1) {
    PyErr_SetString(PyExc_RuntimeError,
                    "the truth of a tensor with more than one element is ambiguous; use .any() or "
                    ".all(), or == and .item()");
    return -1;
  }
  PyObject* const read = guarded([&] {
    note_read(*x, "bool()");
    return Py_None;
  });
  if (read == nullptr) return -1;
  return x->item() != 0.0 ? 1 : 0;
}

PyObject* float_slot(PyObject* self) {
  return guarded([&] {
    const TensorPtr x = tensor_or_null(self);
    note_read(*x, "float()");
    return PyFloat_FromDouble(x->item());
  });
}

PyObject* int_slot(PyObject* self) {
  return guarded([&] {
    const TensorPtr x = tensor_or_null(self);
    note_read(*x, "int()");
    return is_floating(x->dtype) ? PyLong_FromDouble(x->item())
                                 : py::int_(python_number(*x)).release().ptr();
  });
}

PyObject* index_slot(PyObject* self) {
  return guarded([&] {
    const TensorPtr x = tensor_or_null(self);
    if (is_floating(x->dtype) || x->count() != 1) {
      throw TypeError("only integer tensors of one element can be used as an index");
    }
    note_read(*x, "an index");
    return py::int_(python_number(*x)).release().ptr();
  });
}

using Binary = PyObject* (*)(PyObject*, PyObject*);

void define(TensorClass& tensor, const char* name, Binary slot, bool reflected = false) {
  tensor.def(
      name,
      [slot, reflected](const py::object& self, const py::object& other) {
        PyObject* result =
            reflected ? slot(other.ptr(), self.ptr()) : slot(self.ptr(), other.ptr());
        if (result == nullptr) throw py::error_already_set();
        return py::reinterpret_steal<py::object>(result);
      },
      py::arg("other"));
}

PyObject* power_of_two(PyObject* a, PyObject* b) { return power_slot(a, b, Py_None); }
PyObject* in_place_power_of_two(PyObject* a, PyObject* b) {
  return in_place_power_slot(a, b, Py_None);
}

void define_unary(TensorClass& tensor, const char* name, unaryfunc slot) {
  tensor.def(name, [slot](const py::object& self) {
    PyObject* result = slot(self.ptr());
    if (result == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
  });
}

}  // namespace

void define_operators(TensorClass& tensor) {
  const auto both = [&](const char* name, const char* reflected, Binary slot) {
    define(tensor, name, slot);
    define(tensor, reflected, slot, true);
  };
  both("__add__", "__radd__", &pair_slot<Pair::kAdd>);
  both("__sub__", "__rsub__", &pair_slot<Pair::kSub>);
  both("__mul__", "__rmul__", &pair_slot<Pair::kMul>);
  both("__truediv__", "__rtruediv__", &pair_slot<Pair::kDiv>);
  both("__floordiv__", "__rfloordiv__", &division_slot<Division::kFloor>);
  both("__mod__", "__rmod__", &division_slot<Division::kRemainder>);
  both("__pow__", "__rpow__", &power_of_two);
  both("__matmul__", "__rmatmul__", &matmul_slot);
  both("__and__", "__rand__", &logical_slot<Logical::kAnd>);
  both("__or__", "__ror__", &logical_slot<Logical::kOr>);
  both("__xor__", "__rxor__", &logical_slot<Logical::kXor>);
  define(tensor, "__iadd__", &in_place_slot<Pair::kAdd>);
  define(tensor, "__isub__", &in_place_slot<Pair::kSub>);
  define(tensor, "__imul__", &in_place_slot<Pair::kMul>);
  define(tensor, "__itruediv__", &in_place_slot<Pair::kDiv>);
  define(tensor, "__ifloordiv__", &in_place_division_slot<Division::kFloor>);
  define(tensor, "__imod__", &in_place_division_slot<Division::kRemainder>);
  define(tensor, "__ipow__", &in_place_power_of_two);
  define_unary(tensor, "__neg__", &map_slot<Map::kNeg>);
  define_unary(tensor, "__pos__", &positive_slot);
  define_unary(tensor, "__abs__", &map_slot<Map::kAbs>);
  define_unary(tensor, "__invert__", &invert_slot);
  define_unary(tensor, "__float__", &float_slot);
  define_unary(tensor, "__int__", &int_slot);
  define_unary(tensor, "__index__", &index_slot);
  tensor.def("__bool__", [](const py::object& self) {
    const int truth = bool_slot(self.ptr());
    if (truth < 0) throw py::error_already_set();
    return truth != 0;
  });
  const auto comparison = [&](const char* name, int op) {
    tensor.def(
        name,
        [op](const py::object& self, const py::object& other) {
          PyObject* result = compare_slot(self.ptr(), other.ptr(), op);
          if (result == nullptr) throw py::error_already_set();
          return py::reinterpret_steal<py::object>(result);
        },
        py::arg("other"));
  };
  comparison("__lt__", Py_LT);
  comparison("__le__", Py_LE);
  comparison("__eq__", Py_EQ);
  comparison("__ne__", Py_NE);
  comparison("__gt__", Py_GT);
  comparison("__ge__", Py_GE);
}

void install_slots(TensorClass& tensor) {
  auto* type = reinterpret_cast<PyTypeObject*>(tensor.ptr());
  PyNumberMethods& number = *type->tp_as_number;
  number.nb_add = &pair_slot<Pair::kAdd>;
  number.nb_subtract = &pair_slot<Pair::kSub>;
  number.nb_multiply = &pair_slot<Pair::kMul>;
  number.nb_true_divide = &pair_slot<Pair::kDiv>;
  number.nb_floor_divide = &division_slot<Division::kFloor>;
  number.nb_remainder = &division_slot<Division::kRemainder>;
  number.nb_power = &power_slot;
  number.nb_matrix_multiply = &matmul_slot;
  number.nb_and = &logical_slot<Logical::kAnd>;
  number.nb_or = &logical_slot<Logical::kOr>;
  number.nb_xor = &logical_slot<Logical::kXor>;
  number.nb_inplace_add = &in_place_slot<Pair::kAdd>;
  number.nb_inplace_subtract = &in_place_slot<Pair::kSub>;
  number.nb_inplace_multiply = &in_place_slot<Pair::kMul>;
  number.nb_inplace_true_divide = &in_place_slot<Pair::kDiv>;
  number.nb_inplace_floor_divide = &in_place_division_slot<Division::kFloor>;
  number.nb_inplace_remainder = &in_place_division_slot<Division::kRemainder>;
  number.nb_inplace_power = &in_place_power_slot;
  number.nb_negative = &map_slot<Map::kNeg>;
  number.nb_absolute = &map_slot<Map::kAbs>;
  number.nb_bool = &bool_slot;
  number.nb_float = &float_slot;
  number.nb_int = &int_slot;
  number.nb_index = &index_slot;
  type->tp_richcompare = &compare_slot;
  PyType_Modified(type);
}

}  // namespace schuss::bindings

// SPDX-License-Identifier: MIT
#include "bindings/tensor_object.hpp"

#include <pybind11/numpy.h>

namespace schuss::bindings {

TensorPtr tensor_or_null(PyObject* object) {
  static PyTypeObject* const type =
      reinterpret_cast<PyTypeObject*>(py::type::of<Tensor>().release().ptr());
  if (Py_TYPE(object) == type) {
    // What the caster would do for this exact type, without its search.
    auto* instance = reinterpret_cast<py::detail::instance*>(object);
    if (instance->simple_layout && instance->simple_holder_constructed) {
      return *reinterpret_cast<TensorPtr*>(&instance->simple_value_holder[1]);
    }
  }
  if (!PyObject_TypeCheck(object, type)) return nullptr;
  return py::handle(object).cast<TensorPtr>();
}

PyObject* wrap(TensorPtr tensor) {
  // A result that nobody else holds has no Python object yet: made here without the caster's search
  // for one, and registered, so that later casts find it.
  const Tensor& made = *tensor;
  if (tensor.use_count() != 1 || typeid(made) != typeid(Tensor)) {
    return py::cast(std::move(tensor)).release().ptr();
  }
  static py::detail::type_info* const info = py::detail::get_type_info(typeid(Tensor));
  auto* instance =
      reinterpret_cast<py::detail::instance*>(py::detail::make_new_instance(info->type));
  instance->owned = true;
  py::detail::value_and_holder place = instance->get_value_and_holder(info);
  place.value_ptr() = tensor.get();
  info->init_instance(instance, &tensor);
  return reinterpret_cast<PyObject*>(instance);
}

namespace {

bool is_scalar_object(PyObject* object) {
  return !py::isinstance<py::array>(object) && !PyComplex_Check(object) &&
         !PyUnicode_Check(object) && PyNumber_Check(object) != 0 &&
         py::hasattr(object, "__float__");
}

}  // namespace

bool parse_operand(PyObject* object, DType like, Operand* operand) {
  if (PyFloat_CheckExact(object)) {
    operand->number = PyFloat_AS_DOUBLE(object);
    operand->kind = NumberKind::kFloat;
    return true;
  }
  if (TensorPtr tensor = tensor_or_null(object)) {
    operand->tensor = std::move(tensor);
    return true;
  }
  if (PyBool_Check(object)) {
    operand->number = object == Py_True ? 1.0 : 0.0;
    operand->kind = NumberKind::kBool;
    return true;
  }
  if (PyLong_Check(object) || PyFloat_Check(object) || is_scalar_object(object)) {
    operand->number = PyFloat_AsDouble(object);
    if (operand->number == -1.0 && PyErr_Occurred() != nullptr) throw py::error_already_set();
    operand->kind = PyLong_Check(object) || PyIndex_Check(object) != 0 ? NumberKind::kInteger
                                                                       : NumberKind::kFloat;
    return true;
  }
  if (py::isinstance<py::array>(object)) {
    TensorPtr tensor = tensor_from(object, py::none());
    if (is_floating(tensor->dtype) && is_floating(like) && tensor->dtype != like) {
      tensor = converted(*tensor, like);
    }
    operand->tensor = std::move(tensor);
    return true;
  }
  return false;
}

TensorPtr apply_two(Op op, OpAttributes attributes, const Operand& a, const Operand& b) {
  if (a.tensor == nullptr || b.tensor == nullptr) {
    const Operand& number = a.tensor == nullptr ? a : b;
    attributes.number_side = a.tensor == nullptr ? 1 : 2;
    attributes.number = number.number;
    attributes.number_kind = number.kind;
  }
  return apply(op, attributes, {a.tensor, b.tensor});
}

TensorPtr apply_pair(Pair pair, const Operand& a, const Operand& b) {
  OpAttributes attributes;
  attributes.pair = pair;
  return apply_two(Op::kPair, std::move(attributes), a, b);
}

TensorPtr apply_map(Map map, const TensorPtr& x, MapOptions options) {
  OpAttributes attributes;
  attributes.map = map;
  attributes.options = options;
  return apply(Op::kMap, attributes, {x});
}

TensorPtr apply_where(const TensorPtr& condition, const Operand& a, const Operand& b) {
  if (condition->dtype != DType::kBool) {
    throw TypeError(std::string("got a condition of ") + dtype_name(condition->dtype) +
                    "; expected a bool tensor, such as x > 0");
  }
  OpAttributes attributes;
  if (a.tensor == nullptr || b.tensor == nullptr) {
    const Operand& number = a.tensor == nullptr ? a : b;
    attributes.number_side = a.tensor == nullptr ? 1 : 2;
    attributes.number = number.number;
    attributes.number_kind = number.kind;
  }
  return apply(Op::kWhere, attributes, {condition, a.tensor, b.tensor});
}

TensorPtr apply_power(const Operand& base, const Operand& exponent) {
  if (base.tensor == nullptr || exponent.tensor != nullptr) {
    return apply_pair(Pair::kPow, base, exponent);
  }
  OpAttributes attributes;
  attributes.map = Map::kPow;
  attributes.options.a = exponent.number;
  attributes.number_kind = exponent.kind;
  return apply(Op::kMap, attributes, {base.tensor});
}

int normal_dim(index_t dim, int rank) {
  const index_t span = rank == 0 ? 1 : rank;
  if (dim < -span || dim >= span) {
    throw py::index_error("dim: got " + std::to_string(dim) + "; expected a number in " +
                          std::to_string(-span) + ".." + std::to_string(span - 1));
  }
  return static_cast<int>(dim < 0 ? dim + span : dim);
}

std::uint8_t parse_dims(const py::object& dims, int rank, int* dim) {
  std::uint8_t bits = 0;
  *dim = -1;
  const auto add = [&](index_t d) {
    const int normal = normal_dim(d, rank);
    if (*dim < 0) *dim = normal;
    if (rank == 0) return;
    const auto bit = static_cast<std::uint8_t>(1U << normal);
    if ((bits & bit) != 0) throw ValueError("dim: a dimension appears more than once");
    bits = static_cast<std::uint8_t>(bits | bit);
  };
  const bool several = py::isinstance<py::tuple>(dims) || py::isinstance<py::list>(dims);
  if (dims.is_none() || (several && py::len(dims) == 0)) {
    return static_cast<std::uint8_t>((1U << rank) - 1U);
  }
  if (several) {
    for (const py::handle d : dims) add(d.cast<index_t>());
  } else {
    add(dims.cast<index_t>());
  }
  return bits;
}

Dims parse_shape(py::handle sizes) {
  Dims shape;
  const auto add = [&](py::handle size) {
    if (shape.rank == kMaxRank) throw ValueError("shape: got more than 8 dimensions");
    PyObject* whole = PyNumber_Index(size.ptr());
    if (whole == nullptr) throw py::error_already_set();
    shape[shape.rank++] = py::reinterpret_steal<py::int_>(whole).cast<index_t>();
  };
  if (PyIndex_Check(sizes.ptr()) != 0) {
    add(sizes);
  } else {
    for (const py::handle size : sizes) add(size);
  }
  return shape;
}

Dims parse_shape(const py::args& sizes) {
  if (sizes.size() == 1) return parse_shape(py::handle(sizes[0]));
  return parse_shape(static_cast<py::handle>(sizes));
}

DType parse_any_dtype(py::handle dtype) {
  const py::dtype wanted = py::dtype::from_args(py::reinterpret_borrow<py::object>(dtype));
  const auto name = py::str(static_cast<py::handle>(wanted)).cast<std::string>();
  for (const DType known : {DType::kFloat32, DType::kFloat64, DType::kInt64, DType::kBool}) {
    if (name == dtype_name(known)) return known;
  }
  throw TypeError("dtype: got " + name + "; expected float32, float64, int64 or bool");
}

TensorPtr tensor_from(py::handle data, const py::object& dtype) {
  if (TensorPtr given = tensor_or_null(data.ptr())) {
    return converted(*given, dtype.is_none() ? given->dtype : parse_any_dtype(dtype));
  }
  const bool is_array = py::isinstance<py::array>(data);
  const py::array array = is_array ? py::reinterpret_borrow<py::array>(data)
                                   : py::array(py::module_::import("numpy").attr("asarray")(data));
  const char kind = array.dtype().kind();
  DType wanted = DType::kFloat32;
  if (!dtype.is_none()) {
    wanted = parse_any_dtype(dtype);
  } else if (kind == 'i' || kind == 'u') {
    wanted = DType::kInt64;
  } else if (kind == 'b') {
    wanted = DType::kBool;
  } else if (is_array && array.dtype().equal(py::dtype::of<double>())) {
    wanted = DType::kFloat64;
  }
  if (array.size() == 0) {
    Dims shape;
    for (py::ssize_t i = 0; i < array.ndim(); ++i) shape[shape.rank++] = array.shape(i);
    return make_tensor(wanted, shape);
  }
  if (is_floating(wanted)) return copy_to_tensor(array, wanted, "data");
  if (kind != 'i' && kind != 'u' && kind != 'b' && kind != 'f') {
    throw TypeError("data: got dtype " + py::str(array.dtype()).cast<std::string>() +
                    "; expected numbers");
  }
  // To integers and bool NumPy's conversion is exact, or cuts off as ours does.
  const py::array same = array.attr("astype")(numpy_dtype(wanted), py::arg("order") = "C");
  Dims shape;
  for (py::ssize_t i = 0; i < same.ndim(); ++i) {
    if (shape.rank == kMaxRank) throw ValueError("data: got more than 8 dimensions");
    shape[shape.rank++] = same.shape(i);
  }
  TensorPtr made = make_tensor(wanted, shape, Uninitialized{});
  std::memcpy(made->data, same.data(), static_cast<std::size_t>(same.nbytes()));
  return made;
}

py::object python_number(const Tensor& tensor) {
  if (tensor.count() != 1 || is_floating(tensor.dtype)) return py::float_(tensor.item());
  if (tensor.dtype == DType::kBool) return py::bool_(*tensor.ptr<bool>());
  return py::int_(*tensor.ptr<std::int64_t>());
}

}  // namespace schuss::bindings

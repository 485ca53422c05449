// SPDX-License-Identifier: MIT
#include "bindings/array_input.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <limits>
#include <optional>

namespace schuss::bindings {
namespace py = pybind11;
namespace {

using npy = py::detail::npy_api;

[[noreturn]] void fail_type(std::string_view where, const std::string& text) {
  throw py::type_error(where.empty() ? text : std::string(where) + ": " + text);
}

[[noreturn]] void fail_value(std::string_view where, const std::string& text) {
  throw py::value_error(where.empty() ? text : std::string(where) + ": " + text);
}

/// "torch.Tensor", and "list" rather than "builtins.list".
std::string type_name(py::handle object) {
  const py::handle type = py::type::handle_of(object);
  const auto name = py::str(type.attr("__qualname__")).cast<std::string>();
  const auto module = py::str(type.attr("__module__")).cast<std::string>();
  return module == "builtins" ? name : module + "." + name;
}

std::string shape_text(const py::ssize_t* shape, py::ssize_t ndim) {
  std::string text = "(";
  for (py::ssize_t i = 0; i < ndim; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + (ndim == 1 ? ",)" : ")");
}

std::string shape_text(const py::array& array) { return shape_text(array.shape(), array.ndim()); }

std::string length_text(index_t length, const char* any) {
  return length < 0 ? std::string(any) : std::to_string(length);
}

/// "(n, 784)", with n or k where any number will do.
std::string expected_text(index_t rows, index_t cols) {
  std::string text = "(";
  text += length_text(rows, "n");
  text += ", ";
  text += length_text(cols, "k");
  text += ")";
  return text;
}

std::string vector_text(index_t rows) {
  std::string text = "(";
  text += length_text(rows, "n");
  text += ",)";
  return text;
}

/// Nine digits tell any float32 from the next, which is enough for a message.
std::string number_text(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.9g", value);
  return text.data();
}

/// A signed or unsigned C integer of this many bytes.
constexpr ElementType integer_type(std::size_t bytes, bool is_signed) {
  switch (bytes) {
    case 1:
      return is_signed ? ElementType::kInt8 : ElementType::kUInt8;
    case 2:
      return is_signed ? ElementType::kInt16 : ElementType::kUInt16;
    case 4:
      return is_signed ? ElementType::kInt32 : ElementType::kUInt32;
    default:
      return is_signed ? ElementType::kInt64 : ElementType::kUInt64;
  }
}

/// By NumPy's type number: int and long are different numbers even where they are the same type.
std::optional<ElementType> element_type(int number) {
  constexpr int kNumPyHalf = 23;  // in NumPy's ABI, not among pybind11's constants
  switch (number) {
    case npy::NPY_BOOL_:
      return ElementType::kBool;
    case npy::NPY_BYTE_:
      return integer_type(1, true);
    case npy::NPY_UBYTE_:
      return integer_type(1, false);
    case npy::NPY_SHORT_:
      return integer_type(sizeof(short), true);
    case npy::NPY_USHORT_:
      return integer_type(sizeof(short), false);
    case npy::NPY_INT_:
      return integer_type(sizeof(int), true);
    case npy::NPY_UINT_:
      return integer_type(sizeof(int), false);
    case npy::NPY_LONG_:
      return integer_type(sizeof(long), true);
    case npy::NPY_ULONG_:
      return integer_type(sizeof(long), false);
    case npy::NPY_LONGLONG_:
      return integer_type(sizeof(long long), true);
    case npy::NPY_ULONGLONG_:
      return integer_type(sizeof(long long), false);
    case kNumPyHalf:
      return ElementType::kFloat16;
    case npy::NPY_FLOAT_:
      return ElementType::kFloat32;
    case npy::NPY_DOUBLE_:
      return ElementType::kFloat64;
    default:
      return std::nullopt;
  }
}

[[noreturn]] void fail_dtype(const py::array& array, const char* name, std::string_view where) {
  const py::dtype dtype = array.dtype();
  const std::string x = name;
  std::string fix;
  switch (dtype.kind()) {
    case 'c':
      fix = "take " + x + ".real, or stack real and imaginary parts as columns";
      break;
    case 'M':
    case 'm':
      fix = "turn times into numbers first, such as seconds since a start";
      break;
    case 'O':
      fix = "convert it first, numpy.asarray(" + x +
            ", dtype=\"float64\"), which also names what " + "is not a number";
      break;
    case 'f':
      fix = "use " + x + ".astype(\"float64\")";
      break;
    default:
      fix = "encode it as numbers first";
      break;
  }
  fail_type(where, x + " has dtype " + py::str(dtype).cast<std::string>() +
                       "; expected float64, float32, float16, an integer or bool: " + fix);
}

/// The MaskedArray without its mask, which must be clear.
py::array unmask(const py::array& array, const char* name, std::string_view where) {
  const py::object ma = py::module_::import("numpy").attr("ma");
  if (!py::isinstance(array, ma.attr("MaskedArray"))) return array;
  if (ma.attr("is_masked")(array).cast<bool>()) {
    fail_value(where, std::string(name) +
                          " has masked values; fill them or drop their rows first, such as " +
                          name + ".filled(0)");
  }
  return py::reinterpret_steal<py::array>(ma.attr("getdata")(array).release());
}

/// True for what `numpy.asarray` reads as an array and not as one object.
bool is_array_like(py::handle object) {
  if (PyList_Check(object.ptr()) || PyTuple_Check(object.ptr()) || PyRange_Check(object.ptr())) {
    return true;
  }
  return PyObject_CheckBuffer(object.ptr()) != 0 || py::hasattr(object, "__array__") ||
         py::hasattr(object, "__array_interface__") || py::hasattr(object, "__array_struct__");
}

/// What an exception of someone else's array protocol becomes: ours, with its first line kept.
[[noreturn]] void rethrow_as_ours(py::error_already_set& error, py::handle object, const char* name,
                                  std::string_view where) {
  if (!error.matches(PyExc_Exception) || error.matches(PyExc_MemoryError)) throw;
  if (PyList_Check(object.ptr()) || PyTuple_Check(object.ptr())) {
    fail_value(where, std::string(name) + " is a " + type_name(object) +
                          " whose rows have different lengths; expected rows of one length");
  }
  auto reason = py::str(error.value()).cast<std::string>();
  reason = reason.substr(0, reason.find('\n'));
  fail_type(where, std::string(name) + " is a " + type_name(object) +
                       " that cannot be read as a NumPy array (" + reason +
                       "); convert it to a NumPy array first");
}

/// The slow door: everything but a plain ndarray.
py::array to_array(py::handle object, const char* name, std::string_view where) {
  const std::string x = name;
  if (object.is_none()) fail_type(where, x + " is None; expected an array of numbers");
  if (py::isinstance<py::array>(object)) {
    const auto array = py::reinterpret_borrow<py::array>(object);
    return unmask(array, name, where);
  }
  const py::module_ numpy = py::module_::import("numpy");
  if (PyUnicode_Check(object.ptr()) || PyBytes_Check(object.ptr()) || PyFloat_Check(object.ptr()) ||
      PyLong_Check(object.ptr()) || PyComplex_Check(object.ptr()) ||
      py::isinstance(object, numpy.attr("generic"))) {
    fail_type(where, x + " is of type " + type_name(object) + "; expected an array of numbers");
  }
  const bool by_protocol = is_array_like(object);
  if (!by_protocol && !py::hasattr(object, "__dlpack__")) {
    const bool sparse = py::hasattr(object, "toarray");
    fail_type(where, x + " is of type " + type_name(object) + "; expected an array of numbers" +
                         (sparse ? ": use " + x + ".toarray()" : ""));
  }
  const py::object tracked = py::getattr(object, "requires_grad", py::none());
  if (PyBool_Check(tracked.ptr()) && tracked.cast<bool>()) {
    fail_type(where, x + " is a " + type_name(object) +
                         " that requires grad, and its history would be lost: use " + x +
                         ".detach()");
  }
  py::object array;
  try {
    array = numpy.attr(by_protocol ? "asarray" : "from_dlpack")(object);
  } catch (py::error_already_set& error) {
    rethrow_as_ours(error, object, name, where);
  }
  return py::reinterpret_steal<py::array>(array.release());
}

/// Rows, columns and strides; those of a dimension of length one mean nothing to NumPy and become
/// what a contiguous array would have.
ArrayView view_of(const py::array& array, ElementType type, bool byte_swapped) {
  ArrayView view;
  view.data = static_cast<const std::byte*>(array.data());
  view.type = type;
  view.byte_swapped = byte_swapped;
  const bool matrix = array.ndim() == 2;
  view.rows = array.shape()[0];
  view.cols = matrix ? array.shape()[1] : 1;
  view.row_stride = array.strides()[0];
  view.col_stride = matrix && view.cols > 1 ? array.strides()[1] : element_bytes(type);
  if (view.rows == 1) view.row_stride = view.cols * element_bytes(type);
  return view;
}

[[noreturn]] void fail_rank(const py::array& array, const char* name, const std::string& expected,
                            std::string_view where) {
  fail_value(where,
             std::string(name) + " has shape " + shape_text(array) + "; expected " + expected);
}

std::string has_shape(const char* name, const InputArray& input) {
  return std::string(name) + " has shape " + input.shape();
}

void check_rows(const InputArray& input, const char* name, index_t rows, std::string_view where) {
  if (rows < 0 || input.view.rows == rows) return;
  fail_value(where, has_shape(name, input) + "; expected " + std::to_string(rows) +
                        " rows, one for each row of the input");
}

}  // namespace

std::string InputArray::shape() const {
  const std::array<py::ssize_t, 2> dims{view.rows, view.cols};
  return shape_text(dims.data(), rank);
}

InputArray parse_array(py::handle object, const char* name, std::string_view where) {
  InputArray input;
  // A subclass may give its elements another meaning (a mask); only ndarray itself is read as it is.
  if (Py_TYPE(object.ptr()) == npy::get().PyArray_Type_) {
    input.owner = py::reinterpret_borrow<py::object>(object);
  } else {
    input.owner = to_array(object, name, where);
  }
  const auto& array = static_cast<const py::array&>(input.owner);

  const auto* descriptor =
      py::detail::array_descriptor_proxy(py::detail::array_proxy(array.ptr())->descr);
  const std::optional<ElementType> type = element_type(descriptor->type_num);
  if (!type) fail_dtype(array, name, where);
  constexpr char kForeign = std::endian::native == std::endian::little ? '>' : '<';

  if (array.ndim() != 1 && array.ndim() != 2) fail_rank(array, name, "(n,) or (n, k)", where);
  input.rank = static_cast<int>(array.ndim());
  input.view = view_of(array, *type, descriptor->byteorder == kForeign);
  if (input.view.rows == 0 || input.view.cols == 0) {
    fail_value(where, has_shape(name, input) + "; expected at least one row and one column");
  }
  // In the widest dtype that the elements may be converted to. Views can be of any size, since
  // strides may be zero.
  index_t bytes = 0;
  if (__builtin_mul_overflow(input.view.rows, input.view.cols, &bytes) ||
      __builtin_mul_overflow(bytes, static_cast<index_t>(sizeof(double)), &bytes)) {
    fail_value(where, has_shape(name, input) + "; expected no more elements than memory can have");
  }
  return input;
}

InputArray parse_features(py::handle object, const char* name, index_t cols,
                          std::string_view where) {
  InputArray input = parse_array(object, name, where);
  if (input.rank == 2 && (cols < 0 || input.view.cols == cols)) return input;
  std::string text = has_shape(name, input) + "; expected " + expected_text(-1, cols);
  if (input.rank == 1) {
    const std::string x = name;
    if (cols < 0 || cols == 1) text += ": for one feature use " + x + ".reshape(-1, 1)";
    if (input.view.rows == cols && cols > 1) text += ": for one row use " + x + ".reshape(1, -1)";
  }
  fail_value(where, text);
}

InputArray parse_targets(py::handle object, const char* name, index_t rows, index_t cols,
                         std::string_view where) {
  InputArray input = parse_array(object, name, where);
  if (input.view.cols != cols || (input.rank == 1 && cols != 1)) {
    std::string text = has_shape(name, input) + "; expected " + expected_text(rows, cols);
    if (cols == 1) text += " or " + vector_text(rows);
    fail_value(where, text + ", the shape of the prediction; targets are not broadcast");
  }
  check_rows(input, name, rows, where);
  return input;
}

InputArray parse_labels(py::handle object, const char* name, index_t rows, std::string_view where) {
  InputArray input = parse_array(object, name, where);
  const std::string y = name;
  if (is_floating(input.view.type)) {
    const auto dtype = py::str(input.owner.attr("dtype")).cast<std::string>();
    fail_type(where, y + " has dtype " + dtype + "; expected integer class indices: use " + y +
                         ".astype(int)");
  }
  if (input.rank != 1) {
    std::string fix;
    if (input.view.cols == 1) fix = ": use " + y + ".ravel()";
    if (input.view.rows == 1 && input.view.cols > 1) fix = ": use " + y + "[0]";
    fail_value(where, has_shape(name, input) + "; expected class indices of shape " +
                          vector_text(rows) + fix);
  }
  check_rows(input, name, rows, where);
  return input;
}

InputArray parse_class_targets(py::handle object, const char* name, index_t rows, index_t n_classes,
                               std::int64_t ignore_index, std::string_view where) {
  InputArray input = parse_array(object, name, where);
  const bool probabilities = input.rank == 2 && (input.view.cols > 1 || n_classes == 1) &&
                             (is_floating(input.view.type) || input.view.cols == n_classes);
  if (!probabilities) {
    // Through the same door, so that both ways say the same.
    const py::object array = std::move(input.owner);
    input = parse_labels(array, name, rows, where);
    check_labels(input, name, n_classes, ignore_index, where);
    return input;
  }
  if (input.view.cols != n_classes) {
    fail_value(where, has_shape(name, input) + "; expected class probabilities of shape " +
                          expected_text(rows, n_classes) + " or class indices of shape " +
                          vector_text(rows));
  }
  check_rows(input, name, rows, where);
  check_probabilities(input, name, where);
  return input;
}

InputArray parse_vector(py::handle object, const char* name, index_t length,
                        std::string_view where) {
  InputArray input = parse_array(object, name, where);
  if (input.rank == 1 && (length < 0 || input.view.rows == length)) return input;
  fail_value(where, has_shape(name, input) + "; expected " + vector_text(length));
}

void check_labels(const InputArray& labels, const char* name, index_t n_classes,
                  std::int64_t ignore_index, std::string_view where) {
  const std::optional<BadLabel> bad = find_bad_label(labels.view, n_classes, ignore_index);
  if (!bad) return;
  fail_value(where, std::string(name) + "[" + std::to_string(bad->row) + "] is " +
                        (bad->negative ? "-" : "") + std::to_string(bad->magnitude) +
                        "; expected a class index from 0 to " + std::to_string(n_classes - 1) +
                        ", or ignore_index = " + std::to_string(ignore_index));
}

void check_probabilities(const InputArray& probabilities, const char* name,
                         std::string_view where) {
  const std::optional<BadElement> bad = find_bad_probability(probabilities.view);
  if (!bad) return;
  fail_value(where, std::string(name) + "[" + std::to_string(bad->row) + ", " +
                        std::to_string(bad->col) + "] is " + number_text(bad->value) +
                        "; expected a probability, finite and not negative");
}

std::string overflow_message(const BadElement& bad, const InputArray& array, const char* name,
                             const char* dtype) {
  std::string place = std::string(name) + "[" + std::to_string(bad.row);
  if (array.rank == 2) place += ", " + std::to_string(bad.col);
  return place + "] is " + number_text(bad.value) + ", which overflows " + dtype +
         "; scale the data, or use a float64 model";
}

}  // namespace schuss::bindings

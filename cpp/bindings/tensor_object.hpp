// SPDX-License-Identifier: MIT
/// Tensors as Python objects: operands, dimensions, results, and what the tensor_*.cpp files share.
#pragma once

#include <string>
#include <vector>

#include "autograd/ops.hpp"
#include "bindings/common.hpp"

namespace schuss::bindings {

using TensorClass = py::class_<Tensor, TensorPtr>;

/// The tensor of a Tensor object; null for any other object.
TensorPtr tensor_or_null(PyObject* object);
/// A new Python object for a tensor that has none, or the one it has.
PyObject* wrap(TensorPtr tensor);
inline py::object wrapped(TensorPtr tensor) {
  return py::reinterpret_steal<py::object>(wrap(std::move(tensor)));
}

/// A tensor, or a number.
struct Operand {
  TensorPtr tensor;  // null: a number
  double number = 0.0;
  NumberKind kind = NumberKind::kFloat;
};
/// False where the object is neither; arrays become tensors (floating ones of dtype `like`).
bool parse_operand(PyObject* object, DType like, Operand* operand);

/// An operation of two operands, at least one of them a tensor; `attributes` says which.
TensorPtr apply_two(Op op, OpAttributes attributes, const Operand& a, const Operand& b);
TensorPtr apply_pair(Pair pair, const Operand& a, const Operand& b);
TensorPtr apply_map(Map map, const TensorPtr& x, MapOptions options = {});
TensorPtr apply_division(Division division, const Operand& a, const Operand& b);
/// base ** exponent.
TensorPtr apply_power(const Operand& base, const Operand& exponent);

/// condition ? a : b; at least one of the two is a tensor. Throws where the condition is not bool.
TensorPtr apply_where(const TensorPtr& condition, const Operand& a, const Operand& b);

/// -rank..rank-1 to 0..rank-1. Throws IndexError as PyTorch does.
int normal_dim(index_t dim, int rank);
/// None, an integer or several to bits; None is all. `dim` gets the first, or -1 for None.
std::uint8_t parse_dims(const py::object& dims, int rank, int* dim);
/// Sizes from (2, 3) or ((2, 3),).
Dims parse_shape(const py::args& sizes);
Dims parse_shape(py::handle sizes);

/// A tensor of Python data, copied: floats become float32 and integers int64 unless `dtype` says
/// otherwise; arrays keep theirs.
TensorPtr tensor_from(py::handle data, const py::object& dtype);
/// As float32, float64, int64 or bool, from a NumPy dtype, its name or a Python type.
DType parse_any_dtype(py::handle dtype);

/// An element as a Python number.
py::object python_number(const Tensor& tensor);

void define_operators(TensorClass& tensor);  // tensor_operators.cpp
/// C slots, after the definitions: an operation from Python costs little more than itself.
void install_slots(TensorClass& tensor);
void define_methods(TensorClass& tensor);   // tensor_methods.cpp
void define_more(TensorClass& tensor);      // tensor_more.cpp
void define_in_place(TensorClass& tensor);  // tensor_in_place.cpp
void define_indexing(TensorClass& tensor);  // tensor_index.cpp
void register_activation(py::module_& m);   // tensor_methods.cpp
void register_creation(py::module_& m);     // tensor_creation.cpp
void register_linear(py::module_& m);       // tensor_linear.cpp
void register_grad_mode(py::module_& m);    // grad_mode.cpp

}  // namespace schuss::bindings

// SPDX-License-Identifier: MIT
/// What the binding files share. Everything here needs the GIL unless it says otherwise.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "autograd/ops.hpp"
#include "autograd/tensor.hpp"
#include "bindings/array_input.hpp"
#include "kernels/activation.hpp"
#include "nn/calls.hpp"
#include "nn/loss.hpp"
#include "optim/optimizer.hpp"

namespace schuss::bindings {

namespace py = pybind11;

/// What Python calls the activations, in the order of the enumeration.
inline constexpr std::array<const char*, kActivationCount> kActivationNames = {
    "identity", "relu",    "leaky_relu", "elu",  "gelu",    "gelu_tanh",  "silu",
    "softplus", "sigmoid", "tanh",       "step", "softmax", "log_softmax"};

/// A Python object that C++ objects keep alive, released under the GIL from any thread.
std::shared_ptr<void> keep_alive(py::object object);

/// "float32" or "float64", or anything numpy.dtype makes one of them of. TypeError otherwise.
DType parse_dtype(py::handle dtype);
py::dtype numpy_dtype(DType dtype);

/// The elements as an ndarray that shares memory and keeps the tensor alive; read-only when the
/// tensor was computed (its graph relies on the values).
py::array to_numpy(const TensorPtr& tensor);

/// A new contiguous tensor with the values of any numeric array of any rank.
TensorPtr copy_to_tensor(py::handle object, DType dtype, const char* name);

/// Writes an array of exactly the parameter's shape into its storage.
void assign_values(Parameter& parameter, py::handle values, const char* name);

/// Rows for a network of that dtype: a tensor, or an array, held in place where possible. `cols`: -1
/// for any.
HeldRows hold_rows(py::handle x, const char* name, DType dtype, index_t cols,
                   const std::string& where);

/// Rows converted from a parsed array; ValueError where an element overflows.
HeldRows convert_rows(const InputArray& array, const char* name, DType dtype);

/// A loss as Python holds it: checked options.
struct PyLoss {
  std::string name;
  bool cross_entropy = false;  // indices or probabilities, as the target says
  LossSpec spec;

  /// Parses the target of a prediction of (rows, cols), and fixes the kind of the returned spec.
  /// Throws ValueError when class weights do not fit `cols`.
  LossSpec bind(py::handle target, const char* name, index_t rows, index_t cols,
                const std::string& where, InputArray* parsed) const;
};

/// True after a signal: the Python exception is set. Takes the GIL.
bool signal_pending();

void register_info(py::module_& m);
void register_tensor(py::module_& m);
void register_network(py::module_& m);
void register_loss(py::module_& m);
void register_optimizer(py::module_& m);
void register_schedule(py::module_& m);
void register_trainer(py::module_& m);
void register_program(py::module_& m);
void register_random(py::module_& m);
void register_testing(py::module_& m);

}  // namespace schuss::bindings

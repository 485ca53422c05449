// SPDX-License-Identifier: MIT
/// Networks: compiled from Python's layers, called step by step or over whole data sets.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>

#include "autograd/recording.hpp"
#include "bindings/slots.hpp"
#include "bindings/tensor_object.hpp"
#include "optim/optimizer.hpp"
#include "train/evaluate.hpp"

namespace schuss::bindings {
namespace {

Activation parse_activation(const std::string& name) {
  for (std::size_t i = 0; i < kActivationNames.size(); ++i) {
    if (name == kActivationNames[i]) return static_cast<Activation>(i);
  }
  throw ValueError("activation: got \"" + name + "\"; it is not one of the kinds");
}

Layer parse_layer(const py::tuple& t) {
  Layer layer;
  if (t[0].cast<std::string>() == "linear") {
    layer.weight = t[1].cast<ParameterPtr>();
    if (!t[2].is_none()) layer.bias = t[2].cast<ParameterPtr>();
    layer.label = t[3].cast<std::string>();
    return layer;
  }
  layer.activation = parse_activation(t[1].cast<std::string>());
  layer.options = {t[2].cast<double>(), t[3].cast<double>(), t[4].cast<double>()};
  layer.label = t[5].cast<std::string>();
  return layer;
}

bool holds_all_of(const CallableNetwork& network, const Optimizer& optimizer) {
  return optimizer.slot_outside(network.network().parameters()) == nullptr;
}

std::shared_ptr<CallableNetwork> make_network(const py::sequence& layers, const py::object& dtype) {
  std::vector<Layer> parsed;
  for (const py::handle layer : layers) parsed.push_back(parse_layer(layer.cast<py::tuple>()));
  return std::make_shared<CallableNetwork>(parsed,
                                           dtype.is_none() ? DType::kFloat32 : parse_dtype(dtype));
}

index_t expected_cols(const Network& network) { return network.n_in() > 0 ? network.n_in() : -1; }

/// Work (multiply-adds) above which giving other Python threads the interpreter is worth its cost.
constexpr double kReleaseWork = 1e6;

TensorPtr run(CallableNetwork& self, py::handle x) {
  const Network& network = self.network();
  const HeldRows rows =
      hold_rows(x, "X", network.dtype(), expected_cols(network), network.input_label());
  const bool record = grad_enabled();
  if (network.work_per_row() * static_cast<double>(rows.rows) < kReleaseWork) {
    return self.call(rows, record);
  }
  // The rows are held, the parameters guarded by the network's busy flag.
  const py::gil_scoped_release release;
  return self.call(rows, record);
}

TensorPtr call(CallableNetwork& self, py::handle x) {
  TensorPtr output = run(self, x);
  if (OpListener* const listener = op_listener(); listener != nullptr) {
    if (const TensorPtr input = tensor_or_null(x.ptr())) {
      OpAttributes attributes;
      attributes.callee = self.shared_from_this();
      listener->on_op(Op::kNetwork, attributes, {input}, output);
    }
  }
  return output;
}

/// Softmax over a dimension that is the last only of a matrix: option a is 1 where it is the last.
const Stage* of_matrices(const Network& network) {
  for (const Stage& stage : network.stages()) {
    const bool rows =
        stage.activation == Activation::kSoftmax || stage.activation == Activation::kLogSoftmax;
    if (rows && stage.options.a == 0.0) return &stage;
  }
  return nullptr;
}

/// As PyTorch's layers take it: the last dimension holds the features, those before it are rows.
TensorPtr call_any_rank(CallableNetwork& self, py::handle x) {
  const TensorPtr given = tensor_or_null(x.ptr());
  if (given == nullptr || given->shape.rank == 2) return call(self, x);
  const Network& network = self.network();
  const Dims& shape = given->shape;
  const index_t width = shape.rank == 0 ? 1 : shape[shape.rank - 1];
  const bool other_width = network.n_in() > 0 && width != network.n_in();
  if (other_width || given->count() == 0) return call(self, x);
  if (const Stage* stage = of_matrices(network); stage != nullptr && shape.rank != 1) {
    throw ValueError(stage->label + ": X has shape " + to_string(shape) +
                     "; expected (n, k), or dim=-1 for the last dimension");
  }
  OpAttributes rows;
  rows.shape = {given->count() / width, width};
  const py::object matrix = wrapped(apply(Op::kReshape, rows, {given}));
  const TensorPtr output = call(self, matrix);
  OpAttributes back;
  back.shape = shape;
  if (shape.rank > 0) back.shape[shape.rank - 1] = output->shape[1];
  return apply(Op::kReshape, back, {output});
}

PyObject* call_slot(CallableNetwork& self, PyObject* const* x) {
  return wrap(call_any_rank(self, *x));
}

py::array predict_all(CallableNetwork& self, const py::object& x) {
  const Network& network = self.network();
  const py::object plain =
      py::isinstance<Tensor>(x) ? py::object(to_numpy(x.cast<TensorPtr>())) : x;
  const InputArray input =
      parse_features(plain, "X", expected_cols(network), network.input_label());
  const index_t width = network.n_out(input.view.cols);
  TensorPtr out = make_tensor(network.dtype(), {input.view.rows, width}, Uninitialized{});
  BadElement bad;
  RunStatus status = RunStatus::kDone;
  {
    const BusyGuard guard(self.busy(), "the model");
    // Parsed above: nothing below touches Python but the poll, which takes the GIL.
    const py::gil_scoped_release release;
    status = predict(network, input.view, out->data, width, &bad, [] { return !signal_pending(); });
  }
  if (status == RunStatus::kStopped) throw py::error_already_set();
  if (status == RunStatus::kBadFeature) {
    throw ValueError(overflow_message(bad, input, "X", dtype_name(network.dtype())));
  }
  return to_numpy(out);
}

}  // namespace

void register_network(py::module_& m) {
  py::class_<CallableNetwork, std::shared_ptr<CallableNetwork>> network(
      m, "Network", "A model's layers as a native plan. Holds the parameters, copies nothing.");
  network
      .def(py::init(&make_network), py::arg("layers"), py::arg("dtype") = py::none(),
           "dtype: of a network without parameters; float32 where it is None.")
      .def(
          "__call__",
          [](CallableNetwork& self, const py::object& x) { return call_any_rank(self, x); },
          py::arg("x"),
          "Outputs (n, out_features) of rows (n, in_features); also (*, in) to (*, out).")
      .def("predict", &predict_all, py::arg("x"),
           "Outputs as an ndarray; working memory does not grow with the rows.")
      .def_property_readonly(
          "parameters", [](const CallableNetwork& n) { return n.network().parameters(); },
          "Each once, in the order of the layers.")
      .def("holds_all_of", &holds_all_of, py::arg("optimizer"),
           "Whether every parameter of that optimizer is one of the network's.")
      .def_property_readonly("in_features",
                             [](const CallableNetwork& n) { return n.network().n_in(); })
      .def(
          "out_features",
          [](const CallableNetwork& n, index_t n_in) { return n.network().n_out(n_in); },
          py::arg("in_features") = 0)
      .def_property_readonly(
          "dtype", [](const CallableNetwork& n) { return numpy_dtype(n.network().dtype()); });
  CallSlot<CallableNetwork, 1, &call_slot>::install(network);
}

}  // namespace schuss::bindings

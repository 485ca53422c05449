// SPDX-License-Identifier: MIT
/// Losses: options are checked here, once.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cmath>
#include <limits>

#include "autograd/recording.hpp"
#include "base/text.hpp"
#include "bindings/slots.hpp"
#include "bindings/tensor_object.hpp"
#include "nn/program.hpp"

namespace schuss::bindings {
namespace {

LossKind parse_kind(const std::string& name) {
  if (name == "mse") return LossKind::kMSE;
  if (name == "l1") return LossKind::kL1;
  if (name == "huber") return LossKind::kHuber;
  if (name == "smooth_l1") return LossKind::kSmoothL1;
  if (name == "bce") return LossKind::kBCE;
  if (name == "bce_with_logits") return LossKind::kBCEWithLogits;
  if (name == "cross_entropy") return LossKind::kCrossEntropyIndex;
  if (name == "nll") return LossKind::kNLL;
  throw ValueError("loss: got \"" + name + "\"; it is not one of the kinds");
}

Reduction parse_reduction(const std::string& name) {
  if (name == "none") return Reduction::kNone;
  if (name == "mean") return Reduction::kMean;
  if (name == "sum") return Reduction::kSum;
  throw ValueError("reduction: got \"" + name + "\"; expected \"none\", \"mean\" or \"sum\"");
}

std::vector<double> parse_weights(const py::object& weights, const char* name) {
  if (weights.is_none()) return {};
  const InputArray parsed = parse_vector(
      py::isinstance<Tensor>(weights) ? py::object(to_numpy(weights.cast<TensorPtr>())) : weights,
      name, -1, "");
  std::vector<double> values(static_cast<std::size_t>(parsed.view.rows));
  BadElement bad;
  if (!gather_rows<double>(parsed.view, nullptr, 0, parsed.view.rows, values.data(), 1, &bad)) {
    throw ValueError(overflow_message(bad, parsed, name, "float64"));
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!(values[i] >= 0.0 && std::isfinite(values[i]))) {
      throw ValueError(std::string(name) + ": got " + shortest_text(values[i]) + " at index " +
                       std::to_string(i) + "; expected finite numbers, 0 or more");
    }
  }
  return values;
}

PyLoss make_loss(const std::string& kind, const std::string& reduction, double a,
                 double label_smoothing, std::int64_t ignore_index, const py::object& weight,
                 const py::object& pos_weight) {
  PyLoss loss;
  loss.name = kind;
  loss.spec.kind = parse_kind(kind);
  loss.cross_entropy = loss.spec.kind == LossKind::kCrossEntropyIndex;
  loss.spec.reduction = parse_reduction(reduction);
  loss.spec.a = a;
  const bool positive = a > 0.0 && std::isfinite(a);
  if (loss.spec.kind == LossKind::kHuber && !positive) {
    throw ValueError("delta: got " + shortest_text(a) + "; expected a positive number");
  }
  if (loss.spec.kind == LossKind::kSmoothL1 && !(positive || a == 0.0)) {
    throw ValueError("beta: got " + shortest_text(a) + "; expected a number, 0 or more");
  }
  if (!(label_smoothing >= 0.0 && label_smoothing <= 1.0)) {
    throw ValueError("label_smoothing: got " + shortest_text(label_smoothing) +
                     "; expected a number in [0, 1]");
  }
  loss.spec.label_smoothing = label_smoothing;
  loss.spec.ignore_index = ignore_index;
  loss.spec.weight = parse_weights(weight, "weight");
  loss.spec.pos_weight = parse_weights(pos_weight, "pos_weight");
  return loss;
}

void check_weights(const std::vector<double>& weights, const char* name, index_t cols) {
  if (weights.empty() || static_cast<index_t>(weights.size()) == cols) return;
  throw ValueError(std::string(name) + ": got " + std::to_string(weights.size()) +
                   " values; expected " + std::to_string(cols) + ", one for each column");
}

TensorPtr as_prediction(py::handle object) {
  if (TensorPtr tensor = tensor_or_null(object.ptr())) {
    if (!is_floating(tensor->dtype)) {
      throw TypeError(std::string("loss: prediction is ") + dtype_name(tensor->dtype) +
                      "; expected float32 or float64 (use .float())");
    }
    if (!tensor->is_contiguous()) tensor = apply(Op::kClone, {}, {tensor});
    if (tensor->shape.rank == 0 || tensor->shape.rank > 2) {
      throw ValueError("loss: prediction has shape " + to_string(tensor->shape) +
                       "; expected (n, k) or (n,)");
    }
    return tensor;
  }
  const InputArray parsed = parse_array(object, "prediction", "loss");
  const DType dtype = parsed.view.type == ElementType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  const HeldRows rows = convert_rows(parsed, "prediction", dtype);
  TensorPtr tensor =
      make_tensor(dtype, parsed.rank == 1 ? Dims{rows.rows} : Dims{rows.rows, rows.cols});
  for (index_t r = 0; r < rows.rows; ++r) {
    std::memcpy(tensor->data + r * rows.cols * item_bytes(dtype),
                static_cast<const std::byte*>(rows.data) + r * rows.ld * item_bytes(dtype),
                static_cast<std::size_t>(rows.cols * item_bytes(dtype)));
  }
  return tensor;
}

py::object plain_target(py::handle target) {
  const TensorPtr tensor = tensor_or_null(target.ptr());
  if (tensor == nullptr) return py::reinterpret_borrow<py::object>(target);
  if (tensor->requires_grad) {
    throw TypeError("loss: the target requires a gradient; use target.detach()");
  }
  return to_numpy(tensor);
}

/// Targets held for a graph: labels are copied to int64, rows stay where they are if they can.
HeldTargets hold_targets(const LossSpec& spec, const InputArray& parsed, DType dtype) {
  HeldTargets held;
  if (!takes_labels(spec.kind)) {
    held.numbers = convert_rows(parsed, "target", dtype);
    return held;
  }
  auto labels = std::make_shared<AlignedBuffer<std::int64_t>>(parsed.view.rows);
  gather_labels(parsed.view, nullptr, 0, parsed.view.rows, labels->data());
  held.labels = labels->data();
  held.owner = labels;
  return held;
}

/// PyTorch's rule for nn.BCELoss.
void check_unit_interval(const Tensor& prediction) {
  dispatch_dtype(prediction.dtype, [&]<class T>() {
    const T* p = prediction.ptr<T>();
    for (index_t i = 0; i < prediction.count(); ++i) {
      if (!(p[i] >= T(0) && p[i] <= T(1))) {
        throw ValueError("bce: prediction has " + shortest_text(p[i]) + " at element " +
                         std::to_string(i) +
                         "; expected probabilities in [0, 1] (nn.BCEWithLogitsLoss takes logits)");
      }
    }
  });
}

TensorPtr loss_of(const PyLoss& self, const TensorPtr& prediction, py::handle target, bool record,
                  index_t shards = 1) {
  const index_t rows = prediction->shape[0];
  const index_t cols = prediction->shape.rank > 1 ? prediction->shape[1] : 1;
  note_read(*prediction, "a loss of nn");
  if (self.spec.kind == LossKind::kBCE) check_unit_interval(*prediction);
  InputArray parsed;
  const LossSpec spec = self.bind(plain_target(target), "target", rows, cols, self.name, &parsed);
  return call_loss(spec, prediction, hold_targets(spec, parsed, prediction->dtype), record, shards);
}

TensorPtr reshaped(const TensorPtr& x, const Dims& shape) {
  OpAttributes attributes;
  attributes.shape = shape;
  return apply(Op::kReshape, attributes, {x});
}

/// As PyTorch's losses take tensors: elementwise ones of any dimensions, as one column; those over
/// classes also (k,) with one label, as one row.
TensorPtr call_any_rank(const PyLoss& self, py::handle prediction, py::handle target) {
  const TensorPtr given = tensor_or_null(prediction.ptr());
  const TensorPtr goal = given == nullptr ? nullptr : tensor_or_null(target.ptr());
  const bool over_classes = self.cross_entropy || self.spec.kind == LossKind::kNLL;
  const bool one_row =
      over_classes && goal != nullptr && given->shape.rank == 1 && goal->shape.rank == 0;
  const bool flat = !over_classes && goal != nullptr && given->count() > 0 &&
                    goal->shape == given->shape &&
                    (given->shape.rank == 0 || given->shape.rank > 2);
  if (!one_row && !flat) return loss_of(self, as_prediction(prediction), target, grad_enabled());
  const TensorPtr rows = reshaped(given, one_row ? Dims{1, given->count()} : Dims{given->count()});
  const TensorPtr goals = reshaped(goal, {goal->count()});
  const TensorPtr cost =
      loss_of(self, as_prediction(wrapped(rows)), wrapped(goals), grad_enabled());
  return cost->shape.rank == 0 ? cost : reshaped(cost, goal->shape);
}

PyObject* call_slot(PyLoss& self, PyObject* const* arguments) {
  return wrap(call_any_rank(self, arguments[0], arguments[1]));
}

py::tuple value_and_grad(const PyLoss& self, const py::object& prediction, const py::object& target,
                         index_t shards) {
  const TensorPtr given = as_prediction(prediction);
  auto leaf = std::make_shared<Tensor>();
  *leaf = *make_view(*given, given->shape);
  leaf->requires_grad = true;
  const TensorPtr cost = loss_of(self, leaf, target, true, shards);
  if (cost->shape.rank != 0) {
    throw ValueError(
        "value_and_grad: reduction is \"none\"; expected \"mean\" or \"sum\", which give one "
        "number");
  }
  run_backward(cost, nullptr, false);
  return py::make_tuple(cost->item(), to_numpy(leaf->grad));
}

}  // namespace

LossSpec PyLoss::bind(py::handle target, const char* target_name, index_t rows, index_t cols,
                      const std::string& where, InputArray* parsed) const {
  LossSpec bound = spec;
  if (spec.program != nullptr) {
    if (cols != spec.program->cols) {
      throw ValueError(where + ": recorded for predictions of " +
                       std::to_string(spec.program->cols) + " columns; got " +
                       std::to_string(cols));
    }
    *parsed = parse_targets(target, target_name, rows, spec.program->target_cols, where);
    return bound;
  }
  check_weights(spec.weight, "weight", cols);
  check_weights(spec.pos_weight, "pos_weight", cols);
  if (cross_entropy) {
    *parsed = parse_class_targets(target, target_name, rows, cols, spec.ignore_index, where);
    if (parsed->rank == 2) bound.kind = LossKind::kCrossEntropyProbs;
  } else if (spec.kind == LossKind::kNLL) {
    *parsed = parse_labels(target, target_name, rows, where);
    check_labels(*parsed, target_name, cols, spec.ignore_index, where);
  } else {
    *parsed = parse_targets(target, target_name, rows, cols, where);
  }
  return bound;
}

void register_loss(py::module_& m) {
  py::class_<PyLoss> loss(m, "Loss", "A loss with checked options.");
  loss.def(py::init(&make_loss), py::arg("kind"), py::arg("reduction") = "mean", py::kw_only(),
           py::arg("a") = 1.0, py::arg("label_smoothing") = 0.0, py::arg("ignore_index") = -100,
           py::arg("weight") = py::none(), py::arg("pos_weight") = py::none())
      .def_property_readonly("kind", [](const PyLoss& self) { return self.name; })
      .def_property_readonly(
          "whole_targets",
          [](const PyLoss& self) {
            return self.spec.program != nullptr && self.spec.program->whole_targets;
          },
          "A recorded loss compares its targets as integers.")
      .def(
          "__call__",
          [](const PyLoss& self, const py::object& prediction, const py::object& target) {
            return call_any_rank(self, prediction, target);
          },
          py::arg("prediction"), py::arg("target"))
      .def("value_and_grad", &value_and_grad, py::arg("prediction"), py::arg("target"),
           py::arg("shards") = 1, "The loss and its gradient with respect to the prediction.");
  CallSlot<PyLoss, 2, &call_slot>::install(loss);
}

}  // namespace schuss::bindings

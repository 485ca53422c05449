// SPDX-License-Identifier: MIT
/// Losses recorded from Python functions.
#include <pybind11/stl.h>

#include "bindings/tensor_object.hpp"
#include "nn/chain_record.hpp"
#include "nn/program_record.hpp"

namespace schuss::bindings {
namespace {

/// Listens to this thread's operations while it lives.
class Listening {
 public:
  template <class Listener>
  explicit Listening(Listener& recording)
      : ops_(set_op_listener(&recording)), reads_(set_read_listener(&recording)) {}
  ~Listening() {
    set_op_listener(ops_);
    set_read_listener(reads_);
  }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

 private:
  OpListener* ops_;
  ReadListener* reads_;
};

py::object run(Recording& recording, const py::function& function, const py::object& prediction,
               const py::object& target) {
  py::object result;
  {
    const Listening listening(recording);
    result = function(prediction, target);
  }
  const TensorPtr tensor = tensor_or_null(result.ptr());
  if (tensor != nullptr && recording.refusal().empty()) recording.finish(tensor);
  return result;
}

PyLoss recorded_loss(const Recording& one, const Recording& other, const std::string& name) {
  PyLoss loss;
  loss.name = name;
  loss.spec.kind = LossKind::kL1;
  loss.spec.program = make_program(one, other);
  return loss;
}

py::object run_chain(ChainRecording& recording, const py::object& function, const py::object& x) {
  py::object result;
  {
    const Listening listening(recording);
    result = function(x);
  }
  const TensorPtr tensor = tensor_or_null(result.ptr());
  if (tensor == nullptr) throw TypeError("the model returned no Tensor");
  if (recording.refusal().empty()) recording.finish(tensor);
  return result;
}

std::shared_ptr<CallableNetwork> recorded_chain(const ChainRecording& one,
                                                const ChainRecording& other) {
  return std::make_shared<CallableNetwork>(recorded_layers(one, other));
}

}  // namespace

void register_program(py::module_& m) {
  py::class_<Recording>(m, "Recording", "One run of a function of (prediction, target).")
      .def(py::init<const TensorPtr&, const TensorPtr&>(), py::arg("prediction"), py::arg("target"))
      .def("run", &run, py::arg("function"), py::arg("prediction"), py::arg("target"),
           "Calls the function with the tensors that the recording was made with.")
      .def("watch", &Recording::watch, py::arg("tensors"),
           "Refuse the use of these: their values change while the loss is in use.")
      .def_property_readonly("refusal", &Recording::refusal,
                             "Why it cannot be recorded; or empty.");
  m.def("recorded_loss", &recorded_loss, py::arg("one"), py::arg("other"), py::arg("name"),
        "The loss that both recordings are runs of.");
  py::class_<ChainRecording>(m, "ChainRecording", "One run of a model's forward().")
      .def(py::init<TensorPtr>(), py::arg("x"))
      .def("run", &run_chain, py::arg("function"), py::arg("x"),
           "Calls the function with the tensor that the recording was made with.")
      .def_property_readonly("refusal", &ChainRecording::refusal, "Why it is no chain; or empty.");
  m.def("recorded_chain", &recorded_chain, py::arg("one"), py::arg("other"),
        "The network that both recordings are runs of.");
}

}  // namespace schuss::bindings

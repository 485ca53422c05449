// SPDX-License-Identifier: MIT
/// Optimizers: options by PyTorch's names, live and checked.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cmath>
#include <cstring>

#include "base/fp_environment.hpp"
#include "bindings/slots.hpp"
#include "kernels/dispatch.hpp"

namespace schuss::bindings {
namespace {

struct OptionName {
  const char* name;
  double GroupOptions::*number;  // or
  bool GroupOptions::*flag;
  bool sgd;
  bool adam;
};

constexpr OptionName kOptions[] = {
    {"lr", &GroupOptions::lr, nullptr, true, true},
    {"momentum", &GroupOptions::momentum, nullptr, true, false},
    {"dampening", &GroupOptions::dampening, nullptr, true, false},
    {"weight_decay", &GroupOptions::weight_decay, nullptr, true, true},
    {"nesterov", nullptr, &GroupOptions::nesterov, true, false},
    {"maximize", nullptr, &GroupOptions::maximize, true, true},
    {"beta1", &GroupOptions::beta1, nullptr, false, true},
    {"beta2", &GroupOptions::beta2, nullptr, false, true},
    {"eps", &GroupOptions::eps, nullptr, false, true},
    {"amsgrad", nullptr, &GroupOptions::amsgrad, false, true},
};

const OptionName& find_option(const Optimizer& optimizer, const std::string& name) {
  const bool sgd = optimizer.method() == Method::kSGD;
  std::string known;
  for (const OptionName& option : kOptions) {
    if (!(sgd ? option.sgd : option.adam)) continue;
    if (name == option.name) return option;
    known += known.empty() ? "" : ", ";
    known += option.name;
  }
  throw TypeError("unknown option \"" + name + "\"; expected one of " + known);
}

void set_option(GroupOptions* options, const OptionName& option, py::handle value) {
  if (option.flag != nullptr) {
    if (!py::isinstance<py::bool_>(value)) {
      throw TypeError(std::string(option.name) + ": got " + py::repr(value).cast<std::string>() +
                      "; expected True or False");
    }
    options->*option.flag = value.cast<bool>();
    return;
  }
  const bool number = PyFloat_Check(value.ptr()) ||
                      (PyLong_Check(value.ptr()) && !PyBool_Check(value.ptr())) ||
                      (PyNumber_Check(value.ptr()) != 0 && py::hasattr(value, "__float__") &&
                       !PyBool_Check(value.ptr()) && !py::isinstance<py::str>(value));
  if (!number) {
    throw TypeError(std::string(option.name) + ": got " + py::repr(value).cast<std::string>() +
                    "; expected a number");
  }
  options->*option.number = py::float_(py::reinterpret_borrow<py::object>(value)).cast<double>();
}

Method parse_method(const std::string& kind) {
  if (kind == "sgd") return Method::kSGD;
  if (kind == "adam") return Method::kAdam;
  if (kind == "adamw") return Method::kAdamW;
  throw ValueError("optimizer: got \"" + kind + "\"; it is not one of the kinds");
}

void add_group(Optimizer& self, const std::vector<TensorPtr>& params, const py::dict& options) {
  for (const TensorPtr& param : params) {
    if (!param->is_leaf() || !is_floating(param->dtype)) {
      throw ValueError(
          "params: got a tensor that was computed, or not of a floating dtype; "
          "expected leaves, such as schuss.zeros(1, requires_grad=True)");
    }
    if (dynamic_cast<const Parameter*>(param.get()) == nullptr && !param->is_contiguous()) {
      throw ValueError(
          "params: got a tensor whose elements do not lie in order; expected "
          "tensor.contiguous().requires_grad_()");
    }
  }
  GroupOptions parsed;
  for (const auto& [name, value] : options) {
    set_option(&parsed, find_option(self, name.cast<std::string>()), value);
  }
  self.add_group(params, parsed);
}

void check_group(const Optimizer& self, std::size_t group) {
  if (group >= self.groups().size()) throw py::index_error("param_groups: index out of range");
}

py::object get_option(const Optimizer& self, std::size_t group, const std::string& name) {
  check_group(self, group);
  const OptionName& option = find_option(self, name);
  const GroupOptions& options = self.groups()[group];
  if (option.flag != nullptr) return py::bool_(options.*option.flag);
  return py::float_(options.*option.number);
}

void change_option(Optimizer& self, std::size_t group, const std::string& name,
                   const py::object& value) {
  check_group(self, group);
  GroupOptions options = self.groups()[group];
  set_option(&options, find_option(self, name), value);
  self.set_options(group, options);
}

/// State lies like the parameter: wrapped as a tensor of its shape and strides to copy it out or in.
TensorPtr state_tensor(const Tensor& parameter, const AlignedBuffer<std::byte>& buffer) {
  TensorPtr tensor = parameter.make_grad();
  std::memcpy(tensor->data, buffer.data(), static_cast<std::size_t>(buffer.size()));
  return tensor;
}

struct StateName {
  const char* sgd;
  const char* adam;
  AlignedBuffer<std::byte> ParameterState::*buffer;
};
constexpr StateName kStates[] = {
    {"momentum_buffer", "exp_avg", &ParameterState::first},
    {nullptr, "exp_avg_sq", &ParameterState::second},
    {nullptr, "max_exp_avg_sq", &ParameterState::largest},
};

py::list get_state(const Optimizer& self) {
  const bool sgd = self.method() == Method::kSGD;
  py::list all;
  for (const Optimizer::Slot& slot : self.slots()) {
    py::dict state;
    state["step"] = slot.state.step;
    for (const StateName& name : kStates) {
      const char* key = sgd ? name.sgd : name.adam;
      const auto& buffer = slot.state.*name.buffer;
      const bool filled = !buffer.empty() && (!sgd || slot.state.started);
      if (key == nullptr || !filled) continue;
      state[key] = to_numpy(state_tensor(*slot.parameter, buffer)).attr("copy")("C");
    }
    all.append(state);
  }
  return all;
}

void load_state(Optimizer& self, const py::list& states) {
  const BusyGuard guard(self.busy(), "the optimizer");
  if (states.size() != self.slots().size()) {
    throw ValueError("load_state_dict: got the state of " + std::to_string(states.size()) +
                     " parameters; expected " + std::to_string(self.slots().size()));
  }
  const bool sgd = self.method() == Method::kSGD;
  std::vector<ParameterState> loaded(self.slots().size());
  for (std::size_t i = 0; i < loaded.size(); ++i) {
    const auto state = states[i].cast<py::dict>();
    const Tensor& parameter = *self.slots()[i].parameter;
    loaded[i].step = state.contains("step") ? state["step"].cast<std::int64_t>() : 0;
    for (const StateName& name : kStates) {
      const char* key = sgd ? name.sgd : name.adam;
      if (key == nullptr || !state.contains(key) || state[key].is_none()) continue;
      const TensorPtr values = copy_to_tensor(state[key], parameter.dtype, key);
      if (!(values->shape == parameter.shape)) {
        throw ValueError("load_state_dict: " + std::string(key) + " has shape " +
                         to_string(values->shape) + "; expected " + to_string(parameter.shape));
      }
      const TensorPtr laid_out = parameter.make_grad();
      write_contiguous(*laid_out, values->data);
      loaded[i].*name.buffer = std::move(laid_out->storage->own);
      loaded[i].started = true;
    }
  }
  for (std::size_t i = 0; i < loaded.size(); ++i) self.slots()[i].state = std::move(loaded[i]);
}

/// to = to + from, for two gradients of one parameter: they lie alike.
void add_gradient(const Tensor& to, const Tensor& from) {
  const index_t bytes = to.storage->own.size();
  if (to.dtype != from.dtype || !(to.shape == from.shape) || !(to.strides == from.strides) ||
      from.storage->own.size() != bytes) {
    throw ValueError("add_gradient: got shapes " + to_string(to.shape) + " and " +
                     to_string(from.shape) + "; expected two gradients of one parameter");
  }
  const FpEnvironment environment;
  dispatch_dtype(to.dtype, [&]<class T>() {
    kernels<T>().add(from.ptr<T>(), to.ptr<T>(), bytes / static_cast<index_t>(sizeof(T)));
  });
}

Optimizer* optimizer_or_null(PyObject* object) {
  static PyTypeObject* const type =
      reinterpret_cast<PyTypeObject*>(py::type::of<Optimizer>().release().ptr());
  Optimizer* const optimizer = exact_or_null<Optimizer>(object, type);
  if (optimizer == nullptr && Py_TYPE(object) == type) {
    throw TypeError("Optimizer.__init__ was not called");
  }
  return optimizer;
}

/// step() and step(None).
PyObject* step_slot(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  Optimizer* const optimizer = optimizer_or_null(self);
  const bool plain = count == 0 || (count == 1 && arguments[0] == Py_None);
  if (optimizer == nullptr || !plain) return nullptr;
  optimizer->step();
  Py_RETURN_NONE;
}

/// zero_grad(), and with True or False.
PyObject* zero_grad_slot(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  Optimizer* const optimizer = optimizer_or_null(self);
  const bool plain = count == 0 || (count == 1 && PyBool_Check(arguments[0]) != 0);
  if (optimizer == nullptr || !plain) return nullptr;
  optimizer->zero_grad(count == 0 || arguments[0] == Py_True);
  Py_RETURN_NONE;
}

}  // namespace

void register_optimizer(py::module_& m) {
  py::class_<Optimizer, std::shared_ptr<Optimizer>> optimizer(
      m, "Optimizer", "Parameter groups, their state, and the update.");
  optimizer
      .def(py::init([](const std::string& kind) {
             return std::make_shared<Optimizer>(parse_method(kind));
           }),
           py::arg("kind"))
      .def("add_group", &add_group, py::arg("params"), py::arg("options"))
      .def(
          "step",
          [](Optimizer& self, const py::object& closure) {
            py::object cost = closure.is_none() ? py::none() : closure();
            self.step();
            return cost;
          },
          py::arg("closure") = py::none(),
          "Updates every parameter that has a gradient; `closure` is called first.")
      .def("zero_grad", &Optimizer::zero_grad, py::arg("set_to_none") = true)
      .def("get", &get_option, py::arg("group"), py::arg("name"))
      .def("set", &change_option, py::arg("group"), py::arg("name"), py::arg("value"))
      .def(
          "params",
          [](const Optimizer& self, std::size_t group) {
            check_group(self, group);
            py::list params;
            for (const Optimizer::Slot& slot : self.slots()) {
              if (slot.group == group) params.append(slot.parameter);
            }
            return params;
          },
          py::arg("group"))
      .def_property_readonly("n_groups", [](const Optimizer& self) { return self.groups().size(); })
      .def("state", &get_state, "Copies of the state, a dict for each parameter.")
      .def("load_state", &load_state, py::arg("states"));
  MethodSlot<&step_slot>::install(
      optimizer, "step",
      "step($self, closure=None)\n--\n\n"
      "Updates every parameter that has a gradient; `closure` is called first.");
  MethodSlot<&zero_grad_slot>::install(optimizer, "zero_grad",
                                       "zero_grad($self, set_to_none=True)\n--\n\n"
                                       "Drops the gradients, or fills them with zeros.");

  m.def("add_gradient", &add_gradient, py::arg("to"), py::arg("other"),
        "Adds another gradient of the same parameter in place.");
}

}  // namespace schuss::bindings

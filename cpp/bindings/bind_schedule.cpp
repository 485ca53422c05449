// SPDX-License-Identifier: MIT
/// Arithmetic of the learning-rate schedules: what reaches a parameter is computed natively.
#include <pybind11/pybind11.h>

#include "base/fp_environment.hpp"
#include "bindings/common.hpp"
#include "optim/schedule.hpp"

namespace schuss::bindings {
namespace {

double scheduled_product(double lr, double factor) { return lr * factor; }

/// The function under IEEE defaults, whatever another library has set.
template <auto kFunction>
constexpr auto guarded = []<class R, class... Args>(R (*)(Args...)) {
  return +[](Args... args) -> R {
    const FpEnvironment environment;
    return kFunction(args...);
  };
}(kFunction);

}  // namespace

void register_schedule(py::module_& m) {
  m.def("scheduled_product", guarded<scheduled_product>, py::arg("lr"), py::arg("factor"));
  m.def("scheduled_power", guarded<scheduled_power>, py::arg("lr"), py::arg("factor"),
        py::arg("times"));
  m.def("scheduled_linear", guarded<scheduled_linear>, py::arg("lr"), py::arg("start"),
        py::arg("end"), py::arg("total"), py::arg("epoch"));
  m.def("scheduled_constant", guarded<scheduled_constant>, py::arg("lr"), py::arg("factor"),
        py::arg("total"), py::arg("epoch"));
  m.def("scheduled_polynomial", guarded<scheduled_polynomial>, py::arg("lr"), py::arg("power"),
        py::arg("total"), py::arg("epoch"));
  m.def("scheduled_cosine", guarded<scheduled_cosine>, py::arg("lr"), py::arg("base"),
        py::arg("minimum"), py::arg("half_period"), py::arg("epoch"));
  m.def("scheduled_reduction", guarded<scheduled_reduction>, py::arg("lr"), py::arg("factor"),
        py::arg("minimum"), py::arg("least"));
  m.def("is_better", guarded<is_better>, py::arg("metric"), py::arg("best"), py::arg("threshold"),
        py::arg("want_less"), py::arg("relative"));
}

}  // namespace schuss::bindings

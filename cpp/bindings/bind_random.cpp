// SPDX-License-Identifier: MIT
/// Seeds, and fills addressed by (seed, counter, element).
#include <pybind11/pybind11.h>

#include <atomic>
#include <cmath>

#include "base/fp_environment.hpp"
#include "base/normal_quantile.hpp"
#include "base/philox.hpp"
#include "bindings/common.hpp"

namespace schuss::bindings {
namespace {

/// The state of `manual_seed`; the GIL guards it.
struct SeedState {
  std::uint64_t seed = 0;
  std::uint64_t draws = 0;  // the construction counter
};
SeedState state;

/// Fills the user's elements in row-major order with make(element number), rounded to the dtype once.
template <class Make>
void fill(Parameter& parameter, Make make) {
  const FpEnvironment environment;
  const TensorPtr values = make_tensor(parameter.dtype, parameter.shape);
  const index_t n = values->count();
  dispatch_dtype(parameter.dtype, [&]<class T>() {
    T* to = values->ptr<T>();
    for (index_t i = 0; i < n; ++i) to[i] = static_cast<T>(make(static_cast<std::uint64_t>(i)));
  });
  write_contiguous(parameter, values->data);
}

void fill_uniform(Parameter& parameter, double low, double high, std::uint64_t seed,
                  std::uint64_t counter) {
  const RandomStream stream(seed, RandomUse::kInitialise, counter);
  fill(parameter,
       [&](std::uint64_t i) { return std::fma(uniform_float64(stream.bits(i)), high - low, low); });
}

void fill_normal(Parameter& parameter, double mean, double std, std::uint64_t seed,
                 std::uint64_t counter) {
  const RandomStream stream(seed, RandomUse::kInitialise, counter);
  fill(parameter, [&](std::uint64_t i) {
    return std::fma(normal_quantile(uniform_open_float64(stream.bits(i))), std, mean);
  });
}

/// Half-widths and standard deviations of the usual initialisations (Glorot and Bengio 2010; He et
/// al. 2015; "linear": PyTorch's default for dense layers).
double init_bound(const std::string& kind, double fan, double gain) {
  const FpEnvironment environment;
  if (kind == "kaiming_uniform") return gain * std::sqrt(3.0 / fan);
  if (kind == "kaiming_normal") return gain / std::sqrt(fan);
  if (kind == "xavier_uniform") return gain * std::sqrt(6.0 / fan);
  if (kind == "xavier_normal") return gain * std::sqrt(2.0 / fan);
  if (kind == "linear") return 1.0 / std::sqrt(fan);
  throw ValueError("init_bound: got \"" + kind + "\"; it is not one of the kinds");
}

}  // namespace

void register_random(py::module_& m) {
  m.def(
      "seed_everything",
      [](std::uint64_t seed) {
        state = {seed, 0};
      },
      py::arg("seed"));
  m.def("next_seed",
        [] { return RandomStream(state.seed, RandomUse::kUser, 0).bits(state.draws++); });
  m.def(
      "seed_state", [] { return py::make_tuple(state.seed, state.draws); },
      "Seed and draws so far, for `set_seed_state`.");
  m.def(
      "set_seed_state",
      [](std::uint64_t seed, std::uint64_t draws) {
        state = {seed, draws};
      },
      py::arg("seed"), py::arg("draws"));
  m.def("fill_uniform", &fill_uniform, py::arg("parameter"), py::arg("low"), py::arg("high"),
        py::arg("seed"), py::arg("counter"));
  m.def("fill_normal", &fill_normal, py::arg("parameter"), py::arg("mean"), py::arg("std"),
        py::arg("seed"), py::arg("counter"));
  m.def(
      "fill_constant",
      [](Parameter& parameter, double value) {
        fill(parameter, [&](std::uint64_t) { return value; });
      },
      py::arg("parameter"), py::arg("value"));
  m.def("init_bound", &init_bound, py::arg("kind"), py::arg("fan"), py::arg("gain"));
}

}  // namespace schuss::bindings

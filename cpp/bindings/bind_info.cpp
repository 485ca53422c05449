// SPDX-License-Identifier: MIT
/// What runs here.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <cmath>

#include "bindings/common.hpp"
#include "kernels/dispatch.hpp"
#include "parallel/team.hpp"

namespace schuss::bindings {
namespace {

/// Raised whenever the bits of any result change; stored in files.
constexpr int kArithmeticVersion = 1;

std::string compiler() {
#if defined(__clang__)
  return "clang " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__);
#else
  return "gcc " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__);
#endif
}

py::dict cache_bytes() {
  py::dict sizes;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  sizes["l1d"] = sysconf(_SC_LEVEL1_DCACHE_SIZE);
  sizes["l2"] = sysconf(_SC_LEVEL2_CACHE_SIZE);
  sizes["l3"] = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  return sizes;
}

py::dict info() {
  std::vector<std::string> isas;
  for (const KernelSet* set : available_kernels()) isas.emplace_back(set->isa);
  py::dict d;
  d["version"] = SCHUSS_VERSION;
  d["arithmetic"] = kArithmeticVersion;
  d["isa"] = active_kernels().isa;
  d["isas"] = isas;
  d["threads"] = num_threads();
  d["cores"] = usable_cores();
  d["compiler"] = compiler();
  d["cache_bytes"] = cache_bytes();
  return d;
}

/// Sums whose last bits decide the rounding.
void check_fma() {
  // (1 + 2^-52)(1 - 2^-53) - 1 = 2^-53 - 2^-105: a product rounded first gives 0.
  volatile double a = 0x1.0000000000001p0;
  volatile double b = 0x1.fffffffffffffp-1;
  volatile double c = -0x1p0;
  // 2^-24 (1 + 2^-15)(1 - 2^-15) + (1 + 2^-23) is 2^-54 below a tie: through double, which drops
  // the 2^-54, it would be the tie, and go to the even neighbour 1 + 2^-22.
  volatile float af = 0x1.0002p-24F;
  volatile float bf = 0x1.fffcp-1F;
  volatile float cf = 0x1.000002p0F;
  const bool exact =
      std::fma(a, b, c) == 0x1.ffffffffffffep-54 && std::fma(af, bf, cf) == 0x1.000002p0F;
  if (!exact) {
    throw StateError(
        "this machine's fma rounds twice; schuss cannot keep its promise of equal bits here");
  }
}

void warn_about_slow_path() {
  if (available_kernels().size() > 1 || isa_is_forced()) return;
  const char* text =
      "schuss: this processor has no fused multiply-add that schuss knows; the exact scalar path "
      "runs, many times slower";
  if (PyErr_WarnEx(PyExc_RuntimeWarning, text, 1) != 0) throw py::error_already_set();
}

}  // namespace

void register_info(py::module_& m) {
  check_fma();
  active_kernels();  // an unknown SCHUSS_ISA is an error at import
  warn_about_slow_path();
  m.attr("__version__") = SCHUSS_VERSION;
  m.attr("arithmetic_version") = kArithmeticVersion;
  m.def("info", &info, "Version, instruction set, threads, compiler and cache sizes in use.");
  m.def("threads", &num_threads, "Threads that a call may use.");
  m.def("set_threads", &set_num_threads, py::arg("n"));
  m.def("override_threads", &override_num_threads, py::arg("n"),
        "Threads for calls from this thread (0: as set_threads says); returns what was there.");
}

}  // namespace schuss::bindings

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

/// Products whose exact tail decides the rounding: an emulation that rounds twice gets them wrong.
void check_fma() {
  volatile double a = 0x1.0000000000001p0;
  volatile double b = 0x1.fffffffffffffp-1;
  volatile double c = -0x1p0;
  volatile float af = 0x1.000002p0F;
  volatile float bf = 0x1.fffffep-1F;
  volatile float cf = -0x1p0F;
  const bool exact = std::fma(a, b, c) == 0x1.ffffffffffffep-54 - 0x0p0 &&
                     std::fma(af, bf, cf) == 0x1.fffffcp-25F - 0x0p0F;
  if (!exact) {
    throw StateError(
        "this machine's fma rounds twice; schuss cannot keep its promise of equal bits here");
  }
}

}  // namespace

void register_info(py::module_& m) {
  check_fma();
  active_kernels();  // an unknown SCHUSS_ISA is an error at import
  m.attr("__version__") = SCHUSS_VERSION;
  m.attr("arithmetic_version") = kArithmeticVersion;
  m.def("info", &info, "Version, instruction set, threads, compiler and cache sizes in use.");
  m.def("threads", &num_threads, "Threads that a call may use.");
  m.def("set_threads", &set_num_threads, py::arg("n"));
}

}  // namespace schuss::bindings

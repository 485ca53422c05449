// SPDX-License-Identifier: MIT
#include "kernels/dispatch.hpp"

#include <cstdlib>

#include "base/require.hpp"

namespace schuss {

extern const KernelSet kScalarKernels;
#if defined(__x86_64__)
extern const KernelSet kAvx2Kernels;
#if !defined(SCHUSS_WITHOUT_AVX512)
extern const KernelSet kAvx512Kernels;
#endif
#elif defined(__aarch64__)
extern const KernelSet kNeonKernels;
#endif

namespace {

std::vector<const KernelSet*> detect() {
  std::vector<const KernelSet*> found{&kScalarKernels};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) found.push_back(&kAvx2Kernels);
#if !defined(SCHUSS_WITHOUT_AVX512)
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    found.push_back(&kAvx512Kernels);
  }
#endif
#elif defined(__aarch64__)
  found.push_back(&kNeonKernels);
#endif
  return found;
}

/// SCHUSS_ISA, or null when it is unset or empty.
const char* forced_isa() {
  const char* name = std::getenv("SCHUSS_ISA");
  return name == nullptr || *name == '\0' ? nullptr : name;
}

const KernelSet& choose() {
  const char* forced = forced_isa();
  if (forced == nullptr) return *available_kernels().back();
  if (const KernelSet* found = find_kernels(forced)) return *found;
  std::string names;
  for (const KernelSet* set : available_kernels()) {
    names += names.empty() ? "" : ", ";
    names += set->isa;
  }
  throw ValueError("SCHUSS_ISA: got \"" + std::string(forced) + "\"; this machine has: " + names);
}

}  // namespace

const std::vector<const KernelSet*>& available_kernels() {
  static const std::vector<const KernelSet*> found = detect();
  return found;
}

const KernelSet* find_kernels(const std::string& isa) {
  for (const KernelSet* set : available_kernels()) {
    if (isa == set->isa) return set;
  }
  return nullptr;
}

bool isa_is_forced() { return forced_isa() != nullptr; }

const KernelSet& active_kernels() {
  static const KernelSet& active = choose();
  return active;
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Rounding to nearest, subnormals kept: whatever another library has set in this thread.
#pragma once

#include <cstdint>

namespace schuss {

/// The control word of the unit that does our arithmetic (x86-64: MXCSR; aarch64: FPCR).
inline std::uint64_t read_fp_control() {
#if defined(__x86_64__)
  return __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
  std::uint64_t control = 0;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  return control;
#else
  return 0;
#endif
}

inline void write_fp_control([[maybe_unused]] std::uint64_t control) {
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr(static_cast<unsigned>(control));
#elif defined(__aarch64__)
  asm volatile("msr fpcr, %0" : : "r"(control));
#endif
}

/// Exceptions masked, nearest even, no flushing.
inline void set_default_fp_environment() {
#if defined(__x86_64__)
  write_fp_control(0x1f80);
#else
  write_fp_control(0);
#endif
}

/// IEEE defaults for a scope; the caller's settings come back after it.
class FpEnvironment {
 public:
  FpEnvironment() : before_(read_fp_control()) { set_default_fp_environment(); }
  ~FpEnvironment() { write_fp_control(before_); }
  FpEnvironment(const FpEnvironment&) = delete;
  FpEnvironment& operator=(const FpEnvironment&) = delete;

 private:
  std::uint64_t before_;
};

}  // namespace schuss

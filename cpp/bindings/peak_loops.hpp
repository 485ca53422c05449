// SPDX-License-Identifier: MIT
/// The most multiply-adds a core does: loops on registers alone, for the probes of the extension and
/// for the programs of bench/. Assembly, so that no compiler option (contraction is off everywhere)
/// and no optimiser changes what is counted.
#pragma once

#include <string>

#include "base/types.hpp"

namespace schuss {

/// `rounds` (at least 1) times kPeakAccumulators independent vector multiply-adds on registers that hold
/// 0, so nothing overflows and nothing is subnormal. Returns floating-point operations.
using PeakLoop = double (*)(index_t rounds);

inline constexpr int kPeakAccumulators = 12;  // two ports x a latency of 4 to 5 cycles need 8 to 10

#if defined(__x86_64__)

inline double peak_avx2(index_t rounds) {
  index_t left = rounds;
  __asm__ volatile(
      "vzeroall\n"
      "1:\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm0\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm1\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm2\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm3\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm4\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm5\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm6\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm7\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm8\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm9\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm10\n\t"
      "vfmadd231ps %%ymm12, %%ymm12, %%ymm11\n\t"
      "dec %0\n\t"
      "jnz 1b\n\t"
      "vzeroupper"
      : "+r"(left)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  return 2.0 * kPeakAccumulators * 8 * static_cast<double>(rounds);
}

inline double peak_avx512(index_t rounds) {
  index_t left = rounds;
  __asm__ volatile(
      "vzeroall\n"
      "1:\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm0\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm1\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm2\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm3\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm4\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm5\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm6\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm7\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm8\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm9\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm10\n\t"
      "vfmadd231ps %%zmm12, %%zmm12, %%zmm11\n\t"
      "dec %0\n\t"
      "jnz 1b\n\t"
      "vzeroupper"
      : "+r"(left)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  return 2.0 * kPeakAccumulators * 16 * static_cast<double>(rounds);
}

#elif defined(__aarch64__)

inline double peak_neon(index_t rounds) {
  index_t left = rounds;
  __asm__ volatile(
      "movi v0.4s, #0\n\t"
      "movi v1.4s, #0\n\t"
      "movi v2.4s, #0\n\t"
      "movi v3.4s, #0\n\t"
      "movi v4.4s, #0\n\t"
      "movi v5.4s, #0\n\t"
      "movi v6.4s, #0\n\t"
      "movi v7.4s, #0\n\t"
      "movi v8.4s, #0\n\t"
      "movi v9.4s, #0\n\t"
      "movi v10.4s, #0\n\t"
      "movi v11.4s, #0\n\t"
      "movi v12.4s, #0\n\t"
      "1:\n\t"
      "fmla v0.4s, v12.4s, v12.4s\n\t"
      "fmla v1.4s, v12.4s, v12.4s\n\t"
      "fmla v2.4s, v12.4s, v12.4s\n\t"
      "fmla v3.4s, v12.4s, v12.4s\n\t"
      "fmla v4.4s, v12.4s, v12.4s\n\t"
      "fmla v5.4s, v12.4s, v12.4s\n\t"
      "fmla v6.4s, v12.4s, v12.4s\n\t"
      "fmla v7.4s, v12.4s, v12.4s\n\t"
      "fmla v8.4s, v12.4s, v12.4s\n\t"
      "fmla v9.4s, v12.4s, v12.4s\n\t"
      "fmla v10.4s, v12.4s, v12.4s\n\t"
      "fmla v11.4s, v12.4s, v12.4s\n\t"
      "subs %0, %0, #1\n\t"
      "b.ne 1b"
      : "+r"(left)
      :
      : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12");
  return 2.0 * kPeakAccumulators * 4 * static_cast<double>(rounds);
}

#endif

/// The widest loop of the instruction set in use (SCHUSS_ISA counts), or nullptr for the scalar one:
/// scalar multiply-adds are no bound of the hardware.
inline PeakLoop peak_loop(const std::string& isa) {
#if defined(__x86_64__)
  if (isa == "avx512") return peak_avx512;
  if (isa == "avx2") return peak_avx2;
#elif defined(__aarch64__)
  if (isa == "neon") return peak_neon;
#endif
  (void)isa;
  return nullptr;
}

}  // namespace schuss

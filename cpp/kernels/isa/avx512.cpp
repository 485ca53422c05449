// SPDX-License-Identifier: MIT
#ifdef __FAST_MATH__
#error "kernels must be compiled without -ffast-math: every bit is part of the contract"
#endif

#include "kernels/isa/vec_avx512.hpp"

// The bodies are written against the vocabulary above.
#include "kernels/body/table.inl"

namespace schuss {

extern const KernelSet kAvx512Kernels;
constinit const KernelSet kAvx512Kernels = make_kernel_set("avx512");

}  // namespace schuss

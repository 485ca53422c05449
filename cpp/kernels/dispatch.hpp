// SPDX-License-Identifier: MIT
/// Which instruction set runs: detected once, or forced by SCHUSS_ISA.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernels.hpp"

namespace schuss {

/// The table in use. Chosen at the first call, for the life of the process.
/// Throws ValueError when SCHUSS_ISA names an instruction set that is unknown or not available.
const KernelSet& active_kernels();

/// Every table this machine can run, the exact scalar one first, the fastest last.
const std::vector<const KernelSet*>& available_kernels();

/// The available table of that name, or nullptr.
const KernelSet* find_kernels(const std::string& isa);

/// SCHUSS_ISA names the instruction set.
bool isa_is_forced();

template <class T>
const Kernels<T>& kernels() {
  return active_kernels().table<T>();
}

}  // namespace schuss

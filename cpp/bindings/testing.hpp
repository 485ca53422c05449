// SPDX-License-Identifier: MIT
/// The families of test hooks.
#pragma once

#include <pybind11/pybind11.h>

namespace schuss {

void register_testing_losses(pybind11::module_& testing);
void register_testing_probes(pybind11::module_& testing);

}  // namespace schuss

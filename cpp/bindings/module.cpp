// SPDX-License-Identifier: MIT
/// The extension module: one register function a family.
#include "bindings/common.hpp"

PYBIND11_MODULE(_schuss, m) {
  using namespace schuss::bindings;
  m.doc() = "The native core of schuss. Use the package schuss; this module's names may change.";
  pybind11::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const schuss::TypeError& e) {
      pybind11::set_error(PyExc_TypeError, e.what());
    } catch (const schuss::ValueError& e) {
      pybind11::set_error(PyExc_ValueError, e.what());
    } catch (const schuss::StateError& e) {
      pybind11::set_error(PyExc_RuntimeError, e.what());
    }
  });
  register_info(m);
  register_tensor(m);
  register_network(m);
  register_loss(m);
  register_optimizer(m);
  register_schedule(m);
  register_trainer(m);
  register_program(m);
  register_random(m);
  register_testing(m);
}

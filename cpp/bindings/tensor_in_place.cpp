// SPDX-License-Identifier: MIT
/// Methods that write into a tensor. Names end in _, and each returns its tensor.
#include <cmath>

#include "autograd/strided.hpp"
#include "base/normal_quantile.hpp"
#include "base/philox.hpp"
#include "bindings/tensor_object.hpp"

namespace schuss::bindings {
namespace {

/// t[...] = value of its number, in row-major order, rounded to the dtype once.
template <class F>
void fill(Tensor& tensor, F value_of) {
  const TensorPtr values = make_tensor(DType::kFloat64, tensor.shape, Uninitialized{});
  for (index_t i = 0; i < values->count(); ++i) {
    values->ptr<double>()[i] = value_of(static_cast<std::uint64_t>(i));
  }
  write_contiguous(tensor, converted(*values, tensor.dtype)->data);
}

TensorPtr fill_with(const TensorPtr& self, double value) {
  check_in_place(*self, false);
  dispatch_any(self->dtype, [&]<class T>() {
    const T element = static_cast<T>(value);
    for_each_run<T>(*self, [&](T* run, index_t step, index_t n) {
      for (index_t i = 0; i < n; ++i) run[i * step] = element;
    });
  });
  ++self->storage->version;
  return self;
}

TensorPtr copy_from(const TensorPtr& self, const py::object& values) {
  const TensorPtr given = tensor_or_null(values.ptr());
  check_in_place(*self, given != nullptr && given->requires_grad);
  const TensorPtr from = given == nullptr ? tensor_from(values, py::none()) : given;
  if (given != nullptr && given->requires_grad && grad_enabled()) {
    assign_result(self, apply(Op::kClone, {}, {given}));
    return self;
  }
  IndexSpec everything(static_cast<std::size_t>(self->shape.rank));
  for (int i = 0; i < self->shape.rank; ++i) {
    everything[static_cast<std::size_t>(i)].length = self->shape[i];
  }
  assign_index(*self, everything, from);
  return self;
}

template <class F>
void define_random(TensorClass& tensor, const char* name, const char* low, double low_value,
                   const char* high, double high_value, F value_of) {
  tensor.def(
      name,
      [value_of](const TensorPtr& self, double a, double b, const py::object& generator) {
        check_in_place(*self, false);
        const auto seed = py::module_::import("schuss._random")
                              .attr("seed_from")(generator)
                              .template cast<std::uint64_t>();
        const RandomStream stream(seed, RandomUse::kInitialise, 0);
        fill(*self, [&](std::uint64_t i) { return value_of(stream.bits(i), a, b); });
        return self;
      },
      py::arg(low) = low_value, py::arg(high) = high_value, py::kw_only(),
      py::arg("generator") = py::none());
}

}  // namespace

void define_in_place(TensorClass& tensor) {
  const auto operation = [&](const char* name, const char* operator_name) {
    tensor.def(
        name,
        [operator_name](const py::object& self, const py::object& other, const py::object& alpha) {
          const bool plain = alpha.equal(py::int_(1));
          const py::object right = plain ? other : other * alpha;
          return self.attr(operator_name)(right);
        },
        py::arg("other"), py::arg("alpha") = 1);
  };
  operation("add_", "__iadd__");
  operation("sub_", "__isub__");
  for (const auto& [name, operator_name] :
       {std::pair{"mul_", "__imul__"}, std::pair{"div_", "__itruediv__"}}) {
    tensor.def(
        name,
        [operator_name = operator_name](const py::object& self, const py::object& other) {
          return self.attr(operator_name)(other);
        },
        py::arg("other"));
  }
  tensor.def("zero_", [](const TensorPtr& self) { return fill_with(self, 0.0); })
      .def("fill_", &fill_with, py::arg("value"))
      .def("copy_", &copy_from, py::arg("values"), "Writes values that broadcast to the shape.")
      .def(
          "clamp_",
          [](const py::object& self, const py::object& low, const py::object& high) {
            const TensorPtr target = tensor_or_null(self.ptr());
            check_in_place(*target, false);
            assign_result(target, tensor_or_null(py::object(self.attr("clamp")(low, high)).ptr()));
            return self;
          },
          py::arg("min") = py::none(), py::arg("max") = py::none())
      .def(
          "requires_grad_",
          [](const py::object& self, bool requires_grad) {
            self.attr("requires_grad") = requires_grad;
            return self;
          },
          py::arg("requires_grad") = true);
  define_random(tensor, "uniform_", "a", 0.0, "b", 1.0,
                [](std::uint64_t bits, double low, double high) {
                  return std::fma(uniform_float64(bits), high - low, low);
                });
  define_random(tensor, "normal_", "mean", 0.0, "std", 1.0,
                [](std::uint64_t bits, double mean, double std) {
                  return std::fma(normal_float64(bits), std, mean);
                });
}

}  // namespace schuss::bindings

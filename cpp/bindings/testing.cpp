// SPDX-License-Identifier: MIT
/// Hooks for the tests: each kernel of each instruction set, on plain arrays.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <atomic>

#include "bindings/common.hpp"
#include "bindings/testing.hpp"
#include "kernels/dispatch.hpp"
#include "parallel/team.hpp"

namespace schuss::bindings {
namespace {

constexpr std::array<const char*, kUnaryCount> kUnaryNames = {
    "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "erf", "erfc", "sqrt"};

template <std::size_t kCount>
std::size_t index_in(const std::array<const char*, kCount>& names, const std::string& name) {
  for (std::size_t i = 0; i < kCount; ++i) {
    if (name == names[i]) return i;
  }
  throw ValueError("testing: no such kernel: " + name);
}

const KernelSet& set_of(const std::string& isa) {
  const KernelSet* set = find_kernels(isa);
  if (set == nullptr) throw ValueError("testing: this machine has no " + isa);
  return *set;
}

/// Calls f.template operator()<T>() with the array's element type.
template <class F>
py::object by_dtype(const py::array& array, F&& f) {
  if (array.dtype().equal(py::dtype::of<float>())) return f.template operator()<float>();
  if (array.dtype().equal(py::dtype::of<double>())) return f.template operator()<double>();
  throw TypeError("testing: expected a float32 or float64 array");
}

template <class T>
py::array_t<T> new_like(const py::array& array) {
  return py::array_t<T>(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
}

template <class T>
T* data_of(const py::array& array) {
  return static_cast<T*>(const_cast<void*>(array.data()));
}

index_t ld_of(const py::array& array) { return array.strides(0) / array.itemsize(); }

py::object unary(const std::string& isa, const std::string& name, const py::array& x) {
  return by_dtype(x, [&]<class T>() -> py::object {
    py::array_t<T> y = new_like<T>(x);
    set_of(isa).table<T>().unary[index_in(kUnaryNames, name)](data_of<T>(x), y.mutable_data(),
                                                              x.size());
    return y;
  });
}

py::object activation(const std::string& isa, const std::string& name, const py::array& x, double a,
                      double beta, double threshold) {
  return by_dtype(x, [&]<class T>() -> py::object {
    py::array_t<T> y = new_like<T>(x);
    set_of(isa).table<T>().activation[index_in(kActivationNames, name)](
        data_of<T>(x), ld_of(x), y.mutable_data(), x.shape(1), x.shape(0), x.shape(1),
        {a, beta, threshold});
    return y;
  });
}

py::object activation_backward(const std::string& isa, const std::string& name, const py::array& x,
                               const py::array& y, const py::array& d, double a, double beta,
                               double threshold) {
  return by_dtype(x, [&]<class T>() -> py::object {
    py::array_t<T> out = new_like<T>(d);
    for (py::ssize_t i = 0; i < d.size(); ++i) out.mutable_data()[i] = data_of<T>(d)[i];
    set_of(isa).table<T>().activation_backward[index_in(kActivationNames, name)](
        data_of<T>(x), ld_of(x), data_of<T>(y), ld_of(y), out.mutable_data(), d.shape(1),
        d.shape(0), d.shape(1), {a, beta, threshold});
    return out;
  });
}

/// c of any strides in its rows; starts: zero, bias, resume; finishes: store, add, relu, relu_mask.
py::object product(const std::string& isa, const py::array& a, const py::array& b,
                   const py::array& c, const std::string& start, const std::string& finish,
                   const py::object& bias, const py::object& gate, bool packed, double rate,
                   const py::object& copy) {
  return by_dtype(c, [&]<class T>() -> py::object {
    const Kernels<T>& k = set_of(isa).table<T>();
    Product<T> p;
    p.a = data_of<T>(a);
    p.a_row = a.strides(0) / a.itemsize();
    p.a_depth = a.strides(1) / a.itemsize();
    p.m = a.shape(0);
    p.k = a.shape(1);
    p.n = b.shape(1);
    AlignedBuffer<T> panels;
    if (packed) {
      panels = AlignedBuffer<T>(k.packed_size(p.k, p.n));
      k.pack(data_of<T>(b), b.strides(0) / b.itemsize(), b.strides(1) / b.itemsize(), p.k, p.n,
             panels.data());
      p.packed = true;
      p.b = panels.data();
    } else {
      p.b = data_of<T>(b);
      p.ldb = ld_of(b);
    }
    p.c = data_of<T>(c);
    p.ldc = ld_of(c);
    p.start = start == "bias" ? Start::kBias : (start == "resume" ? Start::kResume : Start::kZero);
    p.finish = finish == "add"         ? Finish::kAdd
               : finish == "relu"      ? Finish::kReLU
               : finish == "relu_mask" ? Finish::kReLUMask
               : finish == "descend"   ? Finish::kDescend
                                       : Finish::kStore;
    if (!bias.is_none()) p.bias = data_of<T>(bias.cast<py::array>());
    if (!gate.is_none()) {
      p.gate = data_of<T>(gate.cast<py::array>());
      p.ldgate = ld_of(gate.cast<py::array>());
    }
    p.rate = static_cast<T>(rate);
    if (!copy.is_none()) {
      p.copy = data_of<T>(copy.cast<py::array>());
      p.copy_panel = k.packed_size(p.m, 1);
    }
    k.product(p);
    return py::none();
  });
}

/// b in the order of `pack`, flat.
py::object packed(const std::string& isa, const py::array& b) {
  return by_dtype(b, [&]<class T>() -> py::object {
    const Kernels<T>& k = set_of(isa).table<T>();
    py::array_t<T> to(k.packed_size(b.shape(0), b.shape(1)));
    k.pack(data_of<T>(b), b.strides(0) / b.itemsize(), b.strides(1) / b.itemsize(), b.shape(0),
           b.shape(1), to.mutable_data());
    return to;
  });
}

py::object narrow_forward(const std::string& isa, const py::array& x, const py::array& weight,
                          const py::object& bias, const py::array& y, bool relu) {
  return by_dtype(y, [&]<class T>() -> py::object {
    NarrowForward<T> p;
    p.x = data_of<T>(x);
    p.ldx = ld_of(x);
    p.weight = data_of<T>(weight);
    p.ldw = ld_of(weight);
    p.bias = bias.is_none() ? nullptr : data_of<T>(bias.cast<py::array>());
    p.y = data_of<T>(y);
    p.ldy = ld_of(y);
    p.rows = x.shape(0);
    p.n_in = x.shape(1);
    p.n_out = y.shape(1);
    p.relu = relu;
    set_of(isa).table<T>().narrow_forward(p);
    return py::none();
  });
}

py::object small_gradient(const std::string& isa, const py::array& x, const py::array& d_y,
                          const py::array& d_weight, const py::array& d_bias, bool add) {
  return by_dtype(d_y, [&]<class T>() -> py::object {
    SmallGradient<T> p;
    p.x = data_of<T>(x);
    p.ldx = ld_of(x);
    p.d_y = data_of<T>(d_y);
    p.ldd = ld_of(d_y);
    p.rows = x.shape(0);
    p.n_in = x.shape(1);
    p.n_out = d_y.shape(1);
    p.d_weight = data_of<T>(d_weight);
    p.ldw = ld_of(d_weight);
    p.d_bias = data_of<T>(d_bias);
    p.add = add;
    set_of(isa).table<T>().small_gradient(p);
    return py::none();
  });
}

py::object column_sums(const std::string& isa, const py::array& x, const py::array& sums,
                       bool resume, bool add) {
  return by_dtype(x, [&]<class T>() -> py::object {
    set_of(isa).table<T>().column_sums(data_of<T>(x), ld_of(x), x.shape(0), x.shape(1),
                                       data_of<T>(sums), resume ? Start::kResume : Start::kZero,
                                       add ? Finish::kAdd : Finish::kStore);
    return py::none();
  });
}

py::object sum_f64(const std::string& isa, const py::array& x) {
  return by_dtype(x, [&]<class T>() -> py::object {
    return py::float_(set_of(isa).table<T>().sum_f64(data_of<T>(x), x.size()));
  });
}

py::object all_finite(const std::string& isa, const py::array& x) {
  return by_dtype(x, [&]<class T>() -> py::object {
    return py::bool_(set_of(isa).table<T>().all_finite(data_of<T>(x), x.size()));
  });
}

/// Runs a region in which one thread throws (-1: none). Returns how many threads met.
int throw_in_region(int threads, int thrower) {
  std::atomic<int> met{0};
  run_region(threads, [&](const Region& region) {
    if (region.thread == thrower) {
      throw ValueError("thread " + std::to_string(region.thread) + " of " +
                       std::to_string(region.threads));
    }
    if (thrower < 0) region.meet();
    ++met;
  });
  return met;
}

}  // namespace

void register_testing(py::module_& m) {
  py::module_ testing = m.def_submodule("testing", "Kernels by instruction set, for the tests.");
  testing.def("isas", [] {
    std::vector<std::string> names;
    for (const KernelSet* set : available_kernels()) names.emplace_back(set->isa);
    return names;
  });
  testing.def("throw_in_region", &throw_in_region, py::arg("threads"), py::arg("thrower"));
  testing.def("quota_cores", &quota_cores, py::arg("root"), py::arg("group"));
  testing.def("unary", &unary, py::arg("isa"), py::arg("name"), py::arg("x"));
  testing.def("activation", &activation, py::arg("isa"), py::arg("name"), py::arg("x"),
              py::arg("a") = 0.0, py::arg("beta") = 1.0, py::arg("threshold") = 20.0);
  testing.def("activation_backward", &activation_backward, py::arg("isa"), py::arg("name"),
              py::arg("x"), py::arg("y"), py::arg("d"), py::arg("a") = 0.0, py::arg("beta") = 1.0,
              py::arg("threshold") = 20.0);
  testing.def("product", &product, py::arg("isa"), py::arg("a"), py::arg("b"), py::arg("c"),
              py::arg("start") = "zero", py::arg("finish") = "store", py::arg("bias") = py::none(),
              py::arg("gate") = py::none(), py::arg("packed") = false, py::arg("rate") = 0.0,
              py::arg("copy") = py::none());
  testing.def("packed", &packed, py::arg("isa"), py::arg("b"));
  testing.def("narrow_forward", &narrow_forward, py::arg("isa"), py::arg("x"), py::arg("weight"),
              py::arg("bias"), py::arg("y"), py::arg("relu") = false);
  testing.def("small_gradient", &small_gradient, py::arg("isa"), py::arg("x"), py::arg("d_y"),
              py::arg("d_weight"), py::arg("d_bias"), py::arg("add") = false);
  testing.def("column_sums", &column_sums, py::arg("isa"), py::arg("x"), py::arg("sums"),
              py::arg("resume") = false, py::arg("add") = false);
  testing.def("sum_f64", &sum_f64, py::arg("isa"), py::arg("x"));
  testing.def("all_finite", &all_finite, py::arg("isa"), py::arg("x"));
  register_testing_losses(testing);
  register_testing_probes(testing);
}

}  // namespace schuss::bindings

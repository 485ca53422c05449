// SPDX-License-Identifier: MIT
/// Loss kernels, update kernels and random numbers as the tests see them: one kernel of one
/// instruction set at a time, on buffers as misaligned and as padded as a test asks for.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/normal_quantile.hpp"
#include "base/permutation.hpp"
#include "base/philox.hpp"
#include "base/require.hpp"
#include "base/scalar_math.hpp"
#include "base/scalar_pow.hpp"
#include "base/scalar_trig.hpp"
#include "kernels/dispatch.hpp"

namespace py = pybind11;

namespace schuss {
namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

const KernelSet& kernels_of(const std::string& isa) {
  const KernelSet* set = find_kernels(isa);
  if (set == nullptr) throw ValueError("isa: " + isa + " is not available here");
  return *set;
}

/// Rows in memory that a kernel may read or write, between marks that it may not.
template <class T>
class MarkedRows {
 public:
  MarkedRows(index_t rows, index_t cols, index_t offset, index_t gap)
      : rows_(rows), cols_(cols), ld_(cols + gap), start_(kMargin + offset) {
    cells_.assign(static_cast<std::size_t>(start_ + rows_ * ld_ + kMargin), kMark);
  }

  T* data() { return cells_.data() + start_; }
  index_t ld() const { return ld_; }

  void set(const T* values) {
    for (index_t r = 0; r < rows_; ++r) std::copy_n(values + r * cols_, cols_, data() + r * ld_);
  }

  /// Throws StateError when something outside the rows was written.
  py::array_t<T> get(const char* name) {
    py::array_t<T> out({rows_, cols_});
    for (index_t i = 0; i < static_cast<index_t>(cells_.size()); ++i) {
      const index_t at = i - start_;
      const T value = cells_[static_cast<std::size_t>(i)];
      if (at >= 0 && at < rows_ * ld_ && at % ld_ < cols_) {
        out.mutable_data()[at / ld_ * cols_ + at % ld_] = value;
      } else if (value != kMark) {
        throw StateError(std::string(name) + ": a kernel wrote outside its rows");
      }
    }
    return out;
  }

 private:
  static constexpr index_t kMargin = 64;
  static constexpr T kMark = T(12345.5);
  index_t rows_;
  index_t cols_;
  index_t ld_;
  index_t start_;
  std::vector<T> cells_;
};

LossKind loss_kind(const std::string& name) {
  static constexpr const char* kNames[kLossCount] = {"mse",
                                                     "l1",
                                                     "huber",
                                                     "smooth_l1",
                                                     "bce",
                                                     "bce_with_logits",
                                                     "cross_entropy_index",
                                                     "cross_entropy_probs",
                                                     "nll"};
  for (int i = 0; i < kLossCount; ++i) {
    if (name == kNames[i]) return static_cast<LossKind>(i);
  }
  throw ValueError("kind: unknown loss " + name);
}

/// Values of an optional array, which must have `count` elements.
template <class T>
std::vector<T> optional_values(const py::object& object, index_t count, const char* name) {
  if (object.is_none()) return {};
  const auto array = object.cast<Array<T>>();
  if (array.size() != count) throw ValueError(std::string(name) + ": wrong number of elements");
  return {array.data(), array.data() + count};
}

template <class T>
const T* or_null(const std::vector<T>& values) {
  return values.empty() ? nullptr : values.data();
}

template <class T>
py::dict run_loss(const Kernels<T>& table, LossKind kind, const Array<T>& prediction,
                  const py::object& target, const py::dict& options) {
  const index_t rows = prediction.shape(0);
  const index_t cols = prediction.shape(1);
  const auto option = [&](const char* name, auto otherwise) {
    return options.contains(name) ? options[name].template cast<decltype(otherwise)>() : otherwise;
  };
  const auto array_option = [&](const char* name) -> py::object {
    return options.contains(name) ? py::object(options[name]) : py::object(py::none());
  };
  const auto offset = option("offset", index_t{0});
  const auto gap = option("gap", index_t{0});
  const bool in_place = option("in_place", false);
  const bool by_labels = takes_labels(kind);

  MarkedRows<T> x(rows, cols, offset, gap);
  MarkedRows<T> t(rows, by_labels ? 0 : cols, offset, gap);
  MarkedRows<T> d(rows, cols, offset, gap);
  MarkedRows<T> value(rows, by_labels ? 0 : cols, offset, gap);
  x.set(prediction.data());
  std::vector<std::int64_t> labels;
  if (by_labels) {
    labels = optional_values<std::int64_t>(target, rows, "target");
  } else {
    const auto values = target.cast<Array<T>>();
    if (values.size() != rows * cols) throw ValueError("target: wrong number of elements");
    t.set(values.data());
  }
  const auto weight = optional_values<T>(array_option("weight"), cols, "weight");
  const auto pos_weight = optional_values<T>(array_option("pos_weight"), cols, "pos_weight");
  const auto row_scale = optional_values<T>(array_option("row_scale"), rows, "row_scale");
  MarkedRows<T> element_scale(rows, cols, offset, gap);
  const auto scales =
      optional_values<T>(array_option("element_scale"), rows * cols, "element_scale");
  if (!scales.empty()) element_scale.set(scales.data());
  py::array_t<T> row_loss(rows);

  LossBlock<T> block;
  block.prediction = x.data();
  block.ld_prediction = x.ld();
  block.target = by_labels ? nullptr : t.data();
  block.ld_target = t.ld();
  block.labels = labels.data();
  block.weight = or_null(weight);
  block.pos_weight = or_null(pos_weight);
  block.rows = rows;
  block.cols = cols;
  block.a = option("a", 1.0);
  block.label_smoothing = option("label_smoothing", 0.0);
  block.ignore_index = option("ignore_index", std::int64_t{-100});
  block.scale = option("scale", 1.0);
  block.row_scale = or_null(row_scale);
  block.row_loss = option("value", true) ? row_loss.mutable_data() : nullptr;
  const bool elements = !is_row_loss(kind) && option("elements", false);
  block.element_loss = elements ? value.data() : nullptr;
  block.element_scale = scales.empty() ? nullptr : element_scale.data();
  block.ld_element = value.ld();
  const bool gradient = option("gradient", true);
  block.d_prediction = !gradient ? nullptr : in_place ? x.data() : d.data();
  block.ld_d_prediction = in_place ? x.ld() : d.ld();
  table.loss[static_cast<int>(kind)](block);

  py::dict result;
  if (block.row_loss != nullptr) result["row_loss"] = row_loss;
  if (elements) result["element_loss"] = value.get("element_loss");
  if (gradient) result["d_prediction"] = (in_place ? x : d).get("d_prediction");
  return result;
}

template <class T>
py::tuple run_sgd(const Kernels<T>& table, const Array<T>& p, const Array<T>& gradients,
                  const SgdStep& options, index_t offset) {
  const index_t n = p.size();
  MarkedRows<T> parameter(1, n, offset, 0);
  MarkedRows<T> buffer(1, n, offset, 0);
  parameter.set(p.data());
  buffer.set(std::vector<T>(static_cast<std::size_t>(n)).data());
  SgdStep step = options;
  for (index_t i = 0; i < gradients.shape(0); ++i) {
    step.first = i == 0;
    table.sgd(parameter.data(), gradients.data() + i * n,
              step.momentum == 0.0 ? nullptr : buffer.data(), n, step);
  }
  return py::make_tuple(parameter.get("p"), buffer.get("momentum"));
}

template <class T>
py::tuple run_adam(const Kernels<T>& table, const Array<T>& p, const Array<T>& gradients,
                   const AdamStep& options, index_t offset) {
  const index_t n = p.size();
  const std::vector<T> zeros(static_cast<std::size_t>(n));
  MarkedRows<T> parameter(1, n, offset, 0);
  MarkedRows<T> m(1, n, offset, 0);
  MarkedRows<T> v(1, n, offset, 0);
  MarkedRows<T> v_max(1, n, offset, 0);
  parameter.set(p.data());
  for (MarkedRows<T>* state : {&m, &v, &v_max}) state->set(zeros.data());
  AdamStep step = options;
  for (index_t i = 0; i < gradients.shape(0); ++i) {
    const auto t = static_cast<std::uint64_t>(i + 1);
    step.bias1 = 1.0 - exact_pow_int(step.beta1, t);
    step.sqrt_bias2 = std::sqrt(1.0 - exact_pow_int(step.beta2, t));
    table.adam(parameter.data(), gradients.data() + i * n, m.data(), v.data(),
               step.amsgrad ? v_max.data() : nullptr, n, step);
  }
  return py::make_tuple(parameter.get("p"), m.get("m"), v.get("v"), v_max.get("v_max"));
}

/// Calls f.template operator()<T>() with the dtype of an array.
template <class F>
auto by_dtype(const py::array& array, F f) {
  return array.itemsize() == 4 ? f.template operator()<float>() : f.template operator()<double>();
}

void register_kernels(py::module_& testing) {
  testing.def(
      "loss",
      [](const std::string& isa, const std::string& kind, const py::array& prediction,
         const py::object& target, const py::kwargs& options) {
        const KernelSet& set = kernels_of(isa);
        return by_dtype(prediction, [&]<class T>() {
          return run_loss<T>(set.table<T>(), loss_kind(kind), prediction.cast<Array<T>>(), target,
                             options);
        });
      },
      "One loss kernel over (rows, cols).");
  testing.def(
      "sgd",
      [](const std::string& isa, const py::array& p, const py::array& gradients, double lr,
         double momentum, double dampening, double weight_decay, bool nesterov, bool maximize,
         index_t offset) {
        const KernelSet& set = kernels_of(isa);
        const SgdStep step{lr, momentum, dampening, weight_decay, nesterov, maximize, true};
        return by_dtype(p, [&]<class T>() {
          return run_sgd<T>(set.table<T>(), p.cast<Array<T>>(), gradients.cast<Array<T>>(), step,
                            offset);
        });
      },
      py::arg("isa"), py::arg("p"), py::arg("gradients"), py::arg("lr"), py::arg("momentum") = 0.0,
      py::arg("dampening") = 0.0, py::arg("weight_decay") = 0.0, py::arg("nesterov") = false,
      py::arg("maximize") = false, py::arg("offset") = 0,
      "(p, momentum) after one SGD step for each row of gradients.");
  testing.def(
      "adam",
      [](const std::string& isa, const py::array& p, const py::array& gradients, double lr,
         double beta1, double beta2, double eps, double weight_decay, bool amsgrad, bool maximize,
         bool decoupled, index_t offset) {
        const KernelSet& set = kernels_of(isa);
        const AdamStep step{lr,  beta1, beta2,   eps,      weight_decay,
                            1.0, 1.0,   amsgrad, maximize, decoupled};
        return by_dtype(p, [&]<class T>() {
          return run_adam<T>(set.table<T>(), p.cast<Array<T>>(), gradients.cast<Array<T>>(), step,
                             offset);
        });
      },
      py::arg("isa"), py::arg("p"), py::arg("gradients"), py::arg("lr") = 1e-3,
      py::arg("beta1") = 0.9, py::arg("beta2") = 0.999, py::arg("eps") = 1e-8,
      py::arg("weight_decay") = 0.0, py::arg("amsgrad") = false, py::arg("maximize") = false,
      py::arg("decoupled") = false, py::arg("offset") = 0,
      "(p, m, v, v_max) after one Adam step for each row of gradients.");
}

void register_random_numbers(py::module_& testing) {
  testing.def(
      "philox", [](PhiloxCounter counter, PhiloxKey key) { return philox(counter, key); },
      py::arg("counter"), py::arg("key"), "One block of Philox4x32-10.");
  testing.def(
      "uniform_float64", [](std::uint64_t bits) { return uniform_float64(bits); }, py::arg("bits"));
  testing.def(
      "uniform_float32", [](std::uint32_t bits) { return uniform_float32(bits); }, py::arg("bits"));
  testing.def(
      "random_bits",
      [](std::uint64_t seed, std::uint32_t use, std::uint64_t stream, std::uint64_t element) {
        return RandomStream(seed, static_cast<RandomUse>(use), stream).bits(element);
      },
      py::arg("seed"), py::arg("use"), py::arg("stream"), py::arg("element"));
  testing.def(
      "permutation",
      [](std::uint64_t n, std::uint64_t seed, std::uint64_t epoch, std::uint64_t first,
         index_t count) {
        const Permutation permutation(n, seed, epoch);
        const index_t rows = count < 0 ? static_cast<index_t>(n - first) : count;
        py::array_t<index_t> out(rows);
        permutation.fill(first, rows, out.mutable_data());
        return out;
      },
      py::arg("n"), py::arg("seed"), py::arg("epoch"), py::arg("first") = 0, py::arg("count") = -1,
      "count positions of the order from `first` on, filled at once.");
  testing.def(
      "permutation_at",
      [](std::uint64_t n, std::uint64_t seed, std::uint64_t epoch, std::uint64_t i) {
        return Permutation(n, seed, epoch)(i);
      },
      py::arg("n"), py::arg("seed"), py::arg("epoch"), py::arg("i"), "One position.");
  testing.def(
      "normal_quantile",
      [](const Array<double>& p) {
        py::array_t<double> out(p.size());
        for (index_t i = 0; i < p.size(); ++i) out.mutable_data()[i] = normal_quantile(p.data()[i]);
        return out;
      },
      py::arg("p"));
  testing.def(
      "scalar_log",
      [](const Array<double>& x) {
        py::array_t<double> out(x.size());
        for (index_t i = 0; i < x.size(); ++i) out.mutable_data()[i] = scalar_log(x.data()[i]);
        return out;
      },
      py::arg("x"));
  testing.def(
      "scalar_cos",
      [](const Array<double>& x) {
        py::array_t<double> out(x.size());
        for (index_t i = 0; i < x.size(); ++i) out.mutable_data()[i] = scalar_cos(x.data()[i]);
        return out;
      },
      py::arg("x"));
  testing.def(
      "scalar_sin",
      [](const Array<double>& x) {
        py::array_t<double> out(x.size());
        for (index_t i = 0; i < x.size(); ++i) out.mutable_data()[i] = scalar_sin(x.data()[i]);
        return out;
      },
      py::arg("x"));
  testing.def(
      "scalar_pow",
      [](const Array<double>& x, const Array<double>& y) {
        py::array_t<double> out(x.size());
        for (index_t i = 0; i < x.size(); ++i) {
          out.mutable_data()[i] = scalar_pow(x.data()[i], y.data()[i]);
        }
        return out;
      },
      py::arg("x"), py::arg("y"), "As many results as x has elements.");
  testing.def("exact_pow_int", &exact_pow_int, py::arg("base"), py::arg("exponent"));
}

}  // namespace

void register_testing_losses(py::module_& testing) {
  register_kernels(testing);
  register_random_numbers(testing);
}

}  // namespace schuss

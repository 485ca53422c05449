// SPDX-License-Identifier: MIT
/// Tensors from data, from a formula, and from random numbers.
#include <pybind11/numpy.h>

#include <cmath>

#include "base/normal_quantile.hpp"
#include "base/permutation.hpp"
#include "base/philox.hpp"
#include "bindings/tensor_object.hpp"

namespace schuss::bindings {
namespace {

void check_sizes(const Dims& shape) {
  for (int i = 0; i < shape.rank; ++i) {
    if (shape[i] < 0) {
      throw ValueError("shape: got " + to_string(shape) + "; expected sizes of 0 or more");
    }
  }
}

/// Element i is value_of(i) in float64, rounded to the dtype once.
template <class F>
TensorPtr generate(const Dims& shape, DType dtype, F value_of) {
  check_sizes(shape);
  TensorPtr made = make_tensor(dtype, shape, Uninitialized{});
  const index_t n = made->count();
  dispatch_any(dtype, [&]<class T>() {
    for (index_t i = 0; i < n; ++i) made->ptr<T>()[i] = static_cast<T>(value_of(i));
  });
  return made;
}

TensorPtr full(const py::object& shape, double value, const py::object& dtype) {
  return generate(parse_shape(shape), parse_any_dtype(dtype), [&](index_t) { return value; });
}

TensorPtr arange(double start, double step, index_t count, const py::object& dtype) {
  return generate({count}, parse_any_dtype(dtype),
                  [&](index_t i) { return std::fma(static_cast<double>(i), step, start); });
}

/// From both ends, so that the last is exactly `end`.
TensorPtr linspace(double start, double end, index_t count, const py::object& dtype) {
  const double step = count > 1 ? (end - start) / static_cast<double>(count - 1) : 0.0;
  return generate({count}, parse_any_dtype(dtype), [&](index_t i) {
    return i < count / 2 || count == 1 ? std::fma(static_cast<double>(i), step, start)
                                       : std::fma(-static_cast<double>(count - 1 - i), step, end);
  });
}

TensorPtr random_uniform(const py::object& shape, const py::object& dtype, std::uint64_t seed) {
  const RandomStream stream(seed, RandomUse::kUser, 1);
  const DType wanted = parse_any_dtype(dtype);
  if (wanted == DType::kFloat32) {
    return generate(parse_shape(shape), wanted, [&](index_t i) {
      return uniform_float32(high_half(stream.bits(static_cast<std::uint64_t>(i))));
    });
  }
  return generate(parse_shape(shape), wanted, [&](index_t i) {
    return uniform_float64(stream.bits(static_cast<std::uint64_t>(i)));
  });
}

TensorPtr random_normal(const py::object& shape, const py::object& dtype, std::uint64_t seed) {
  const RandomStream stream(seed, RandomUse::kUser, 1);
  return generate(parse_shape(shape), parse_any_dtype(dtype), [&](index_t i) {
    return normal_float64(stream.bits(static_cast<std::uint64_t>(i)));
  });
}

/// 0 where an element is dropped, with probability p, else 1/(1 - p): element i of call `count` of
/// the layer that drew `seed`, in row-major order, so that a row's do not depend on the rows below.
TensorPtr dropout_mask(const py::object& shape, const py::object& dtype, double p,
                       std::uint64_t seed, std::uint64_t count) {
  const RandomStream stream(seed, RandomUse::kDropout, count);
  const double kept = p < 1.0 ? 1.0 / (1.0 - p) : 0.0;
  return generate(parse_shape(shape), parse_any_dtype(dtype), [&](index_t i) {
    return uniform_float64(stream.bits(static_cast<std::uint64_t>(i))) < p ? 0.0 : kept;
  });
}

/// low + the high half of (64 random bits times the range): every value within 2^-64 of 1/range.
TensorPtr random_integers(const py::object& shape, std::int64_t low, std::int64_t high,
                          const py::object& dtype, std::uint64_t seed) {
  if (high <= low) {
    throw ValueError("randint: got low " + std::to_string(low) + " and high " +
                     std::to_string(high) + "; expected low < high");
  }
  const RandomStream stream(seed, RandomUse::kUser, 1);
  const auto range = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  Dims sizes = parse_shape(shape);
  check_sizes(sizes);
  const TensorPtr made = make_tensor(DType::kInt64, sizes, Uninitialized{});
  for (index_t i = 0; i < made->count(); ++i) {
    const std::uint64_t bits = stream.bits(static_cast<std::uint64_t>(i));
    const std::uint64_t upper = (bits >> 32) * (range >> 32);
    const std::uint64_t cross = (bits >> 32) * (range & 0xffffffffU) +
                                (((bits & 0xffffffffU) * (range & 0xffffffffU)) >> 32);
    const std::uint64_t other = (bits & 0xffffffffU) * (range >> 32) + (cross & 0xffffffffU);
    const std::uint64_t scaled = upper + (cross >> 32) + (other >> 32);
    made->ptr<std::int64_t>()[i] =
        static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + scaled);
  }
  return converted(*made, parse_any_dtype(dtype));
}

TensorPtr random_permutation(index_t n, std::uint64_t seed) {
  check_sizes({n});
  const Permutation order(static_cast<std::uint64_t>(n), seed, 0);
  const TensorPtr made = make_tensor(DType::kInt64, {n}, Uninitialized{});
  order.fill(0, n, made->ptr<index_t>());
  return made;
}

/// Shares the array's memory. Throws TypeError for a dtype that tensors do not have.
TensorPtr from_numpy(const py::array& array) {
  auto made = std::make_shared<Tensor>();
  made->dtype = parse_any_dtype(array.dtype());
  if (array.ndim() > kMaxRank) throw ValueError("from_numpy: got more than 8 dimensions");
  const auto item = static_cast<py::ssize_t>(item_bytes(made->dtype));
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    if (array.strides(i) % item != 0) {
      throw ValueError(
          "from_numpy: the elements do not lie at whole multiples of their size; "
          "copy the array first");
    }
    made->shape[made->shape.rank++] = array.shape(i);
    made->strides[made->strides.rank++] = array.strides(i) / item;
  }
  if (array.dtype().byteorder() == '>') {
    throw TypeError(
        "from_numpy: got an array of another byte order; use "
        "array.astype(array.dtype.newbyteorder('='))");
  }
  if (!array.writeable()) {
    throw ValueError(
        "from_numpy: got a read-only array, whose memory a tensor could write; "
        "use schuss.tensor(array), which copies");
  }
  made->storage = std::make_shared<Storage>();
  made->data = static_cast<std::byte*>(const_cast<void*>(array.data()));
  made->storage->owner = keep_alive(array);
  return made;
}

TensorPtr where(const py::object& condition, const py::object& a, const py::object& b) {
  const TensorPtr chosen = tensor_or_null(condition.ptr());
  if (chosen == nullptr || chosen->dtype != DType::kBool) {
    throw TypeError("where: expected a bool tensor as the condition, such as x > 0");
  }
  const TensorPtr left = tensor_or_null(a.ptr());
  const TensorPtr right = tensor_or_null(b.ptr());
  const DType like =
      left != nullptr ? left->dtype : (right != nullptr ? right->dtype : DType::kFloat32);
  Operand x;
  Operand y;
  if (!parse_operand(a.ptr(), like, &x) || !parse_operand(b.ptr(), like, &y)) {
    throw TypeError("where: expected tensors or numbers to choose from");
  }
  if (x.tensor == nullptr && y.tensor == nullptr) {
    x.tensor = tensor_from(a, py::none());
  }
  return apply_where(chosen, x, y);
}

std::vector<TensorPtr> tensors_of(const py::object& list, const char* where) {
  std::vector<TensorPtr> tensors;
  for (const py::handle item : list) {
    tensors.push_back(tensor_or_null(item.ptr()));
    if (tensors.back() == nullptr) {
      throw TypeError(std::string(where) + ": got " + Py_TYPE(item.ptr())->tp_name +
                      " among the tensors");
    }
  }
  if (tensors.empty()) throw ValueError(std::string(where) + ": got no tensors");
  return tensors;
}

TensorPtr cat_all(std::vector<TensorPtr> tensors, index_t dim, const char* where) {
  OpAttributes attributes;
  const Dims& first = tensors.front()->shape;
  if (first.rank == 0) throw ValueError(std::string(where) + ": tensors have no dimensions");
  attributes.dim = normal_dim(dim, first.rank);
  for (const TensorPtr& x : tensors) {
    bool fits = x->shape.rank == first.rank;
    for (int i = 0; fits && i < first.rank; ++i) {
      fits = i == attributes.dim || x->shape[i] == first[i];
    }
    if (!fits) {
      throw ValueError(std::string(where) + ": got shapes " + to_string(first) + " and " +
                       to_string(x->shape) + "; expected equal ones but for dimension " +
                       std::to_string(attributes.dim));
    }
  }
  return apply(Op::kCat, attributes, std::move(tensors));
}

TensorPtr stack(const py::object& list, index_t dim) {
  std::vector<TensorPtr> tensors = tensors_of(list, "stack");
  const Dims shape = tensors.front()->shape;
  const int at = normal_dim(dim, shape.rank + 1);
  for (TensorPtr& x : tensors) {
    if (!(x->shape == shape)) {
      throw ValueError("stack: got shapes " + to_string(shape) + " and " + to_string(x->shape) +
                       "; expected equal ones");
    }
    if (shape.rank == kMaxRank) throw ValueError("stack: the tensors have 8 dimensions already");
    OpAttributes attributes;
    for (int i = 0; i <= shape.rank; ++i) {
      if (i == at) attributes.shape[attributes.shape.rank++] = 1;
      if (i < shape.rank) attributes.shape[attributes.shape.rank++] = shape[i];
    }
    x = apply(Op::kReshape, attributes, {x});
  }
  return cat_all(std::move(tensors), at, "stack");
}

}  // namespace

void register_creation(py::module_& m) {
  m.def("tensor", &tensor_from, py::arg("data"), py::arg("dtype") = py::none());
  m.def("full", &full, py::arg("shape"), py::arg("value"), py::arg("dtype"));
  m.def("arange", &arange, py::arg("start"), py::arg("step"), py::arg("count"), py::arg("dtype"));
  m.def("linspace", &linspace, py::arg("start"), py::arg("end"), py::arg("count"),
        py::arg("dtype"));
  m.def("random_uniform", &random_uniform, py::arg("shape"), py::arg("dtype"), py::arg("seed"));
  m.def("random_normal", &random_normal, py::arg("shape"), py::arg("dtype"), py::arg("seed"));
  m.def("dropout_mask", &dropout_mask, py::arg("shape"), py::arg("dtype"), py::arg("p"),
        py::arg("seed"), py::arg("count"));
  m.def("random_integers", &random_integers, py::arg("shape"), py::arg("low"), py::arg("high"),
        py::arg("dtype"), py::arg("seed"));
  m.def("random_permutation", &random_permutation, py::arg("n"), py::arg("seed"));
  m.def("from_numpy", &from_numpy, py::arg("array"));
  m.def("where", &where, py::arg("condition"), py::arg("input"), py::arg("other"));
  m.def(
      "cat",
      [](const py::object& tensors, index_t dim) {
        return cat_all(tensors_of(tensors, "cat"), dim, "cat");
      },
      py::arg("tensors"), py::arg("dim") = 0);
  m.def("stack", &stack, py::arg("tensors"), py::arg("dim") = 0);
}

}  // namespace schuss::bindings

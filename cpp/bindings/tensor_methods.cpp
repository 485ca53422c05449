// SPDX-License-Identifier: MIT
/// Methods that compute a new tensor.
#include <algorithm>
#include <limits>

#include "bindings/tensor_object.hpp"

namespace schuss::bindings {
namespace {

TensorPtr reduce(Op op, const TensorPtr& x, const py::object& dim, bool keepdim) {
  OpAttributes attributes;
  attributes.dims = parse_dims(dim, x->shape.rank, &attributes.dim);
  attributes.keepdim = keepdim;
  return apply(op, attributes, {x});
}

/// PyTorch's two names for a dimension: `dim`, and NumPy's `axis`.
const py::object& one_of(const py::object& dim, const py::object& axis) {
  if (axis.is_none()) return dim;
  if (!dim.is_none()) throw TypeError("got dim and axis; they are two names of one argument");
  return axis;
}

TensorPtr convert(const TensorPtr& x, DType dtype) {
  if (x->dtype == dtype) return x;
  OpAttributes attributes;
  attributes.dtype = dtype;
  return apply(Op::kConvert, attributes, {x});
}

TensorPtr activation(const TensorPtr& x, Activation kind, int dim = -1) {
  OpAttributes attributes;
  attributes.activation = kind;
  attributes.dim = dim;
  return apply(Op::kActivation, attributes, {x});
}

TensorPtr reshape(const TensorPtr& x, Dims shape) {
  int open = -1;
  index_t known = 1;
  for (int i = 0; i < shape.rank; ++i) {
    if (shape[i] == -1 && open < 0) {
      open = i;
    } else {
      known *= shape[i];
    }
  }
  if (open >= 0 && known > 0) shape[open] = x->count() / known;
  bool good = shape.count() == x->count();
  for (int i = 0; i < shape.rank; ++i) good = good && shape[i] >= 0;
  if (!good) {
    throw ValueError("reshape: shape " + to_string(shape) + " does not hold the " +
                     std::to_string(x->count()) + " elements of a tensor of shape " +
                     to_string(x->shape));
  }
  OpAttributes attributes;
  attributes.shape = shape;
  return apply(Op::kReshape, attributes, {x});
}

TensorPtr permute(const TensorPtr& x, const Dims& order) {
  std::uint8_t seen = 0;
  OpAttributes attributes;
  attributes.shape = order;
  for (int i = 0; i < order.rank; ++i) {
    const int dim = normal_dim(order[i], x->shape.rank);
    attributes.shape[i] = dim;
    seen = static_cast<std::uint8_t>(seen | (1U << dim));
  }
  if (order.rank != x->shape.rank || seen + 1U != 1U << order.rank) {
    throw ValueError("permute: got dims " + to_string(order) + "; expected each of the " +
                     std::to_string(x->shape.rank) + " dimensions once");
  }
  return apply(Op::kPermute, attributes, {x});
}

TensorPtr transpose(const TensorPtr& x, index_t dim0, index_t dim1) {
  Dims order = x->shape;
  for (int i = 0; i < order.rank; ++i) order[i] = i;
  const int a = normal_dim(dim0, order.rank);
  const int b = normal_dim(dim1, order.rank);
  if (order.rank > 0) std::swap(order[a], order[b]);
  return permute(x, order);
}

TensorPtr turned(const TensorPtr& x) {
  Dims order = x->shape;
  for (int i = 0; i < order.rank; ++i) order[i] = order.rank - 1 - i;
  return permute(x, order);
}

TensorPtr squeeze(const TensorPtr& x, const py::object& dim) {
  int first = -1;
  const std::uint8_t bits = parse_dims(dim, x->shape.rank, &first);
  Dims shape;
  for (int i = 0; i < x->shape.rank; ++i) {
    const bool gone = ((bits >> i) & 1) != 0 && x->shape[i] == 1;
    if (!gone) shape[shape.rank++] = x->shape[i];
  }
  return reshape(x, shape);
}

TensorPtr unsqueeze(const TensorPtr& x, index_t dim) {
  if (x->shape.rank == kMaxRank) throw ValueError("unsqueeze: the tensor has 8 dimensions already");
  const int at = normal_dim(dim, x->shape.rank + 1);
  Dims shape;
  for (int i = 0; i <= x->shape.rank; ++i) {
    if (i == at) shape[shape.rank++] = 1;
    if (i < x->shape.rank) shape[shape.rank++] = x->shape[i];
  }
  return reshape(x, shape);
}

TensorPtr flatten(const TensorPtr& x, index_t start, index_t end) {
  const int first = normal_dim(start, x->shape.rank);
  const int last = normal_dim(end, x->shape.rank);
  if (last < first) throw ValueError("flatten: end_dim comes before start_dim");
  if (x->shape.rank == 0) return reshape(x, {1});
  Dims shape;
  for (int i = 0; i < x->shape.rank; ++i) {
    if (i > first && i <= last) {
      shape[shape.rank - 1] *= x->shape[i];
    } else {
      shape[shape.rank++] = x->shape[i];
    }
  }
  return reshape(x, shape);
}

TensorPtr expand(const TensorPtr& x, Dims shape) {
  const int missing = shape.rank - x->shape.rank;
  for (int i = 0; i < shape.rank; ++i) {
    if (shape[i] == -1 && i >= missing) shape[i] = x->shape[i - missing];
    const bool fits =
        i < missing || x->shape[i - missing] == shape[i] || x->shape[i - missing] == 1;
    if (missing < 0 || !fits || shape[i] < 0) {
      throw ValueError("expand: a tensor of shape " + to_string(x->shape) +
                       " does not broadcast to " + to_string(shape));
    }
  }
  OpAttributes attributes;
  attributes.shape = shape;
  return apply(Op::kExpand, attributes, {x});
}

/// The largest or smallest: of all elements, along a dimension (values, indices), or of two tensors.
py::object extreme(Op op, Op arg_op, Pair pair, const TensorPtr& x, const py::object& dim,
                   bool keepdim) {
  if (TensorPtr other = tensor_or_null(dim.ptr())) {
    return wrapped(apply_pair(pair, {x}, {other}));
  }
  const TensorPtr values = reduce(op, x, dim, keepdim);
  if (dim.is_none()) return wrapped(values);
  const TensorPtr indices = reduce(arg_op, x, dim, keepdim);
  static const py::handle pair_type =  // never released: Python is gone before statics are
      py::object(py::module_::import("schuss._results").attr("ValuesIndices")).release();
  return pair_type(wrapped(values), wrapped(indices));
}

TensorPtr clamp(const TensorPtr& x, const py::object& low, const py::object& high) {
  if (low.is_none() && high.is_none()) throw ValueError("clamp: got neither min nor max");
  const TensorPtr low_tensor = tensor_or_null(low.ptr());
  const TensorPtr high_tensor = tensor_or_null(high.ptr());
  if (low_tensor != nullptr || high_tensor != nullptr) {
    TensorPtr result = x;
    Operand limit;
    if (!low.is_none() && parse_operand(low.ptr(), x->dtype, &limit)) {
      result = apply_pair(Pair::kMaximum, {result}, limit);
    }
    limit = {};
    if (!high.is_none() && parse_operand(high.ptr(), x->dtype, &limit)) {
      result = apply_pair(Pair::kMinimum, {result}, limit);
    }
    return result;
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  OpAttributes attributes;
  attributes.map = Map::kClamp;
  attributes.options.a = low.is_none() ? -kInfinity : low.cast<double>();
  attributes.options.b = high.is_none() ? kInfinity : high.cast<double>();
  const bool whole = !PyFloat_Check(low.ptr()) && !PyFloat_Check(high.ptr());
  attributes.number_kind = whole ? NumberKind::kInteger : NumberKind::kFloat;
  return apply(Op::kMap, attributes, {x});
}

Operand operand_of(const py::object& object, DType like, const char* where) {
  Operand operand;
  if (!parse_operand(object.ptr(), like, &operand)) {
    throw TypeError(std::string(where) + ": got " + Py_TYPE(object.ptr())->tp_name +
                    "; expected a tensor or a number");
  }
  return operand;
}

/// sum((x - mean)^2) / (n - correction), and its root.
TensorPtr variance(const TensorPtr& x, const py::object& dim, double correction, bool keepdim) {
  const TensorPtr mean = reduce(Op::kMean, x, dim, true);
  const TensorPtr centred = apply_pair(Pair::kSub, {x}, {mean});
  const TensorPtr sum = reduce(Op::kSum, apply_map(Map::kSquare, centred), dim, keepdim);
  const index_t n = sum->count() == 0 ? 0 : x->count() / sum->count();
  const double divisor = static_cast<double>(n) - correction;
  return apply_pair(Pair::kDiv, {sum}, {nullptr, divisor > 0.0 ? divisor : 0.0});
}

double correction_of(const py::object& unbiased, double correction) {
  return unbiased.is_none() ? correction : (unbiased.cast<bool>() ? 1.0 : 0.0);
}

DType named_dtype(py::handle name) {
  try {
    return parse_any_dtype(name);
  } catch (const py::error_already_set&) {  // NumPy knows no such name: a device, then
    throw ValueError("to: got '" + name.cast<std::string>() +
                     "'; expected a dtype, or \"cpu\", which is the only device there is");
  }
}

TensorPtr to(const TensorPtr& x, const py::args& args, const py::object& dtype,
             const py::object& device) {
  TensorPtr result = x;
  const auto take = [&](py::handle what) {
    if (what.is_none()) return;
    if (TensorPtr like = tensor_or_null(what.ptr())) {
      result = convert(result, like->dtype);
      return;
    }
    const bool is_text = py::isinstance<py::str>(what);
    const bool is_cpu = (is_text && what.cast<std::string>() == "cpu") ||
                        (!is_text && py::str(what).cast<std::string>() == "cpu");
    if (is_cpu) return;
    result = convert(result, is_text ? named_dtype(what) : parse_any_dtype(what));
  };
  for (const py::handle what : args) take(what);
  take(dtype);
  take(device);
  return result;
}

TensorPtr any_or_all(const TensorPtr& x, const py::object& dim, bool keepdim, bool all) {
  const TensorPtr truth = convert(x, DType::kBool);
  return convert(reduce(all ? Op::kMin : Op::kMax, convert(truth, DType::kInt64), dim, keepdim),
                 DType::kBool);
}

void define_maps(TensorClass& tensor) {
  const auto map = [&](const char* name, Map kind) {
    tensor.def(name, [kind](const TensorPtr& x) { return apply_map(kind, x); });
  };
  map("abs", Map::kAbs);
  map("neg", Map::kNeg);
  map("exp", Map::kExp);
  map("expm1", Map::kExpm1);
  map("log", Map::kLog);
  map("log1p", Map::kLog1p);
  map("sqrt", Map::kSqrt);
  map("square", Map::kSquare);
  map("reciprocal", Map::kReciprocal);
  map("erf", Map::kErf);
  const auto act = [&](const char* name, Activation kind) {
    tensor.def(name, [kind](const TensorPtr& x) { return activation(x, kind); });
  };
  act("relu", Activation::kReLU);
  act("sigmoid", Activation::kSigmoid);
  act("tanh", Activation::kTanh);
  const auto rows = [&](const char* name, Activation kind) {
    tensor.def(
        name,
        [kind](const TensorPtr& x, index_t dim) {
          return activation(x, kind, normal_dim(dim, x->shape.rank));
        },
        py::arg("dim"));
  };
  rows("softmax", Activation::kSoftmax);
  rows("log_softmax", Activation::kLogSoftmax);
  const auto pair = [&](const char* name, Pair kind) {
    tensor.def(
        name,
        [kind, name](const TensorPtr& x, const py::object& other) {
          return apply_pair(kind, {x}, operand_of(other, x->dtype, name));
        },
        py::arg("other"));
  };
  pair("mul", Pair::kMul);
  pair("div", Pair::kDiv);
  pair("maximum", Pair::kMaximum);
  pair("minimum", Pair::kMinimum);
  const auto scaled = [&](const char* name, Pair kind) {
    tensor.def(
        name,
        [kind, name](const TensorPtr& x, const py::object& other, const py::object& alpha) {
          Operand right = operand_of(other, x->dtype, name);
          if (!alpha.equal(py::int_(1))) {
            const Operand factor = operand_of(alpha, x->dtype, name);
            if (right.tensor == nullptr) {
              right.number *= factor.number;
            } else {
              right = {apply_pair(Pair::kMul, right, factor)};
            }
          }
          return apply_pair(kind, {x}, right);
        },
        py::arg("other"), py::arg("alpha") = 1);
  };
  scaled("add", Pair::kAdd);
  scaled("sub", Pair::kSub);
  tensor.def(
      "pow",
      [](const TensorPtr& x, const py::object& exponent) {
        return apply_power({x}, operand_of(exponent, x->dtype, "pow"));
      },
      py::arg("exponent"));
  const auto compare = [&](const char* name, Compare kind) {
    tensor.def(
        name,
        [kind, name](const TensorPtr& x, const py::object& other) {
          OpAttributes attributes;
          attributes.compare = kind;
          return apply_two(Op::kCompare, std::move(attributes), {x},
                           operand_of(other, x->dtype, name));
        },
        py::arg("other"));
  };
  compare("eq", Compare::kEq);
  compare("ne", Compare::kNe);
  compare("lt", Compare::kLt);
  compare("le", Compare::kLe);
  compare("gt", Compare::kGt);
  compare("ge", Compare::kGe);
}

void define_reductions(TensorClass& tensor) {
  const auto sum = [&](const char* name, Op op) {
    tensor.def(
        name,
        [op](const TensorPtr& x, const py::object& dim, bool keepdim, const py::object& dtype,
             const py::object& axis) {
          const TensorPtr in = dtype.is_none() ? x : convert(x, parse_any_dtype(dtype));
          return reduce(op, in, one_of(dim, axis), keepdim);
        },
        py::arg("dim") = py::none(), py::arg("keepdim") = false, py::kw_only(),
        py::arg("dtype") = py::none(), py::arg("axis") = py::none());
  };
  sum("sum", Op::kSum);
  sum("mean", Op::kMean);
  const auto arg = [&](const char* name, Op op) {
    tensor.def(
        name,
        [op](const TensorPtr& x, const py::object& dim, bool keepdim, const py::object& axis) {
          return reduce(op, x, one_of(dim, axis), keepdim);
        },
        py::arg("dim") = py::none(), py::arg("keepdim") = false, py::arg("axis") = py::none());
  };
  arg("argmax", Op::kArgMax);
  arg("argmin", Op::kArgMin);
  tensor.def(
      "max",
      [](const TensorPtr& x, const py::object& dim, bool keepdim) {
        return extreme(Op::kMax, Op::kArgMax, Pair::kMaximum, x, dim, keepdim);
      },
      py::arg("dim") = py::none(), py::arg("keepdim") = false);
  tensor.def(
      "min",
      [](const TensorPtr& x, const py::object& dim, bool keepdim) {
        return extreme(Op::kMin, Op::kArgMin, Pair::kMinimum, x, dim, keepdim);
      },
      py::arg("dim") = py::none(), py::arg("keepdim") = false);
  for (const bool all : {false, true}) {
    tensor.def(
        all ? "all" : "any",
        [all](const TensorPtr& x, const py::object& dim, bool keepdim) {
          return any_or_all(x, dim, keepdim, all);
        },
        py::arg("dim") = py::none(), py::arg("keepdim") = false);
  }
  for (const bool root : {false, true}) {
    tensor.def(
        root ? "std" : "var",
        [root](const TensorPtr& x, const py::object& dim, const py::object& unbiased,
               double correction, bool keepdim) {
          const TensorPtr v = variance(x, dim, correction_of(unbiased, correction), keepdim);
          return root ? apply_map(Map::kSqrt, v) : v;
        },
        py::arg("dim") = py::none(), py::arg("unbiased") = py::none(), py::kw_only(),
        py::arg("correction") = 1.0, py::arg("keepdim") = false);
  }
}

void define_shapes(TensorClass& tensor) {
  for (const char* name : {"reshape", "view"}) {
    tensor.def(name, [](const TensorPtr& x, const py::args& shape) {
      return reshape(x, parse_shape(shape));
    });
  }
  tensor
      .def(
          "view_as",
          [](const TensorPtr& x, const Tensor& other) { return reshape(x, other.shape); },
          py::arg("other"))
      .def("permute",
           [](const TensorPtr& x, const py::args& dims) { return permute(x, parse_shape(dims)); })
      .def("expand",
           [](const TensorPtr& x, const py::args& sizes) { return expand(x, parse_shape(sizes)); })
      .def("transpose", &transpose, py::arg("dim0"), py::arg("dim1"))
      .def("t",
           [](const TensorPtr& x) {
             if (x->shape.rank > 2) {
               throw ValueError("t: got a tensor of shape " + to_string(x->shape) +
                                "; expected at most 2 dimensions (use .transpose(dim0, dim1))");
             }
             return turned(x);
           })
      .def_property_readonly("T", &turned, "The tensor with its dimensions in reverse order.")
      .def("squeeze", &squeeze, py::arg("dim") = py::none())
      .def("unsqueeze", &unsqueeze, py::arg("dim"))
      .def("flatten", &flatten, py::arg("start_dim") = 0, py::arg("end_dim") = -1)
      .def("ravel", [](const TensorPtr& x) { return flatten(x, 0, -1); })
      .def("contiguous",
           [](const TensorPtr& x) { return x->is_contiguous() ? x : apply(Op::kClone, {}, {x}); })
      .def("clone", [](const TensorPtr& x) { return apply(Op::kClone, {}, {x}); });
}

void define_conversions(TensorClass& tensor) {
  const auto as = [&](const char* name, DType dtype) {
    tensor.def(name, [dtype](const TensorPtr& x) { return convert(x, dtype); });
  };
  as("float", DType::kFloat32);
  as("double", DType::kFloat64);
  as("long", DType::kInt64);
  as("int", DType::kInt64);
  as("bool", DType::kBool);
  tensor
      .def(
          "to",
          [](const TensorPtr& x, const py::args& args, const py::kwargs& options) {
            const auto get = [&](const char* name) {
              return options.contains(name) ? py::object(options[name]) : py::object(py::none());
            };
            for (const auto& [name, value] : options) {
              const auto text = name.cast<std::string>();
              if (text != "dtype" && text != "device" && text != "non_blocking" && text != "copy") {
                throw TypeError("to: unknown option '" + text + "'");
              }
            }
            return to(x, args, get("dtype"), get("device"));
          })
      .def(
          "type",
          [](const TensorPtr& x, const py::object& dtype) {
            return convert(x, parse_any_dtype(dtype));
          },
          py::arg("dtype"))
      .def(
          "type_as",
          [](const TensorPtr& x, const Tensor& other) { return convert(x, other.dtype); },
          py::arg("other"))
      .def("cpu", [](const TensorPtr& x) { return x; });
}

}  // namespace

void define_methods(TensorClass& tensor) {
  define_maps(tensor);
  define_reductions(tensor);
  define_shapes(tensor);
  define_conversions(tensor);
  tensor.def("clamp", &clamp, py::arg("min") = py::none(), py::arg("max") = py::none());
  tensor.def("clip", &clamp, py::arg("min") = py::none(), py::arg("max") = py::none());
  for (const char* name : {"matmul", "mm", "dot", "mv"}) {
    tensor.def(
        name,
        [](const TensorPtr& x, const TensorPtr& other) {
          return apply(Op::kMatmul, {}, {x, other});
        },
        py::arg("other"));
  }
}

void register_activation(py::module_& m) {
  m.def(
      "activation",
      [](const TensorPtr& x, const std::string& kind, double a, double beta, double threshold,
         index_t dim) {
        const auto name = std::find(kActivationNames.begin(), kActivationNames.end(), kind);
        if (name == kActivationNames.end()) {
          throw ValueError("activation: got \"" + kind + "\"; it is not one of the kinds");
        }
        OpAttributes attributes;
        attributes.activation = static_cast<Activation>(name - kActivationNames.begin());
        attributes.activation_options = {a, beta, threshold};
        attributes.dim = normal_dim(dim, x->shape.rank);
        return apply(Op::kActivation, attributes, {x});
      },
      py::arg("input"), py::arg("kind"), py::arg("a"), py::arg("beta"), py::arg("threshold"),
      py::arg("dim"));
}

}  // namespace schuss::bindings

// SPDX-License-Identifier: MIT
/// Methods that are sayings of others, and those on single dimensions: parts, orders, products.
#include <pybind11/stl.h>

#include <cmath>
#include <limits>

#include "bindings/tensor_object.hpp"

namespace schuss::bindings {
namespace {

using Kind = IndexItem::Kind;

TensorPtr reduce(Op op, const TensorPtr& x, const py::object& dim, bool keepdim) {
  OpAttributes attributes;
  attributes.dims = parse_dims(dim, x->shape.rank, &attributes.dim);
  attributes.keepdim = keepdim;
  return apply(op, attributes, {x});
}

/// Of one dimension, or of all.
TensorPtr product(const TensorPtr& x, const py::object& dim, bool keepdim) {
  if (!dim.is_none() && PyIndex_Check(dim.ptr()) == 0) {
    throw TypeError("prod: expected one dimension, or None for all");
  }
  return reduce(Op::kProduct, x, dim, keepdim);
}

/// The values of max and min, whose gradient equal elements share.
TensorPtr extreme_value(Op op, const TensorPtr& x, const py::object& dim, bool keepdim) {
  if (!dim.is_none() && PyIndex_Check(dim.ptr()) == 0) {
    throw TypeError("amax, amin: expected one dimension, or None for all");
  }
  OpAttributes attributes;
  attributes.dims = parse_dims(dim, x->shape.rank, &attributes.dim);
  attributes.dim = -1;
  attributes.keepdim = keepdim;
  return apply(op, attributes, {x});
}

TensorPtr function(const TensorPtr& x, Function kind) {
  OpAttributes attributes;
  attributes.function = kind;
  return apply(Op::kFunction, attributes, {x});
}

TensorPtr compare(Compare kind, const TensorPtr& x, const Operand& other) {
  OpAttributes attributes;
  attributes.compare = kind;
  return apply_two(Op::kCompare, std::move(attributes), {x}, other);
}

TensorPtr logical(Logical kind, const TensorPtr& x, const TensorPtr& other) {
  OpAttributes attributes;
  attributes.logical = kind;
  if (other == nullptr) return apply(Op::kLogical, attributes, {x});
  return apply(Op::kLogical, attributes, {x, other});
}

Operand operand_of(const py::object& object, const TensorPtr& like, const char* where) {
  Operand operand;
  if (!parse_operand(object.ptr(), like->dtype, &operand)) {
    throw TypeError(std::string(where) + ": got " + Py_TYPE(object.ptr())->tp_name +
                    "; expected a tensor or a number");
  }
  return operand;
}

TensorPtr root_of_squares(const TensorPtr& x, const py::object& dim, bool keepdim) {
  const TensorPtr squares = reduce(Op::kSum, apply_map(Map::kSquare, x), dim, keepdim);
  // At 0 the gradient is 0, as PyTorch takes it: the square root sees a 1 there.
  const TensorPtr zero = compare(Compare::kEq, squares, {nullptr, 0.0});
  const TensorPtr root = apply_map(Map::kSqrt, apply_where(zero, {nullptr, 1.0}, {squares}));
  return apply_where(zero, {squares}, {root});
}

/// (sum |x|^p)^(1/p); p = inf, -inf: the largest, smallest |x|.
TensorPtr norm(const TensorPtr& x, const py::object& p, const py::object& dim, bool keepdim) {
  if (!is_floating(x->dtype)) {
    throw TypeError(std::string("norm: got a tensor of ") + dtype_name(x->dtype) +
                    "; expected float32 or float64 (use .float())");
  }
  const bool named = py::isinstance<py::str>(p);
  if (p.is_none() || (named && p.cast<std::string>() == "fro")) {
    return root_of_squares(x, dim, keepdim);
  }
  if (named) throw ValueError("norm: p: got another name than 'fro'; use a number");
  const double power = p.cast<double>();
  if (power == 0.0) throw ValueError("norm: p: got 0; expected another (or (x != 0).sum())");
  if (power == 2.0) return root_of_squares(x, dim, keepdim);
  const TensorPtr sizes = apply_map(Map::kAbs, x);
  if (power == 1.0) return reduce(Op::kSum, sizes, dim, keepdim);
  if (std::isinf(power)) {
    return extreme_value(power > 0.0 ? Op::kMax : Op::kMin, sizes, dim, keepdim);
  }
  const TensorPtr sum = reduce(Op::kSum, apply_power({sizes}, {nullptr, power}), dim, keepdim);
  return apply_power({sum}, {nullptr, 1.0 / power});
}

/// log(sum(exp(x))), from the largest element so that nothing overflows.
TensorPtr log_sum_exp(const TensorPtr& x, const py::object& dim, bool keepdim) {
  const TensorPtr top = detached(*extreme_value(Op::kMax, x, dim, true));
  const TensorPtr finite = compare(Compare::kLt, apply_map(Map::kAbs, top),
                                   {nullptr, std::numeric_limits<double>::infinity()});
  const TensorPtr shift = apply_where(finite, {top}, {nullptr, 0.0});
  const TensorPtr terms = apply_map(Map::kExp, apply_pair(Pair::kSub, {x}, {shift}));
  const TensorPtr sum = apply_map(Map::kLog, reduce(Op::kSum, terms, dim, true));
  const TensorPtr result = apply_pair(Pair::kAdd, {sum}, {shift});
  if (keepdim) return result;
  OpAttributes attributes;
  int first = -1;
  const std::uint8_t bits = parse_dims(dim, x->shape.rank, &first);
  for (int i = 0; i < x->shape.rank; ++i) {
    if (((bits >> i) & 1) == 0) attributes.shape[attributes.shape.rank++] = x->shape[i];
  }
  return apply(Op::kReshape, attributes, {result});
}

IndexSpec whole(const Tensor& x) {
  IndexSpec spec(static_cast<std::size_t>(x.shape.rank));
  for (int i = 0; i < x.shape.rank; ++i) spec[static_cast<std::size_t>(i)].length = x.shape[i];
  return spec;
}

TensorPtr at(Op op, const TensorPtr& x, IndexSpec spec) {
  OpAttributes attributes;
  attributes.index = std::make_shared<const IndexSpec>(std::move(spec));
  return apply(op, attributes, {x});
}

int dim_of(const TensorPtr& x, index_t dim, const char* where) {
  if (x->shape.rank == 0) {
    throw ValueError(std::string(where) + ": the tensor has no dimensions");
  }
  return normal_dim(dim, x->shape.rank);
}

TensorPtr narrow(const TensorPtr& x, index_t dim, index_t start, index_t length) {
  const int d = dim_of(x, dim, "narrow");
  const index_t size = x->shape[d];
  const index_t from = start < 0 ? start + size : start;
  if (from < 0 || length < 0 || from + length > size) {
    throw ValueError("narrow: got start " + std::to_string(start) + " and length " +
                     std::to_string(length) + " for a dimension of size " + std::to_string(size));
  }
  IndexSpec spec = whole(*x);
  spec[static_cast<std::size_t>(d)].start = from;
  spec[static_cast<std::size_t>(d)].length = length;
  return at(Op::kIndex, x, std::move(spec));
}

TensorPtr select(const TensorPtr& x, index_t dim, index_t index) {
  const int d = dim_of(x, dim, "select");
  const index_t size = x->shape[d];
  if (index < -size || index >= size) {
    throw py::index_error("select: got " + std::to_string(index) + " for a dimension of size " +
                          std::to_string(size));
  }
  IndexSpec spec = whole(*x);
  IndexItem& item = spec[static_cast<std::size_t>(d)];
  item = {};
  item.kind = Kind::kPick;
  item.start = index < 0 ? index + size : index;
  return at(Op::kIndex, x, std::move(spec));
}

TensorPtr flip(const TensorPtr& x, const py::args& dims) {
  IndexSpec spec = whole(*x);
  const Dims wanted = parse_shape(dims);
  for (int i = 0; i < wanted.rank; ++i) {
    const int d = dim_of(x, wanted[i], "flip");
    IndexItem& item = spec[static_cast<std::size_t>(d)];
    if (item.step < 0) throw ValueError("flip: a dimension appears more than once");
    item.start = std::max<index_t>(item.length - 1, 0);
    item.step = -1;
  }
  return at(Op::kIndex, x, std::move(spec));
}

TensorPtr index_select(const TensorPtr& x, index_t dim, const TensorPtr& index) {
  const int d = dim_of(x, dim, "index_select");
  if (index->dtype != DType::kInt64 || index->shape.rank > 1) {
    throw ValueError(std::string("index_select: got an index of ") + dtype_name(index->dtype) +
                     " and shape " + to_string(index->shape) +
                     "; expected int64 and one dimension");
  }
  IndexItem item;
  item.kind = Kind::kArray;
  item.array = make_tensor(DType::kInt64, {index->count()}, Uninitialized{});
  copy_contiguous(*index, item.array->data);
  for (index_t i = 0; i < index->count(); ++i) {
    const std::int64_t place = item.array->ptr<std::int64_t>()[i];
    if (place < 0 || place >= x->shape[d]) {
      throw py::index_error("index_select: got " + std::to_string(place) +
                            " for a dimension of size " + std::to_string(x->shape[d]));
    }
  }
  IndexSpec spec = whole(*x);
  spec[static_cast<std::size_t>(d)] = std::move(item);
  return at(Op::kGather, x, std::move(spec));
}

py::tuple unbind(const TensorPtr& x, index_t dim) {
  const int d = dim_of(x, dim, "unbind");
  py::tuple parts(static_cast<std::size_t>(x->shape[d]));
  for (index_t i = 0; i < x->shape[d]; ++i) {
    parts[static_cast<std::size_t>(i)] = wrapped(select(x, d, i));
  }
  return parts;
}

py::tuple split_at(const TensorPtr& x, int d, const std::vector<index_t>& sizes) {
  index_t sum = 0;
  for (const index_t size : sizes) sum += size;
  if (sum != x->shape[d]) {
    throw ValueError("split: the sizes add up to " + std::to_string(sum) + "; expected " +
                     std::to_string(x->shape[d]) + ", the size of the dimension");
  }
  py::tuple parts(sizes.size());
  index_t start = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    parts[i] = wrapped(narrow(x, d, start, sizes[i]));
    start += sizes[i];
  }
  return parts;
}

py::tuple split(const TensorPtr& x, const py::object& size, index_t dim) {
  const int d = dim_of(x, dim, "split");
  if (PyIndex_Check(size.ptr()) == 0) {
    return split_at(x, d, size.cast<std::vector<index_t>>());
  }
  const auto step = size.cast<index_t>();
  if (step <= 0) {
    throw ValueError("split: got size " + std::to_string(step) + "; expected a positive one");
  }
  std::vector<index_t> sizes;
  for (index_t left = x->shape[d]; left > 0; left -= step) sizes.push_back(std::min(left, step));
  if (sizes.empty()) sizes.push_back(0);
  return split_at(x, d, sizes);
}

py::tuple chunk(const TensorPtr& x, index_t chunks, index_t dim) {
  const int d = dim_of(x, dim, "chunk");
  if (chunks <= 0) {
    throw ValueError("chunk: got " + std::to_string(chunks) + "; expected a positive number");
  }
  const index_t step = std::max<index_t>((x->shape[d] + chunks - 1) / chunks, 1);
  return split(x, py::int_(step), d);
}

/// Each dimension so many times over.
TensorPtr repeat(const TensorPtr& x, const py::args& args) {
  const Dims times = parse_shape(args);
  const int missing = times.rank - x->shape.rank;
  if (missing < 0 || 2 * times.rank > kMaxRank) {
    throw ValueError("repeat: got " + std::to_string(times.rank) + " numbers for a tensor of " +
                     std::to_string(x->shape.rank) +
                     " dimensions; expected as many or more, and 4 at most");
  }
  OpAttributes apart;     // (1, s0, 1, s1, ...)
  OpAttributes expanded;  // (r0, s0, r1, s1, ...)
  OpAttributes joined;    // (r0 s0, r1 s1, ...)
  for (int i = 0; i < times.rank; ++i) {
    if (times[i] < 0) throw ValueError("repeat: got a negative number");
    const index_t size = i < missing ? 1 : x->shape[i - missing];
    for (const index_t n : {index_t{1}, size}) apart.shape[apart.shape.rank++] = n;
    for (const index_t n : {times[i], size}) expanded.shape[expanded.shape.rank++] = n;
    joined.shape[joined.shape.rank++] = times[i] * size;
  }
  return apply(Op::kReshape, joined,
               {apply(Op::kExpand, expanded, {apply(Op::kReshape, apart, {x})})});
}

py::object values_and_indices(TensorPtr values, TensorPtr indices) {
  static const py::handle pair_type =  // never released: Python is gone before statics are
      py::object(py::module_::import("schuss._results").attr("ValuesIndices")).release();
  return pair_type(wrapped(std::move(values)), wrapped(std::move(indices)));
}

TensorPtr arg_sort(const TensorPtr& x, index_t dim, bool descending) {
  OpAttributes attributes;
  attributes.dim = normal_dim(dim, x->shape.rank);
  attributes.largest = descending;
  return apply(Op::kArgSort, attributes, {x});
}

/// x at the indices along a dimension.
TensorPtr taken(const TensorPtr& x, index_t dim, const TensorPtr& indices) {
  if (x->shape.rank == 0) return apply(Op::kClone, {}, {x});
  return wrapped(x).attr("gather")(dim, wrapped(indices)).cast<TensorPtr>();
}

py::object sort(const TensorPtr& x, index_t dim, bool descending, bool) {
  const TensorPtr order = arg_sort(x, dim, descending);
  return values_and_indices(taken(x, dim, order), order);
}

py::object top(const TensorPtr& x, index_t k, index_t dim, bool largest, bool) {
  const int d = normal_dim(dim, x->shape.rank);
  const index_t size = x->shape.rank == 0 ? 1 : x->shape[d];
  if (k < 0 || k > size) {
    throw ValueError("topk: got k = " + std::to_string(k) + "; expected 0 to " +
                     std::to_string(size) + ", the size of the dimension");
  }
  TensorPtr order = arg_sort(x, d, largest);
  if (x->shape.rank > 0) order = contiguous(narrow(order, d, 0, k));
  return values_and_indices(taken(x, d, order), order);
}

/// The lower of the two in the middle; a NaN where there is one.
py::object median(const TensorPtr& x, const py::object& dim, bool keepdim) {
  OpAttributes flat;
  flat.shape = {x->count()};
  const TensorPtr from = dim.is_none() ? apply(Op::kReshape, flat, {x}) : x;
  const int d = dim.is_none() ? 0 : normal_dim(dim.cast<index_t>(), x->shape.rank);
  const index_t size = from->shape.rank == 0 ? 1 : from->shape[d];
  if (size == 0) throw ValueError("median: got no elements");
  if (from->shape.rank == 0)
    return values_and_indices(taken(from, d, nullptr), arg_sort(from, d, false));
  const TensorPtr order = arg_sort(from, d, false);
  // NaNs are last: the last of the order where there is any.
  const TensorPtr last = taken(from, d, narrow(order, d, size - 1, 1));
  const TensorPtr has_nan = compare(Compare::kNe, last, {last});
  const TensorPtr middle =
      apply_where(has_nan, {narrow(order, d, size - 1, 1)}, {narrow(order, d, (size - 1) / 2, 1)});
  TensorPtr values = taken(from, d, middle);
  if (dim.is_none()) return wrapped(select(values, 0, 0));
  if (keepdim) return values_and_indices(std::move(values), middle);
  return values_and_indices(select(values, d, 0), select(middle, d, 0));
}

/// name_: what the method `name` gives, written into the tensor.
void define_in_place_of(TensorClass& tensor, const char* name) {
  tensor.def(std::string(name).append("_").c_str(),
             [name](const py::object& self, const py::args& args, const py::kwargs& options) {
               const TensorPtr target = tensor_or_null(self.ptr());
               check_in_place(*target, false);
               // A handle of its own: the target becomes the result, and is not its own history.
               TensorPtr handle = detached(*target);
               handle->requires_grad = target->requires_grad;
               handle->grad_fn = target->grad_fn;
               const py::object result = wrapped(std::move(handle)).attr(name)(*args, **options);
               assign_result(target, tensor_or_null(result.ptr()));
               return self;
             });
}

void define_functions(TensorClass& tensor) {
  const auto function_named = [&](const char* name, Function kind) {
    tensor.def(name, [kind](const TensorPtr& x) { return function(x, kind); });
  };
  function_named("sin", Function::kSin);
  function_named("cos", Function::kCos);
  function_named("floor", Function::kFloor);
  function_named("ceil", Function::kCeil);
  function_named("trunc", Function::kTrunc);
  function_named("round", Function::kRound);
  function_named("sign", Function::kSign);
  tensor.def("tan", [](const TensorPtr& x) {
    return apply_pair(Pair::kDiv, {function(x, Function::kSin)}, {function(x, Function::kCos)});
  });
  tensor.def("rsqrt", [](const TensorPtr& x) { return apply_power({x}, {nullptr, -0.5}); });
  constexpr double kLn2 = 0x1.62e42fefa39efp-1;
  constexpr double kLn10 = 0x1.26bb1bbb55516p+1;
  for (const auto& [name, divisor] : {std::pair{"log2", kLn2}, std::pair{"log10", kLn10}}) {
    tensor.def(name, [divisor = divisor](const TensorPtr& x) {
      return apply_pair(Pair::kDiv, {apply_map(Map::kLog, x)}, {nullptr, divisor});
    });
  }
  const auto divide = [&](const char* name, Division kind) {
    tensor.def(
        name,
        [kind, name](const TensorPtr& x, const py::object& other) {
          return apply_division(kind, {x}, operand_of(other, x, name));
        },
        py::arg("other"));
  };
  divide("floor_divide", Division::kFloor);
  divide("remainder", Division::kRemainder);
  divide("fmod", Division::kFmod);
  tensor.def("isnan", [](const TensorPtr& x) { return compare(Compare::kNe, x, {x}); });
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const bool finite : {false, true}) {
    tensor.def(finite ? "isfinite" : "isinf", [finite](const TensorPtr& x) {
      return compare(finite ? Compare::kLt : Compare::kEq, apply_map(Map::kAbs, x),
                     {nullptr, kInfinity});
    });
  }
  const auto logic = [&](const char* name, Logical kind) {
    tensor.def(
        name,
        [kind](const TensorPtr& x, const TensorPtr& other) { return logical(kind, x, other); },
        py::arg("other"));
  };
  logic("logical_and", Logical::kAnd);
  logic("logical_or", Logical::kOr);
  logic("logical_xor", Logical::kXor);
  tensor.def("logical_not", [](const TensorPtr& x) { return logical(Logical::kNot, x, nullptr); });
}

void define_along(TensorClass& tensor) {
  for (const bool largest : {false, true}) {
    tensor.def(
        largest ? "amax" : "amin",
        [largest](const TensorPtr& x, const py::object& dim, bool keepdim) {
          return extreme_value(largest ? Op::kMax : Op::kMin, x, dim, keepdim);
        },
        py::arg("dim") = py::none(), py::arg("keepdim") = false);
  }
  tensor.def("prod", &product, py::arg("dim") = py::none(), py::arg("keepdim") = false)
      .def(
          "cumsum",
          [](const TensorPtr& x, index_t dim) {
            OpAttributes attributes;
            attributes.dim = normal_dim(dim, x->shape.rank);
            return apply(Op::kRunning, attributes, {x});
          },
          py::arg("dim"))
      .def("norm", &norm, py::arg("p") = "fro", py::arg("dim") = py::none(),
           py::arg("keepdim") = false)
      .def("logsumexp", &log_sum_exp, py::arg("dim"), py::arg("keepdim") = false)
      .def("argsort", &arg_sort, py::arg("dim") = -1, py::arg("descending") = false)
      .def("sort", &sort, py::arg("dim") = -1, py::arg("descending") = false,
           py::arg("stable") = true)
      .def("topk", &top, py::arg("k"), py::arg("dim") = -1, py::arg("largest") = true,
           py::arg("sorted") = true)
      .def("median", &median, py::arg("dim") = py::none(), py::arg("keepdim") = false)
      .def("narrow", &narrow, py::arg("dim"), py::arg("start"), py::arg("length"))
      .def("select", &select, py::arg("dim"), py::arg("index"))
      .def("flip", &flip)
      .def("index_select", &index_select, py::arg("dim"), py::arg("index"))
      .def("unbind", &unbind, py::arg("dim") = 0)
      .def("split", &split, py::arg("split_size"), py::arg("dim") = 0)
      .def("chunk", &chunk, py::arg("chunks"), py::arg("dim") = 0)
      .def("repeat", &repeat);
}

}  // namespace

TensorPtr apply_division(Division division, const Operand& a, const Operand& b) {
  OpAttributes attributes;
  attributes.division = division;
  return apply_two(Op::kDivision, std::move(attributes), a, b);
}

void define_more(TensorClass& tensor) {
  define_functions(tensor);
  define_along(tensor);
  tensor
      .def(
          "where",
          [](const TensorPtr& x, const TensorPtr& condition, const py::object& other) {
            return apply_where(condition, {x}, operand_of(other, x, "where"));
          },
          py::arg("condition"), py::arg("other"), "The tensor where condition, else other.")
      .def(
          "masked_fill",
          [](const TensorPtr& x, const TensorPtr& mask, const py::object& value) {
            return apply_where(mask, operand_of(value, x, "masked_fill"), {x});
          },
          py::arg("mask"), py::arg("value"))
      .def(
          "outer",
          [](const TensorPtr& x, const TensorPtr& other) {
            if (x->shape.rank != 1 || other->shape.rank != 1) {
              throw ValueError("outer: got shapes " + to_string(x->shape) + " and " +
                               to_string(other->shape) + "; expected one dimension each");
            }
            OpAttributes column;
            column.shape = {x->shape[0], 1};
            return apply_pair(Pair::kMul, {apply(Op::kReshape, column, {x})}, {other});
          },
          py::arg("other"));
  for (const char* name : {"abs", "neg", "exp", "log", "sqrt", "square", "reciprocal", "pow",
                           "relu", "sigmoid", "tanh", "round", "floor", "masked_fill"}) {
    define_in_place_of(tensor, name);
  }
}

}  // namespace schuss::bindings

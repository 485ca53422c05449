// SPDX-License-Identifier: MIT
/// t[...] and t[...] = value.
#include <pybind11/numpy.h>

#include "bindings/tensor_object.hpp"

namespace schuss::bindings {
namespace {

using Kind = IndexItem::Kind;

std::vector<py::object> items_of(const py::object& key) {
  std::vector<py::object> items;
  if (py::isinstance<py::tuple>(key)) {
    for (const py::handle item : key) items.push_back(py::reinterpret_borrow<py::object>(item));
  } else {
    items.push_back(key);
  }
  return items;
}

/// An array, a list, a range or a tensor of more than no dimensions; null for anything else.
TensorPtr as_array_index(const py::object& item) {
  if (TensorPtr tensor = tensor_or_null(item.ptr())) {
    return tensor->shape.rank > 0 || tensor->dtype == DType::kBool ? tensor : nullptr;
  }
  const bool array = py::isinstance<py::array>(item) && py::len(item.attr("shape")) > 0;
  const bool range = PyRange_Check(item.ptr()) != 0;
  if (!array && !range && !py::isinstance<py::list>(item)) return nullptr;
  TensorPtr made = tensor_from(range ? py::object(py::list(item)) : item, py::none());
  if (made->count() == 0 && is_floating(made->dtype)) return make_tensor(DType::kInt64, {0});
  return made;
}

/// How many dimensions of the tensor an item uses up.
int uses(const py::object& item, const TensorPtr& array) {
  if (item.is_none()) return 0;
  return array != nullptr && array->dtype == DType::kBool ? array->shape.rank : 1;
}

class Parser {
 public:
  explicit Parser(const Dims& shape) : shape_(shape) {}

  IndexSpec parse(const py::object& key) {
    const std::vector<py::object> items = items_of(key);
    std::vector<TensorPtr> arrays;
    int used = 0;
    for (const py::object& item : items) {
      arrays.push_back(as_array_index(item));
      if (!item.is(py::ellipsis())) used += uses(item, arrays.back());
    }
    if (used > shape_.rank) {
      throw py::index_error("index: got " + std::to_string(used) + " indices for a tensor of " +
                            std::to_string(shape_.rank) + " dimensions");
    }
    bool open = true;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (!items[i].is(py::ellipsis())) {
        add(items[i], arrays[i]);
        continue;
      }
      if (!open) throw py::index_error("index: got more than one ellipsis");
      open = false;
      for (int k = used; k < shape_.rank; ++k) add_whole();
    }
    while (dim_ < shape_.rank) add_whole();
    return std::move(spec_);
  }

 private:
  void add_whole() {
    IndexItem item;
    item.length = shape_[dim_++];
    spec_.push_back(std::move(item));
  }

  void add(const py::object& object, const TensorPtr& array) {
    IndexItem item;
    if (object.is_none()) {
      item.kind = Kind::kNew;
      spec_.push_back(std::move(item));
    } else if (array != nullptr) {
      array->dtype == DType::kBool ? add_mask(*array) : add_array(*array);
    } else if (PySlice_Check(object.ptr()) != 0) {
      Py_ssize_t start = 0;
      Py_ssize_t stop = 0;
      Py_ssize_t step = 1;
      if (PySlice_Unpack(object.ptr(), &start, &stop, &step) < 0) throw py::error_already_set();
      item.length = PySlice_AdjustIndices(shape_[dim_++], &start, &stop, step);
      item.start = start;
      item.step = step;
      spec_.push_back(std::move(item));
    } else {
      add_integer(object);
    }
  }

  void add_integer(const py::object& object) {
    if (PyIndex_Check(object.ptr()) == 0 || PyBool_Check(object.ptr())) {
      throw TypeError("index: got " + std::string(Py_TYPE(object.ptr())->tp_name) +
                      "; expected integers, slices, None, ..., arrays of integers or of bool");
    }
    const Py_ssize_t at = PyNumber_AsSsize_t(object.ptr(), PyExc_IndexError);
    if (at == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
    IndexItem item;
    item.kind = Kind::kPick;
    item.start = in_range(at, dim_);
    ++dim_;
    spec_.push_back(std::move(item));
  }

  index_t in_range(index_t at, int dim) const {
    const index_t size = shape_[dim];
    if (at < -size || at >= size) {
      throw py::index_error("index: got " + std::to_string(at) + " for dimension " +
                            std::to_string(dim) + " of size " + std::to_string(size));
    }
    return at < 0 ? at + size : at;
  }

  void add_array(const Tensor& given) {
    if (given.dtype != DType::kInt64) {
      throw TypeError(std::string("index: got an array of ") + dtype_name(given.dtype) +
                      "; expected integers or bool");
    }
    IndexItem item;
    item.kind = Kind::kArray;
    item.array = make_tensor(DType::kInt64, given.shape, Uninitialized{});
    copy_contiguous(given, item.array->data);
    auto* at = item.array->ptr<std::int64_t>();
    for (index_t i = 0; i < item.array->count(); ++i) at[i] = in_range(at[i], dim_);
    ++dim_;
    spec_.push_back(std::move(item));
  }

  /// A mask is the arrays of the places where it is true.
  void add_mask(const Tensor& mask) {
    for (int i = 0; i < mask.shape.rank; ++i) {
      if (mask.shape[i] != shape_[dim_ + i]) {
        throw py::index_error("index: a mask of shape " + to_string(mask.shape) +
                              " does not fit a tensor of shape " + to_string(shape_));
      }
    }
    if (mask.shape.rank == 0) throw TypeError("index: a mask needs at least one dimension");
    std::vector<bool> chosen;
    const TensorPtr flat = make_tensor(DType::kBool, mask.shape, Uninitialized{});
    copy_contiguous(mask, flat->data);
    index_t count = 0;
    for (index_t i = 0; i < flat->count(); ++i) count += flat->ptr<bool>()[i] ? 1 : 0;
    index_t inner = flat->count();
    for (int d = 0; d < mask.shape.rank; ++d) {
      inner = mask.shape[d] == 0 ? 1 : inner / mask.shape[d];
      IndexItem item;
      item.kind = Kind::kArray;
      item.array = make_tensor(DType::kInt64, {count}, Uninitialized{});
      index_t to = 0;
      for (index_t i = 0; i < flat->count(); ++i) {
        if (flat->ptr<bool>()[i]) item.array->ptr<std::int64_t>()[to++] = i / inner % mask.shape[d];
      }
      spec_.push_back(std::move(item));
      ++dim_;
    }
  }

  Dims shape_;
  int dim_ = 0;
  IndexSpec spec_;
};

bool has_arrays(const IndexSpec& spec) {
  for (const IndexItem& item : spec) {
    if (item.kind == Kind::kArray) return true;
  }
  return false;
}

TensorPtr get(const TensorPtr& self, const py::object& key) {
  IndexSpec spec = Parser(self->shape).parse(key);
  const Op op = has_arrays(spec) ? Op::kGather : Op::kIndex;
  OpAttributes attributes;
  attributes.index = std::make_shared<const IndexSpec>(std::move(spec));
  return apply(op, attributes, {self});
}

void set(const TensorPtr& self, const py::object& key, const py::object& value) {
  Operand operand;
  TensorPtr values;
  if (parse_operand(value.ptr(), self->dtype, &operand)) {
    values = operand.tensor;
    if (values == nullptr) values = tensor_from(py::float_(operand.number), py::str("float64"));
  } else {
    values = tensor_from(value, py::none());
  }
  if (grad_enabled() && (self->requires_grad || values->requires_grad)) {
    throw StateError(
        "assigning to an index is not recorded; do it under schuss.no_grad(), or put the result "
        "together with where(), cat() or stack()");
  }
  if (!is_floating(self->dtype) && is_floating(values->dtype) &&
      operand.kind == NumberKind::kFloat && operand.tensor != nullptr) {
    throw TypeError(std::string("assignment: got ") + dtype_name(values->dtype) +
                    " for a tensor of " + dtype_name(self->dtype) + "; convert it first");
  }
  assign_index(*self, Parser(self->shape).parse(key), values);
}

/// The index of element (i, j, ...) of the result of gather: (i, ..., at[i, j, ...], ...).
IndexSpec along(const Tensor& self, index_t dim, const TensorPtr& at, const char* where) {
  const int d = normal_dim(dim, self.shape.rank);
  if (at->dtype != DType::kInt64 || at->shape.rank != self.shape.rank || self.shape.rank == 0) {
    throw ValueError(std::string(where) + ": got an index of " + dtype_name(at->dtype) +
                     " and shape " + to_string(at->shape) + "; expected int64 and " +
                     std::to_string(self.shape.rank) + " dimensions (use .unsqueeze(dim))");
  }
  IndexSpec spec(static_cast<std::size_t>(self.shape.rank));
  for (int i = 0; i < self.shape.rank; ++i) {
    IndexItem& item = spec[static_cast<std::size_t>(i)];
    item.kind = Kind::kArray;
    if (i == d) {
      item.array = contiguous(at);
      for (index_t k = 0; k < at->count(); ++k) {
        const std::int64_t place = item.array->ptr<std::int64_t>()[k];
        if (place < 0 || place >= self.shape[d]) {
          throw py::index_error(std::string(where) + ": got index " + std::to_string(place) +
                                " for dimension " + std::to_string(d) + " of size " +
                                std::to_string(self.shape[d]));
        }
      }
      continue;
    }
    if (at->shape[i] > self.shape[i]) {
      throw ValueError(std::string(where) + ": the index has shape " + to_string(at->shape) +
                       ", the tensor only " + to_string(self.shape));
    }
    Dims shape = self.shape;
    for (int k = 0; k < shape.rank; ++k) shape[k] = k == i ? at->shape[i] : 1;
    item.array = make_tensor(DType::kInt64, shape, Uninitialized{});
    for (index_t k = 0; k < at->shape[i]; ++k) item.array->ptr<std::int64_t>()[k] = k;
  }
  return spec;
}

TensorPtr gather(const TensorPtr& self, index_t dim, const TensorPtr& index) {
  OpAttributes attributes;
  attributes.index = std::make_shared<const IndexSpec>(along(*self, dim, index, "gather"));
  return apply(Op::kGather, attributes, {self});
}

TensorPtr scatter_in_place(const TensorPtr& self, index_t dim, const TensorPtr& index,
                           const py::object& src) {
  Operand operand;
  if (!parse_operand(src.ptr(), self->dtype, &operand)) {
    throw TypeError("scatter_: expected a tensor or a number to write");
  }
  check_in_place(*self, operand.tensor != nullptr && operand.tensor->requires_grad);
  if (grad_enabled() &&
      (self->requires_grad || (operand.tensor != nullptr && operand.tensor->requires_grad))) {
    throw StateError("scatter_: is not recorded; do it under schuss.no_grad()");
  }
  const TensorPtr values = operand.tensor != nullptr
                               ? operand.tensor
                               : tensor_from(py::float_(operand.number), py::str("float64"));
  assign_index(*self, along(*self, dim, index, "scatter_"), values);
  return self;
}

py::object iterate(const TensorPtr& self) {
  if (self->shape.rank == 0) throw TypeError("iteration over a tensor of no dimensions");
  py::list rows;
  for (index_t i = 0; i < self->shape[0]; ++i) rows.append(get(self, py::int_(i)));
  return rows.attr("__iter__")();
}

}  // namespace

void define_indexing(TensorClass& tensor) {
  tensor.def("__getitem__", &get, py::arg("index"))
      .def("__setitem__", &set, py::arg("index"), py::arg("value"))
      .def("gather", &gather, py::arg("dim"), py::arg("index"))
      .def("scatter_", &scatter_in_place, py::arg("dim"), py::arg("index"), py::arg("src"))
      .def("__iter__", &iterate)
      .def("__len__", [](const Tensor& t) {
        if (t.shape.rank == 0) throw TypeError("len() of a tensor of no dimensions");
        return t.shape[0];
      });
}

}  // namespace schuss::bindings

// SPDX-License-Identifier: MIT
#include "autograd/promotion.hpp"

#include <algorithm>

namespace schuss {
namespace {

/// bool 0, integer 1, floating 2.
int kind_of(DType dtype) { return dtype == DType::kBool ? 0 : dtype == DType::kInt64 ? 1 : 2; }

DType higher(DType a, DType b) {
  if (kind_of(a) != kind_of(b)) return kind_of(a) > kind_of(b) ? a : b;
  return a == DType::kFloat64 ? a : b;
}

DType with_number(DType dtype, NumberKind number) {
  const int kind = number == NumberKind::kBool ? 0 : number == NumberKind::kInteger ? 1 : 2;
  if (kind <= kind_of(dtype)) return dtype;
  return kind == 2 ? DType::kFloat32 : DType::kInt64;
}

void convert_to(DType dtype, TensorPtr& x) {
  if (x == nullptr || x->dtype == dtype) return;
  OpAttributes attributes;
  attributes.dtype = dtype;
  x = apply(Op::kConvert, attributes, {x});
}

[[noreturn]] void refuse(const char* what, DType dtype) {
  throw TypeError(std::string(what) + ": got a tensor of " + dtype_name(dtype) +
                  "; expected float32 or float64 (use .float())");
}

}  // namespace

DType common_dtype(const Tensor& a, const Tensor& b) {
  const bool same_standing = (a.shape.rank == 0) == (b.shape.rank == 0);
  if (same_standing) return higher(a.dtype, b.dtype);
  const Tensor& dimensioned = a.shape.rank == 0 ? b : a;
  const Tensor& single = a.shape.rank == 0 ? a : b;
  return kind_of(single.dtype) > kind_of(dimensioned.dtype) ? single.dtype : dimensioned.dtype;
}

void to_common_dtype(Op op, const OpAttributes& attributes, std::vector<TensorPtr>& inputs) {
  switch (op) {
    case Op::kPair:
    case Op::kDivision:
    case Op::kCompare:
    case Op::kWhere: {
      TensorPtr& a = inputs[op == Op::kWhere ? 1 : 0];
      TensorPtr& b = inputs[op == Op::kWhere ? 2 : 1];
      DType dtype;
      if (a == nullptr || b == nullptr) {
        const TensorPtr& some = a == nullptr ? b : a;
        if (is_floating(some->dtype) && op != Op::kWhere) return;
        dtype = with_number(some->dtype, attributes.number_kind);
      } else {
        if (a->dtype == b->dtype && is_floating(a->dtype)) return;
        dtype = common_dtype(*a, *b);
      }
      const bool exact = op != Op::kPair && op != Op::kDivision;
      if (!exact && dtype == DType::kBool) dtype = DType::kInt64;
      if (op == Op::kPair && attributes.pair == Pair::kDiv && !is_floating(dtype)) {
        dtype = DType::kFloat32;
      }
      convert_to(dtype, a);
      convert_to(dtype, b);
      return;
    }
    case Op::kLogical:
      for (TensorPtr& x : inputs) convert_to(DType::kBool, x);
      return;
    case Op::kMap: {
      const Map map = attributes.map;
      const bool integers = map == Map::kNeg || map == Map::kAbs || map == Map::kSquare ||
                            (map == Map::kClamp && attributes.number_kind != NumberKind::kFloat) ||
                            (map == Map::kPow && attributes.options.a >= 0.0 &&
                             attributes.number_kind == NumberKind::kInteger);
      if (is_floating(inputs[0]->dtype)) return;
      convert_to(integers ? DType::kInt64 : DType::kFloat32, inputs[0]);
      return;
    }
    case Op::kFunction: {
      const bool floats =
          attributes.function == Function::kSin || attributes.function == Function::kCos;
      if (floats && !is_floating(inputs[0]->dtype)) return convert_to(DType::kFloat32, inputs[0]);
      if (inputs[0]->dtype == DType::kBool) convert_to(DType::kInt64, inputs[0]);
      return;
    }
    case Op::kProduct:
    case Op::kRunning:
      if (inputs[0]->dtype == DType::kBool) convert_to(DType::kInt64, inputs[0]);
      return;
    case Op::kActivation:
    case Op::kMean:
      if (!is_floating(inputs[0]->dtype)) convert_to(DType::kFloat32, inputs[0]);
      return;
    case Op::kMatmul:
      for (const TensorPtr& x : inputs) {
        if (!is_floating(x->dtype)) refuse("matmul", x->dtype);
      }
      if (inputs[0]->dtype != inputs[1]->dtype) {
        throw TypeError(
            "matmul: got a float32 and a float64 tensor; expected the same dtype (use "
            ".float() or .double())");
      }
      return;
    case Op::kLinear:
      for (const TensorPtr& x : inputs) {
        if (x == nullptr || x->dtype == inputs[1]->dtype) continue;
        throw TypeError(std::string("linear: got a ") + dtype_name(x->dtype) +
                        " tensor beside a weight of " + dtype_name(inputs[1]->dtype) +
                        "; expected the same dtype (use .float() or .double())");
      }
      return;
    case Op::kCat: {
      DType dtype = inputs[0]->dtype;
      for (const TensorPtr& x : inputs) dtype = higher(dtype, x->dtype);
      for (TensorPtr& x : inputs) convert_to(dtype, x);
      return;
    }
    default:
      return;
  }
}

}  // namespace schuss

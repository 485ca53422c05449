// SPDX-License-Identifier: MIT
/// Operations on tensors: what there is, what each needs to know, and how to run and record one.
///
/// The order of every sum is fixed here and nowhere else, so that an expression evaluated at once
/// or by chunks of rows (the first dimension) gives the same bits:
///
/// * Elementwise operations are kernels (kernels/elementwise.hpp, kernels/activation.hpp); element i
///   depends on elements i of the operands alone. Operands broadcast by NumPy's rules.
/// * A number is rounded to the operands' dtype once, then takes part like a tensor of one element.
/// * line(x, n): sum of n elements in float64: pieces of kChunkRows elements, each in 8 lanes and
///   their tree (sum_f64), the pieces through the chunk tree (SumTree).
/// * Sum over all dimensions of a tensor seen as (rows, rest), rows its first dimension: with rest =
///   1 line(x, rows), else the line of each row rounded to the dtype, these in pieces of kChunkRows
///   by sum_f64 and SumTree again. Rounded to the dtype once. mean: divided by the count in float64
///   before that.
/// * Sum over some dimensions: neighbouring dimensions that are all kept or all summed count as one,
///   but the first dimension stays apart. Summed ones are taken from the last to the first. The
///   last of all gives a line for each row of what is before it, rounded once. One with kept elements
///   after it gives, for each of those, a chain over kChunkRows rows from +0 in the dtype
///   (column_sums), chunks through the same tree in the dtype (GradientTree). mean: each result is
///   divided by the count, in the dtype (but a mean over all dimensions as above).
/// * Sums that undo broadcasting (gradients) are sums over the broadcast dimensions by these rules;
///   missing leading dimensions count as broadcast.
/// * max, min, argmax, argmin: the lowest index of equals; a NaN wins, the first of them.
/// * a @ b, (m,k) by (k,n): as a dense layer without bias. n <= kNarrowOutputs: lanes and tree along
///   k (narrow_forward), else one chain over k (product). d_a: one chain over n. d_b: chunks of
///   kChunkRows rows of m, each a chain (or, where is_small(k, n), lanes), through the tree.
/// * linear: as a dense layer with its bias, over all rows of x.
/// * softmax, log_softmax: along the last dimension after moving `dim` there.
/// * Functions (sin, cos, ...): base/scalar_trig.hpp in float64, rounded to the dtype once. Products
///   and running sums: one chain in float64 over the index, each result rounded once.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "autograd/tensor.hpp"
#include "kernels/activation.hpp"
#include "kernels/elementwise.hpp"

namespace schuss {

enum class Op : std::uint8_t {
  kMap,         // attributes.map, .options                      one floating input
  kPair,        // attributes.pair, .number, .number_side        two inputs, or one and a number
  kActivation,  // attributes.activation, .activation_options, .dim (softmax, log_softmax)
  kCompare,     // attributes.compare, .number, .number_side     bool result, no gradient
  kLogical,     // attributes.logical: bool, no gradient
  kWhere,       // condition (bool), a, b; a or b may be null: attributes.number(_side 1: a, 2: b)
  kSum,         // attributes.dims (bits), .keepdim
  kMean,        // likewise
  kMax,         // attributes.dims (bits), .keepdim; .dim: the one dimension, or -1 for all
  kMin,
  kArgMax,  // likewise; int64, no gradient
  kArgMin,
  kReshape,  // attributes.shape; a view where strides allow it, else a copy
  kPermute,  // attributes.shape: the input dimension that each output dimension is
  kExpand,   // attributes.shape; a view with strides of 0
  kIndex,    // attributes.index: integers, slices, None; a view
  kGather,   // attributes.index with arrays of integers; a copy
  kCat,      // any number of inputs; attributes.dim
  kMatmul,
  kConvert,  // to attributes.dtype, by one correctly rounded step
  kClone,
  kNetwork,   // attributes.callee: the CallableNetwork
  kLoss,      // attributes.callee: the loss
  kFunction,  // attributes.function                            one floating input
  kDivision,  // attributes.division, .number, .number_side     as kPair
  kProduct,   // as kMax
  kRunning,   // attributes.dim: sums of the elements up to each along it
  kArgSort,  // attributes.dim, .largest: indices in order along it, equals as they were, NaN largest;
             // int64, no gradient
  kLinear,  // input (..., in), weight (out, in), bias (out,) or null
};

/// Functions without a vector kernel. The derivative of the last five is 0.
enum class Function : std::uint8_t { kSin, kCos, kFloor, kCeil, kRound, kTrunc, kSign };

/// Exact remainders, and quotients cut off. Integers: ValueError where the divisor is 0.
enum class Division : std::uint8_t {
  kFloor,      // Python's a // b; the derivative is 0
  kRemainder,  // Python's a % b: the sign of b
  kFmod,       // C's fmod: the sign of a
};

enum class Compare : std::uint8_t { kEq, kNe, kLt, kLe, kGt, kGe };
enum class Logical : std::uint8_t { kAnd, kOr, kXor, kNot };

/// What a number was in Python: it takes part in the choice of the common dtype.
enum class NumberKind : std::uint8_t { kBool, kInteger, kFloat };

/// One entry of an index, in order; `kArray` ones broadcast against each other.
struct IndexItem {
  enum class Kind : std::uint8_t { kPick, kSlice, kNew, kArray };
  Kind kind = Kind::kSlice;
  index_t start = 0;   // kPick, kSlice: 0 or more
  index_t step = 1;    // kSlice: any but 0
  index_t length = 0;  // kSlice
  TensorPtr array;     // kArray: int64, values in 0..size-1
};
using IndexSpec = std::vector<IndexItem>;  // covers every dimension of the input

/// What an operation needs beside its inputs; which of it counts is said at `Op`.
struct OpAttributes {
  Map map = Map::kNeg;
  Pair pair = Pair::kAdd;
  Compare compare = Compare::kEq;
  Logical logical = Logical::kAnd;
  Activation activation = Activation::kIdentity;
  Function function = Function::kSin;
  Division division = Division::kFloor;
  DType dtype = DType::kFloat32;
  std::uint8_t number_side = 0;  // 1: `number` is the first operand, 2: the second, 0: no number
  NumberKind number_kind = NumberKind::kFloat;
  std::uint8_t dims = 0;  // bit i: dimension i is reduced
  bool keepdim = false;
  bool largest = false;  // kArgSort: the largest first
  int dim = -1;
  double number = 0.0;
  MapOptions options;
  ActivationOptions activation_options;
  Dims shape;
  std::shared_ptr<const IndexSpec> index;
  std::shared_ptr<void> callee;
};

inline constexpr std::size_t kMostInputs = 3;  // of all but kCat

/// Runs an operation and, when this thread records and an input requires a gradient, remembers it.
/// Inputs of kPair, kCompare and kWhere are converted to their common dtype first (kConvert nodes),
/// by PyTorch's rules; `number_side` leaves a null input. Throws ValueError (shapes), TypeError
/// (dtypes) before anything is computed.
TensorPtr apply(Op op, const OpAttributes& attributes, std::vector<TensorPtr> inputs);

/// The same without history and without telling the listener; inputs have their common dtype.
TensorPtr run_op(Op op, const OpAttributes& attributes, const std::vector<TensorPtr>& inputs);

/// target = result, in place: what `target += x` does with result = target + x. Where history is
/// wanted the target becomes an output of the result's node. Throws StateError for a leaf that
/// requires a gradient, and for a view in a graph.
void assign_result(const TensorPtr& target, const TensorPtr& result);
/// Throws what `assign_result` would for a result that requires a gradient or not.
void check_in_place(const Tensor& target, bool result_requires_grad);

/// x[spec] = values, in place, outside any graph.
void assign_index(Tensor& x, const IndexSpec& spec, const TensorPtr& values);

/// An operation in the graph: enough to run it again, and to go back through it.
class OpNode final : public Node {
 public:
  /// Of the inputs' storage, when they were read.
  using Versions = std::array<std::uint64_t, kMostInputs>;
  static Versions versions_of(const std::vector<TensorPtr>& inputs);

  OpNode(Op op, const OpAttributes& attributes, std::vector<TensorPtr> from,
         const Versions& versions, const TensorPtr& output);

  const char* name() const override;
  void check() const override;
  void backward(const TensorPtr& d_output, bool retain) override;
  void release() override;

  Op op() const { return op_; }
  const OpAttributes& attributes() const { return attributes_; }

 private:
  Op op_;
  bool freed_ = false;
  OpAttributes attributes_;
  TensorPtr output_;  // a handle outside the graph, where backward reads it
  Versions versions_;
  std::uint64_t output_version_ = 0;
};

/// Sees every operation of this thread as it is done, with or without history: how programs are
/// recorded. `inputs` and `output` are as `apply` had them, after conversions.
class OpListener {
 public:
  virtual ~OpListener() = default;
  virtual void on_op(Op op, const OpAttributes& attributes, const std::vector<TensorPtr>& inputs,
                     const TensorPtr& output) = 0;
};

/// This thread's listener (null: none); returns the one before.
OpListener* set_op_listener(OpListener* listener);
/// That listener, for operations that do not go through `apply`.
OpListener* op_listener();

/// Whether this thread records history.
bool grad_enabled();
void set_grad_enabled(bool enabled);

}  // namespace schuss

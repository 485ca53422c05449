// SPDX-License-Identifier: MIT
#include <algorithm>

#include "base/fp_environment.hpp"
#include "kernels/dispatch.hpp"
#include "nn/calls.hpp"
#include "nn/shards.hpp"

namespace schuss {
namespace {

/// Predictions and targets of a loss call, chunk by chunk.
template <class T>
struct LossInputs {
  BoundLoss<T> loss;
  TensorPtr prediction;  // contiguous (rows, cols) or (rows,)
  HeldTargets targets;
  index_t rows;
  index_t cols;
  index_t shards;

  LossBlock<T> block(index_t first, index_t count) const {
    LossBlock<T> b = loss.block();
    b.prediction = prediction->ptr<T>() + first * cols;
    b.ld_prediction = cols;
    if (targets.labels != nullptr) {
      b.labels = targets.labels + first;
    } else {
      b.target = static_cast<const T*>(targets.numbers.data) + first * targets.numbers.ld;
      b.ld_target = targets.numbers.ld;
    }
    b.rows = count;
    return b;
  }

  double divisor() const {
    double weights = 0.0;
    if (loss.divisor_needs_labels()) {
      ShardedSum all;
      index_t counted = 0;
      const ShardPlan plan(rows, shards);
      for (index_t i = 0; i < plan.chunks(); ++i) {
        const ChunkPlace place = plan.place(i);
        double sum = 0.0;
        loss.add_label_weights(targets.labels + place.at, place.rows, &sum, &counted);
        all.add(sum, place);
      }
      weights = all.result();
    }
    return loss.divisor(rows, weights);
  }
};

template <class T>
class LossNode final : public Node {
 public:
  LossNode(LossInputs<T> in, double divisor) : in_(std::move(in)), divisor_(divisor) {
    inputs.push_back(in_.prediction);
    version_ = in_.prediction->storage->version;
  }

  const char* name() const override {
    switch (in_.loss.spec().kind) {
      case LossKind::kMSE:
        return "MseLossBackward0";
      case LossKind::kL1:
        return "L1LossBackward0";
      case LossKind::kHuber:
        return "HuberLossBackward0";
      case LossKind::kSmoothL1:
        return "SmoothL1LossBackward0";
      case LossKind::kBCE:
        return "BinaryCrossEntropyBackward0";
      case LossKind::kBCEWithLogits:
        return "BinaryCrossEntropyWithLogitsBackward0";
      case LossKind::kCrossEntropyIndex:
      case LossKind::kNLL:
        return "NllLossBackward0";
      case LossKind::kCrossEntropyProbs:
        return "DivBackward1";
    }
    return "LossBackward0";
  }

  void check() const override {
    if (freed_) {
      throw StateError(
          "backward: this cost's graph was freed by an earlier backward; pass retain_graph=True to "
          "the first call, or compute the cost again");
    }
    if (version_ != in_.prediction->storage->version) {
      throw StateError(
          "backward: the prediction was changed after this cost was computed; compute the cost "
          "again before backward");
    }
  }

  void backward(const TensorPtr& d_output, bool retain) override {
    const FpEnvironment environment;
    TensorPtr d = make_tensor(dtype_of<T>(), in_.prediction->shape, Uninitialized{});
    const bool each = in_.loss.spec().reduction == Reduction::kNone;
    const bool by_row = is_row_loss(in_.loss.spec().kind);
    const double upstream = each ? 1.0 : static_cast<double>(*d_output->ptr<T>());
    for (index_t first = 0; first < in_.rows; first += kChunkRows) {
      LossBlock<T> b = in_.block(first, std::min(kChunkRows, in_.rows - first));
      b.scale = in_.loss.scale(divisor_, upstream);
      b.d_prediction = d->ptr<T>() + first * in_.cols;
      b.ld_d_prediction = in_.cols;
      if (each && by_row) b.row_scale = d_output->ptr<T>() + first;
      if (each && !by_row) {
        b.element_scale = d_output->ptr<T>() + first * in_.cols;
        b.ld_element = in_.cols;
      }
      in_.loss.run(b);
    }
    d_inputs[0] = d;
    freed_ = !retain;
    if (freed_) in_.targets = HeldTargets{};
  }

 private:
  LossInputs<T> in_;
  double divisor_;
  std::uint64_t version_ = 0;
  bool freed_ = false;
};

template <class T>
TensorPtr call_loss_as(const LossSpec& spec, const TensorPtr& prediction,
                       const HeldTargets& targets, bool record, index_t shards) {
  const index_t rows = prediction->shape[0];
  const index_t cols = prediction->shape.rank > 1 ? prediction->shape[1] : 1;
  LossInputs<T> in{BoundLoss<T>(spec, cols), prediction, targets, rows, cols, shards};
  const bool each = spec.reduction == Reduction::kNone;
  const bool by_row = is_row_loss(spec.kind);
  const double divisor = in.divisor();
  TensorPtr out = make_tensor(
      dtype_of<T>(), !each ? Dims{} : (by_row ? Dims{rows} : prediction->shape), Uninitialized{});
  ShardedSum sum;
  T row_loss[kChunkRows];
  const ShardPlan plan(rows, shards);
  for (index_t i = 0; i < plan.chunks(); ++i) {
    const ChunkPlace place = plan.place(i);
    const index_t first = place.at;
    LossBlock<T> b = in.block(first, place.rows);
    if (each && !by_row) {
      b.element_loss = out->ptr<T>() + first * cols;
      b.ld_element = cols;
    } else {
      b.row_loss = each ? out->ptr<T>() + first : row_loss;
    }
    in.loss.run(b);
    if (!each) sum.add(kernels<T>().sum_f64(row_loss, b.rows), place);
  }
  if (!each) *out->ptr<T>() = static_cast<T>(in.loss.value(sum.result(), divisor));
  if (record && prediction->requires_grad) {
    remember(out, std::allocate_shared<LossNode<T>>(BlockAllocator<LossNode<T>>(), std::move(in),
                                                    divisor));
  }
  return out;
}

}  // namespace

TensorPtr call_loss(const LossSpec& spec, const TensorPtr& prediction, const HeldTargets& targets,
                    bool record, index_t shards) {
  const FpEnvironment environment;
  return dispatch_dtype(prediction->dtype, [&]<class T>() {
    return call_loss_as<T>(spec, prediction, targets, record, shards);
  });
}

}  // namespace schuss

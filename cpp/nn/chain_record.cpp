// SPDX-License-Identifier: MIT
#include "nn/chain_record.hpp"

#include <algorithm>

#include "nn/calls.hpp"

namespace schuss {

ChainRecording::ChainRecording(TensorPtr x) : gradients_(grad_enabled()) {
  require(x->shape.rank == 2, "compile: the example has no two dimensions; expected (n, features)");
  versions_.push_back(x->storage->version);
  values_.push_back(std::move(x));
}

void ChainRecording::refuse(const std::string& what) {
  if (refusal_.empty()) refusal_ = what;
  throw StateError(what);
}

bool ChainRecording::is_traced(const Tensor& tensor) const {
  return std::any_of(values_.begin(), values_.end(),
                     [&](const TensorPtr& value) { return value->storage == tensor.storage; });
}

void ChainRecording::append(const Network& network) {
  for (const Stage& stage : network.stages()) {
    if (stage.dense()) {
      Layer layer;
      layer.weight = stage.weight;
      layer.bias = stage.bias;
      layer.label = stage.label;
      layers_.push_back(std::move(layer));
    }
    if (stage.activation == Activation::kIdentity) continue;
    Layer layer;
    layer.activation = stage.activation;
    layer.options = stage.options;
    layer.label = stage.label;
    layers_.push_back(std::move(layer));
  }
}

/// nn.functional.linear with parameters of a layer; others change without the network seeing it.
bool ChainRecording::append_linear(const std::vector<TensorPtr>& inputs) {
  const ParameterPtr weight = as_layer_weight(inputs[1]);
  const ParameterPtr bias = inputs[2] == nullptr ? nullptr : as_layer_bias(inputs[2]);
  const auto trains = [](const ParameterPtr& p) { return p != nullptr && p->requires_grad; };
  if (inputs[0]->shape.rank != 2 || !trains(weight) || (inputs[2] != nullptr && !trains(bias))) {
    return false;
  }
  Layer layer;
  layer.weight = weight;
  layer.bias = bias;
  layer.label = "linear";
  layers_.push_back(std::move(layer));
  return true;
}

void ChainRecording::on_op(Op op, const OpAttributes& attributes,
                           const std::vector<TensorPtr>& inputs, const TensorPtr& output) {
  const auto traced = [&](const TensorPtr& x) { return x != nullptr && is_traced(*x); };
  if (std::none_of(inputs.begin(), inputs.end(), traced)) return;
  const TensorPtr& last = values_.back();
  const TensorPtr& x = inputs[0];
  if (x != last || last->storage->version != versions_.back()) {
    refuse("the output of a layer is used other than by the next one");
  }
  const bool same_shape = output->shape == x->shape;
  const bool along = attributes.activation >= Activation::kSoftmax;
  if (op == Op::kNetwork) {
    if (grad_enabled() != gradients_) refuse("a layer that runs under no_grad() or enable_grad()");
    append(static_cast<const CallableNetwork*>(attributes.callee.get())->network());
  } else if (op == Op::kLinear && append_linear(inputs)) {
    if (grad_enabled() != gradients_) refuse("a layer that runs under no_grad() or enable_grad()");
  } else if (op == Op::kActivation && (!along || attributes.dim == 1)) {
    Layer layer;
    layer.activation = attributes.activation;
    layer.options = attributes.activation_options;
    layer.label = "an activation";
    layers_.push_back(std::move(layer));
  } else if (!(op == Op::kReshape && same_shape)) {
    refuse("an operation that is neither a layer nor an activation");
  }
  versions_.push_back(output->storage->version);
  values_.push_back(output);
}

void ChainRecording::on_read(const Tensor& tensor, const char* what) {
  if (!is_traced(tensor)) return;
  refuse(std::string(what) + " of a tensor that depends on the data");
}

void ChainRecording::finish(const TensorPtr& result) {
  if (result != values_.back() || result->storage->version != versions_.back() ||
      values_.front()->storage->version != versions_.front()) {
    refuse("the result is not what the last layer gave");
  }
}

std::vector<Layer> recorded_layers(const ChainRecording& one, const ChainRecording& other) {
  const bool same = std::equal(one.layers().begin(), one.layers().end(), other.layers().begin(),
                               other.layers().end(), [](const Layer& a, const Layer& b) {
                                 return a.weight == b.weight && a.bias == b.bias &&
                                        a.activation == b.activation &&
                                        a.options.a == b.options.a &&
                                        a.options.beta == b.options.beta &&
                                        a.options.threshold == b.options.threshold;
                               });
  if (!same) throw StateError("two runs on different rows go through different layers");
  if (one.layers().empty() || one.layers().front().weight == nullptr) {
    throw StateError("forward() does not begin with a dense layer");
  }
  return one.layers();
}

}  // namespace schuss

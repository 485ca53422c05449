// SPDX-License-Identifier: MIT
#include "nn/network.hpp"

#include <algorithm>

namespace schuss {

Network::Network(const std::vector<Layer>& layers, DType without_parameters)
    : dtype_(without_parameters) {
  if (!layers.empty()) input_label_ = layers.front().label;
  std::string last_dense;
  for (const Layer& layer : layers) {
    if (layer.weight != nullptr) {
      Stage stage;
      stage.weight = layer.weight;
      stage.bias = layer.bias;
      stage.n_out = layer.weight->shape[0];
      stage.n_in = layer.weight->shape[1];
      stage.label = layer.label;
      add_parameter(layer.weight, layer.label);
      if (layer.bias != nullptr) add_parameter(layer.bias, layer.label);
      if (n_out_ > 0 && n_out_ != stage.n_in) {
        throw ValueError(layer.label + ": gets " + std::to_string(n_out_) + " features from " +
                         last_dense + "; expected " + std::to_string(stage.n_in));
      }
      if (n_in_ == 0) n_in_ = stage.n_in;
      n_out_ = stage.n_out;
      last_dense = layer.label;
      stages_.push_back(std::move(stage));
      continue;
    }
    if (layer.activation == Activation::kIdentity) continue;
    const bool joins = !stages_.empty() && stages_.back().dense() &&
                       stages_.back().activation == Activation::kIdentity;
    if (!joins) {
      Stage stage;
      stage.n_in = stage.n_out = n_out_;
      stage.label = layer.label;
      stages_.push_back(std::move(stage));
    }
    stages_.back().activation = layer.activation;
    stages_.back().options = layer.options;
  }
  if (stages_.empty()) stages_.emplace_back();
}

void Network::add_parameter(const ParameterPtr& parameter, const std::string& label) {
  if (std::find(parameters_.begin(), parameters_.end(), parameter) != parameters_.end()) return;
  if (!parameters_.empty() && parameter->dtype != dtype_) {
    throw TypeError(label + ": is " + dtype_name(parameter->dtype) + "; expected " +
                    dtype_name(dtype_) + " as the layers before it");
  }
  dtype_ = parameter->dtype;
  parameters_.push_back(parameter);
}

std::uint64_t Network::version() const {
  std::uint64_t sum = 0;
  for (const ParameterPtr& parameter : parameters_) sum += parameter->storage->version;
  return sum;
}

double Network::work_per_row() const {
  double work = 0.0;
  for (const Stage& stage : stages_) {
    work += static_cast<double>(stage.n_in) * static_cast<double>(stage.n_out) +
            8.0 * static_cast<double>(stage.n_out);
  }
  return work;
}

}  // namespace schuss

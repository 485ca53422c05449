// SPDX-License-Identifier: MIT
/// A network as a plan over kernels: dense layers and activations, in stages.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernels.hpp"
#include "nn/parameter.hpp"

namespace schuss {

/// One layer as the user wrote it.
struct Layer {
  ParameterPtr weight;  // null: an activation
  ParameterPtr bias;
  Activation activation = Activation::kIdentity;
  ActivationOptions options;
  std::string label;  // "layer 0 (Linear(784, 128))", for messages
};

/// What runs together: an optional dense layer, then an activation.
struct Stage {
  ParameterPtr weight;  // null: the activation works on the previous stage's output
  ParameterPtr bias;
  index_t n_in = 0;   // 0: as wide as what comes in (no dense layer)
  index_t n_out = 0;  // 0: likewise
  Activation activation = Activation::kIdentity;
  ActivationOptions options;
  std::string label;

  bool dense() const { return weight != nullptr; }
  bool narrow() const { return is_narrow(n_out); }
  bool small() const { return is_small(n_in, n_out); }
  /// The activation's input must outlive the forward pass, so it has a buffer of its own.
  bool keeps_input() const { return dense() && activation_reads(activation) == Reads::kInput; }
};

/// The stages of a model. Parameters stay where they are: a network only points to them.
class Network {
 public:
  /// Throws TypeError when the parameters' dtypes differ and ValueError, naming the layers, when
  /// widths do not fit each other. `without_parameters` is the dtype where there are none.
  explicit Network(const std::vector<Layer>& layers, DType without_parameters = DType::kFloat32);

  const std::vector<Stage>& stages() const { return stages_; }
  /// Features that come in; 0 when no dense layer fixes it.
  index_t n_in() const { return n_in_; }
  /// Columns that come out for `n_in` columns in.
  index_t n_out(index_t n_in) const { return n_out_ > 0 ? n_out_ : n_in; }
  /// The parameters' dtype.
  DType dtype() const { return dtype_; }
  bool has_dense() const { return n_in_ > 0; }
  /// "layer 0 (Linear(784, 128))": the layer that sees the input first.
  const std::string& input_label() const { return input_label_; }
  /// Parameters in order, each once.
  const std::vector<ParameterPtr>& parameters() const { return parameters_; }
  /// Sum of the parameters' storage versions: it changes whenever one of them is written.
  std::uint64_t version() const;
  /// Multiply-adds of a forward pass of one row.
  double work_per_row() const;

 private:
  void add_parameter(const ParameterPtr& parameter, const std::string& label);

  std::vector<Stage> stages_;
  std::vector<ParameterPtr> parameters_;
  index_t n_in_ = 0;
  index_t n_out_ = 0;
  DType dtype_ = DType::kFloat32;
  std::string input_label_;
};

}  // namespace schuss

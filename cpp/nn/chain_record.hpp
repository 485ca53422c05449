// SPDX-License-Identifier: MIT
/// Finds the chain of layers that a model's forward() written in Python is, by listening to it.
#pragma once

#include <string>
#include <vector>

#include "autograd/ops.hpp"
#include "autograd/recording.hpp"
#include "nn/network.hpp"

namespace schuss {

/// One run of a function of x, of shape (rows, features). What is no chain of networks and
/// activations throws StateError where it happens, and is kept in `refusal`.
class ChainRecording final : public OpListener, public ReadListener {
 public:
  explicit ChainRecording(TensorPtr x);

  void on_op(Op op, const OpAttributes& attributes, const std::vector<TensorPtr>& inputs,
             const TensorPtr& output) override;
  void on_read(const Tensor& tensor, const char* what) override;
  /// The function returned `result`.
  void finish(const TensorPtr& result);

  const std::string& refusal() const { return refusal_; }
  const std::vector<Layer>& layers() const { return layers_; }

 private:
  [[noreturn]] void refuse(const std::string& what);
  bool is_traced(const Tensor& tensor) const;
  void append(const Network& network);
  bool append_linear(const std::vector<TensorPtr>& inputs);

  std::vector<TensorPtr> values_;  // the input of each link, and the last output
  std::vector<std::uint64_t> versions_;
  std::vector<Layer> layers_;
  std::string refusal_;
  bool gradients_;  // enabled when the recording began
};

/// The layers that two runs on different rows went through. Throws StateError where they are not the
/// same: the very parameters, the same activations.
std::vector<Layer> recorded_layers(const ChainRecording& one, const ChainRecording& other);

}  // namespace schuss

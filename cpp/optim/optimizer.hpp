// SPDX-License-Identifier: MIT
/// Optimizers: parameter groups, per-parameter state, and steps that a training loop can cut up.
#pragma once

#include <optional>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "base/busy.hpp"
#include "kernels/update.hpp"
#include "nn/parameter.hpp"

namespace schuss {

enum class Method : std::uint8_t { kSGD, kAdam, kAdamW };

/// A group's options, by PyTorch's names; each method uses its own. float64 until used.
struct GroupOptions {
  double lr = 1e-3;
  double momentum = 0.0;
  double dampening = 0.0;
  double weight_decay = 0.0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  bool nesterov = false;
  bool amsgrad = false;
  bool maximize = false;
};

/// What an optimizer keeps for one parameter, laid out like it. Empty until first used.
struct ParameterState {
  AlignedBuffer<std::byte> first;    // SGD: momentum buffer; Adam: exp_avg
  AlignedBuffer<std::byte> second;   // Adam: exp_avg_sq
  AlignedBuffer<std::byte> largest;  // amsgrad: max_exp_avg_sq
  std::int64_t step = 0;
  bool started = false;  // the momentum buffer holds something
};

class Optimizer {
 public:
  struct Slot {
    TensorPtr parameter;  // a Parameter, or a contiguous leaf
    std::size_t group = 0;
    ParameterState state;
  };

  explicit Optimizer(Method method) : method_(method) {}

  /// Throws ValueError for options out of range or impossible together, an empty group, or a
  /// parameter that is in the optimizer already; then nothing has changed.
  void add_group(const std::vector<TensorPtr>& parameters, const GroupOptions& options);
  /// Throws ValueError like add_group and leaves the group as it was.
  void set_options(std::size_t group, const GroupOptions& options);
  void check_options(const GroupOptions& options) const;

  Method method() const { return method_; }
  const std::vector<GroupOptions>& groups() const { return groups_; }
  std::vector<Slot>& slots() { return slots_; }
  const std::vector<Slot>& slots() const { return slots_; }
  /// The slot of that parameter, or -1.
  index_t find(const Tensor& parameter) const;
  /// The first slot whose parameter is none of these; null where there is none.
  const Slot* slot_outside(const std::vector<ParameterPtr>& known) const;

  /// Makes the state buffers that the options ask for. Steps allocate nothing after this.
  void reserve_state();
  /// Starts the step of slot `index`: counts it and fixes its constants. Then `apply` covers its
  /// elements, each once, in any order and from any thread.
  void begin(std::size_t index);
  /// After `begin`: the rate, where the update of slot `index` is p -= rate * g and nothing else.
  std::optional<double> plain_rate(std::size_t index) const;
  /// Takes `begin` back; nothing may have been applied.
  void cancel(std::size_t index);
  /// Updates elements first..first+count-1 of the parameter's storage; gradient[0] is that of
  /// element `first`.
  template <class T>
  void apply(std::size_t index, const T* gradient, index_t first, index_t count);

  /// PyTorch's step(): every parameter that requires a gradient and has one.
  void step();
  void zero_grad(bool set_to_none);

  BusyFlag& busy() { return busy_; }

 private:
  struct Constants {
    SgdStep sgd;
    AdamStep adam;
    bool was_started = false;
  };

  Method method_;
  std::vector<GroupOptions> groups_;
  std::vector<Slot> slots_;
  std::vector<Constants> constants_;  // of the step under way, one for each slot
  BusyFlag busy_;
};

}  // namespace schuss

// SPDX-License-Identifier: MIT
#include "optim/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <unordered_set>

#include "base/fp_environment.hpp"
#include "base/scalar_math.hpp"
#include "base/text.hpp"
#include "kernels/dispatch.hpp"
#include "parallel/crew.hpp"

namespace schuss {
namespace {

/// What an element's update takes, in multiply-adds: its way from memory and back, or its division and
/// its root.
constexpr double kSgdElementWork = 12.0;
constexpr double kAdamElementWork = 30.0;
/// Elements of the smallest piece of an update that threads share.
constexpr index_t kPieceElements = 4096;

void require_number(bool good, const char* name, double value, const char* expected) {
  if (good) return;
  throw ValueError(std::string(name) + ": got " + shortest_text(value) + "; expected " + expected);
}

void require_at_least_zero(const char* name, double value) {
  require_number(value >= 0.0 && std::isfinite(value), name, value, "a finite number, 0 or more");
}

AlignedBuffer<std::byte> state_like(const Tensor& parameter) {
  return AlignedBuffer<std::byte>(parameter.extent() * item_bytes(parameter.dtype));
}

template <class T>
T* as(AlignedBuffer<std::byte>& buffer) {
  return reinterpret_cast<T*>(buffer.data());
}

}  // namespace

void Optimizer::check_options(const GroupOptions& o) const {
  require_at_least_zero("lr", o.lr);
  require_at_least_zero("weight_decay", o.weight_decay);
  if (method_ == Method::kSGD) {
    require_at_least_zero("momentum", o.momentum);
    require_number(std::isfinite(o.dampening), "dampening", o.dampening, "a finite number");
    require(!o.nesterov || (o.momentum > 0.0 && o.dampening == 0.0),
            "nesterov: needs momentum > 0 and dampening = 0");
    return;
  }
  require_number(o.beta1 >= 0.0 && o.beta1 < 1.0, "betas[0]", o.beta1, "a number in [0, 1)");
  require_number(o.beta2 >= 0.0 && o.beta2 < 1.0, "betas[1]", o.beta2, "a number in [0, 1)");
  require_at_least_zero("eps", o.eps);
}

void Optimizer::add_group(const std::vector<TensorPtr>& parameters, const GroupOptions& options) {
  check_options(options);
  require(!parameters.empty(), "params: got no parameters; expected at least one");
  std::unordered_set<const Tensor*> seen;
  for (const Slot& slot : slots_) seen.insert(slot.parameter.get());
  for (const TensorPtr& parameter : parameters) {
    require(seen.insert(parameter.get()).second,
            "params: a parameter appears more than once; give each parameter to one group, once");
  }
  for (const TensorPtr& parameter : parameters) {
    slots_.push_back({parameter, groups_.size(), {}});
  }
  groups_.push_back(options);
  constants_.resize(slots_.size());
}

void Optimizer::set_options(std::size_t group, const GroupOptions& options) {
  check_options(options);
  groups_.at(group) = options;
}

index_t Optimizer::find(const Tensor& parameter) const {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].parameter.get() == &parameter) return static_cast<index_t>(i);
  }
  return -1;
}

const Optimizer::Slot* Optimizer::slot_outside(const std::vector<ParameterPtr>& known) const {
  const auto slot = std::ranges::find_if(slots_, [&known](const Slot& s) {
    return std::ranges::find(known, s.parameter) == known.end();
  });
  return slot == slots_.end() ? nullptr : &*slot;
}

void Optimizer::reserve_state() {
  for (Slot& slot : slots_) {
    const GroupOptions& o = groups_[slot.group];
    const bool adam = method_ != Method::kSGD;
    ParameterState& state = slot.state;
    const bool needs_first = adam || o.momentum != 0.0;
    if (needs_first && state.first.empty()) state.first = state_like(*slot.parameter);
    if (adam && state.second.empty()) state.second = state_like(*slot.parameter);
    if (adam && o.amsgrad && state.largest.empty()) state.largest = state_like(*slot.parameter);
  }
}

void Optimizer::begin(std::size_t index) {
  Slot& slot = slots_[index];
  const GroupOptions& o = groups_[slot.group];
  ParameterState& state = slot.state;
  constants_[index].was_started = state.started;
  ++state.step;
  if (method_ == Method::kSGD) {
    constants_[index].sgd = {o.lr,       o.momentum, o.dampening,   o.weight_decay,
                             o.nesterov, o.maximize, !state.started};
    if (o.momentum != 0.0) state.started = true;
    return;
  }
  const auto t = static_cast<std::uint64_t>(state.step);
  AdamStep& step = constants_[index].adam;
  step.lr = o.lr;
  step.beta1 = o.beta1;
  step.beta2 = o.beta2;
  step.eps = o.eps;
  step.weight_decay = o.weight_decay;
  step.bias1 = 1.0 - exact_pow_int(o.beta1, t);
  step.sqrt_bias2 = std::sqrt(1.0 - exact_pow_int(o.beta2, t));
  step.amsgrad = o.amsgrad;
  step.maximize = o.maximize;
  step.decoupled = method_ == Method::kAdamW;
}

std::optional<double> Optimizer::plain_rate(std::size_t index) const {
  const SgdStep& step = constants_[index].sgd;
  const bool plain =
      method_ == Method::kSGD && step.momentum == 0.0 && step.weight_decay == 0.0 && !step.maximize;
  return plain ? std::optional<double>(step.lr) : std::nullopt;
}

void Optimizer::cancel(std::size_t index) {
  ParameterState& state = slots_[index].state;
  --state.step;
  state.started = constants_[index].was_started;
}

template <class T>
void Optimizer::apply(std::size_t index, const T* gradient, index_t first, index_t count) {
  Slot& slot = slots_[index];
  ParameterState& state = slot.state;
  T* p = slot.parameter->ptr<T>() + first;
  T* one = state.first.empty() ? nullptr : as<T>(state.first) + first;
  if (method_ == Method::kSGD) {
    kernels<T>().sgd(p, gradient, one, count, constants_[index].sgd);
    return;
  }
  T* largest = state.largest.empty() ? nullptr : as<T>(state.largest) + first;
  kernels<T>().adam(p, gradient, one, as<T>(state.second) + first, largest, count,
                    constants_[index].adam);
}

template void Optimizer::apply<float>(std::size_t, const float*, index_t, index_t);
template void Optimizer::apply<double>(std::size_t, const double*, index_t, index_t);

void Optimizer::step() {
  const BusyGuard guard(busy_, "the optimizer");
  const FpEnvironment environment;
  reserve_state();
  const auto has_gradient = [](const Slot& slot) {
    return slot.parameter->requires_grad && slot.parameter->grad != nullptr;
  };
  index_t elements = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!has_gradient(slots_[i])) continue;
    begin(i);
    elements += slots_[i].parameter->extent();
  }
  const double work = static_cast<double>(elements) *
                      (method_ == Method::kSGD ? kSgdElementWork : kAdamElementWork);
  const index_t grains = elements / kPieceElements + 1;
  with_crew(crew_size(work, grains), [&](Crew& crew) {
    const auto pieces = static_cast<int>(std::min<index_t>(grains, 8 * crew.threads()));
    crew.share(pieces, [&](int, Part part) {
      for (std::size_t i = 0; i < slots_.size(); ++i) {
        if (!has_gradient(slots_[i])) continue;
        const Tensor& parameter = *slots_[i].parameter;
        dispatch_dtype(parameter.dtype, [&]<class T>() {
          const index_t first = part.begin(parameter.extent(), kAlignElements<T>);
          const index_t count = part.end(parameter.extent(), kAlignElements<T>) - first;
          if (count > 0) apply<T>(i, parameter.grad->ptr<T>() + first, first, count);
        });
      }
    });
  });
  for (const Slot& slot : slots_) {
    if (has_gradient(slot)) ++slot.parameter->storage->version;
  }
}

void Optimizer::zero_grad(bool set_to_none) {
  for (Slot& slot : slots_) {
    Tensor& parameter = *slot.parameter;
    if (parameter.grad == nullptr) continue;
    if (set_to_none) {
      parameter.grad = nullptr;
    } else {
      std::memset(parameter.grad->data, 0,
                  static_cast<std::size_t>(parameter.extent() * item_bytes(parameter.dtype)));
    }
  }
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// The cases of tests/data/digest_cases.txt: how a line reads, and the numbers it stands for.
///
/// Every number is k / 2^m for an integer k of 12 bits, a hash of (stream, place), so that each
/// language makes the same ones exactly. tests/digest_cases.py says the same in Python.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "nn/loss.hpp"
#include "nn/network.hpp"
#include "optim/optimizer.hpp"

namespace digests {

using schuss::index_t;

// ---- numbers ------------------------------------------------------------------------------------

inline constexpr std::uint64_t kFeatureStream = 1;
inline constexpr std::uint64_t kTargetStream = 2;
inline constexpr std::uint64_t kWeightStream = 3;
inline constexpr std::uint64_t kPosWeightStream = 4;
inline constexpr std::uint64_t kParameterStream = 16;  // and up
inline constexpr int kBiasExponent = 14;

/// 0..4095: the top bits of SplitMix64's finaliser.
inline std::int64_t number(std::uint64_t stream, std::uint64_t place) {
  std::uint64_t z = stream * 0x9e3779b97f4a7c15U + place * 0xd1342543de82ef95U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return static_cast<std::int64_t>((z ^ (z >> 31)) >> 52);
}

/// k / 2^exponent, exactly.
template <class T>
T scaled(std::int64_t k, int exponent) {
  return static_cast<T>(k) / static_cast<T>(std::int64_t{1} << exponent);
}

/// Weights are up to about 1/sqrt(n_in): numbers - 2048, over 2^(11 + e), 4^e >= n_in.
inline int weight_exponent(index_t n_in) {
  int e = 0;
  while ((index_t{1} << (2 * e)) < n_in) ++e;
  return 11 + e;
}

// ---- lines --------------------------------------------------------------------------------------

inline std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> parts;
  std::size_t first = 0;
  for (std::size_t end = text.find(by); end != std::string::npos; end = text.find(by, first)) {
    parts.push_back(text.substr(first, end - first));
    first = end + 1;
  }
  parts.push_back(text.substr(first));
  return parts;
}

/// "linear:3:4:nobias" or "momentum=0.9".
struct Call {
  std::string name;
  std::vector<std::string> arguments;

  bool has(const std::string& argument) const {
    return std::find(arguments.begin(), arguments.end(), argument) != arguments.end();
  }
};

inline std::vector<Call> parse_calls(const std::string& text, char by) {
  std::vector<Call> calls;
  for (const std::string& part : split(text, by)) {
    std::vector<std::string> words = split(part, part.find('=') == std::string::npos ? ':' : '=');
    calls.push_back({words.front(), {words.begin() + 1, words.end()}});
  }
  return calls;
}

struct Case {
  std::string name;
  std::map<std::string, std::string> values;

  const std::string& get(const std::string& key) const {
    const auto found = values.find(key);
    if (found == values.end()) throw std::runtime_error("no " + key + "=");
    return found->second;
  }
  index_t integer(const std::string& key, index_t otherwise) const {
    return values.contains(key) ? std::stol(get(key)) : otherwise;
  }
  index_t rows() const { return std::stol(split(get("x"), 'x').at(0)); }
  index_t cols() const { return std::stol(split(get("x"), 'x').at(1)); }
};

inline std::vector<Case> read_cases(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<Case> cases;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.front() == '#') continue;
    const std::vector<std::string> words = split(line, ' ');
    Case c;
    c.name = words.front();
    for (std::size_t i = 1; i < words.size(); ++i) {
      const std::size_t equals = words[i].find('=');
      c.values[words[i].substr(0, equals)] = words[i].substr(equals + 1);
    }
    cases.push_back(c);
  }
  return cases;
}

// ---- data ---------------------------------------------------------------------------------------

template <class T>
std::vector<T> features(const Case& c) {
  std::vector<T> values(static_cast<std::size_t>(c.rows() * c.cols()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = scaled<T>(number(kFeatureStream, i) - 2048, 10);
  }
  return values;
}

inline std::vector<std::int64_t> make_labels(index_t rows, index_t classes, bool ignored) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(rows));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int64_t k = number(kTargetStream, i);
    values[i] = ignored && k < 512 ? -100 : k % classes;
  }
  return values;
}

template <class T>
std::vector<T> make_targets(const std::string& kind, index_t rows, index_t cols) {
  std::vector<T> values(static_cast<std::size_t>(rows * cols));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int64_t k = number(kTargetStream, i);
    if (kind == "real") {
      values[i] = scaled<T>(k - 2048, 10);
    } else if (kind == "binary") {
      values[i] = static_cast<T>(k / 2048);
    } else if (kind == "shares") {
      values[i] = scaled<T>(k, 12);
    } else {
      throw std::runtime_error("y: " + kind);
    }
  }
  return values;
}

/// The first 300 rows, then rows in which one element each is special.
template <class T>
std::vector<T> probes(const std::vector<T>& x, index_t rows, index_t cols) {
  using Limits = std::numeric_limits<T>;
  const T special[] = {Limits::quiet_NaN(),  Limits::infinity(), -Limits::infinity(), T(-0.0),
                       Limits::denorm_min(), Limits::max(),      -Limits::min()};
  const auto width = static_cast<std::size_t>(cols);
  const auto row = [&](index_t r) { return x.begin() + r % rows * cols; };
  std::vector<T> values(x.begin(), x.begin() + std::min<index_t>(rows, 300) * cols);
  for (index_t s = 0; s < 7; ++s) {
    values.insert(values.end(), row(s), row(s) + cols);
    values[values.size() - width + static_cast<std::size_t>(s * 5) % width] = special[s];
  }
  return values;
}

// ---- options ------------------------------------------------------------------------------------

inline schuss::Activation activation_of(const Call& call, schuss::ActivationOptions* options) {
  using schuss::Activation;
  static const std::map<std::string, Activation> kNames = {
      {"identity", Activation::kIdentity},
      {"relu", Activation::kReLU},
      {"leaky_relu", Activation::kLeakyReLU},
      {"elu", Activation::kELU},
      {"gelu", Activation::kGELU},
      {"gelu_tanh", Activation::kGELUTanh},
      {"silu", Activation::kSiLU},
      {"softplus", Activation::kSoftplus},
      {"sigmoid", Activation::kSigmoid},
      {"tanh", Activation::kTanh},
      {"step", Activation::kStep},
      {"softmax", Activation::kSoftmax},
      {"log_softmax", Activation::kLogSoftmax},
  };
  static_assert(schuss::kActivationCount == 13, "a new activation needs a name and cases");
  const auto found = kNames.find(call.name);
  if (found == kNames.end()) throw std::runtime_error("net: " + call.name);
  if (call.name == "leaky_relu" || call.name == "elu") options->a = std::stod(call.arguments.at(0));
  if (call.name == "softplus") {
    options->beta = std::stod(call.arguments.at(0));
    options->threshold = std::stod(call.arguments.at(1));
  }
  return found->second;
}

/// (1 + k mod 8) / 4.
inline std::vector<double> weights(std::uint64_t stream, index_t count) {
  std::vector<double> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = scaled<double>(1 + number(stream, i) % 8, 2);
  }
  return values;
}

inline schuss::LossSpec loss_of(const Case& c, const std::string& target, index_t outs) {
  using schuss::LossKind;
  static const std::map<std::string, LossKind> kNames = {
      {"mse", LossKind::kMSE},
      {"l1", LossKind::kL1},
      {"huber", LossKind::kHuber},
      {"smooth_l1", LossKind::kSmoothL1},
      {"bce", LossKind::kBCE},
      {"bce_with_logits", LossKind::kBCEWithLogits},
      {"cross_entropy", LossKind::kCrossEntropyIndex},
      {"nll", LossKind::kNLL},
  };
  static_assert(schuss::kLossCount == 9, "a new loss needs a name and cases");
  const std::vector<Call> calls = parse_calls(c.get("loss"), ',');
  schuss::LossSpec spec;
  spec.kind = kNames.at(calls.front().name);
  if (spec.kind == LossKind::kCrossEntropyIndex && target == "shares") {
    spec.kind = LossKind::kCrossEntropyProbs;
  }
  for (std::size_t i = 1; i < calls.size(); ++i) {
    const std::string& name = calls[i].name;
    if (name == "sum") {
      spec.reduction = schuss::Reduction::kSum;
    } else if (name == "weight") {
      spec.weight = weights(kWeightStream, outs);
    } else if (name == "pos_weight") {
      spec.pos_weight = weights(kPosWeightStream, outs);
    } else if (name == "a") {
      spec.a = std::stod(calls[i].arguments.at(0));
    } else if (name == "label_smoothing") {
      spec.label_smoothing = std::stod(calls[i].arguments.at(0));
    } else if (name == "ignore_index") {
      spec.ignore_index = std::stol(calls[i].arguments.at(0));
    } else {
      throw std::runtime_error("loss: " + name);
    }
  }
  return spec;
}

inline schuss::Method method_of(const Case& c) {
  const std::string name = parse_calls(c.get("opt"), ',').front().name;
  if (name == "sgd") return schuss::Method::kSGD;
  if (name == "adam") return schuss::Method::kAdam;
  if (name == "adamw") return schuss::Method::kAdamW;
  throw std::runtime_error("opt: " + name);
}

inline schuss::GroupOptions group_of(const Case& c) {
  using schuss::GroupOptions;
  static const std::map<std::string, double GroupOptions::*> kNumbers = {
      {"lr", &GroupOptions::lr},
      {"momentum", &GroupOptions::momentum},
      {"dampening", &GroupOptions::dampening},
      {"weight_decay", &GroupOptions::weight_decay},
      {"beta1", &GroupOptions::beta1},
      {"beta2", &GroupOptions::beta2},
      {"eps", &GroupOptions::eps},
  };
  static const std::map<std::string, bool GroupOptions::*> kFlags = {
      {"nesterov", &GroupOptions::nesterov},
      {"amsgrad", &GroupOptions::amsgrad},
      {"maximize", &GroupOptions::maximize},
  };
  GroupOptions options;
  const std::vector<Call> calls = parse_calls(c.get("opt"), ',');
  for (std::size_t i = 1; i < calls.size(); ++i) {
    const auto flag = kFlags.find(calls[i].name);
    if (flag != kFlags.end()) {
      options.*flag->second = true;
    } else {
      options.*kNumbers.at(calls[i].name) = std::stod(calls[i].arguments.at(0));
    }
  }
  return options;
}

}  // namespace digests

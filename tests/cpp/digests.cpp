// SPDX-License-Identifier: MIT
/// Trains the cases of a file and prints, for each, digests of its parameters, losses and
/// predictions. The same cases run through Python in tests/test_promises_digests.py.
///
///   digests CASES [--expect DIGESTS] [--threads N] [--only PART]
///
/// PART: cases whose name contains it. With --expect nothing is printed for a case whose digests are
/// those of the file, and the program ends with 1 when one is not. SCHUSS_ISA forces an instruction
/// set; the last line names the one that ran.
///
/// Parameters are hashed in the model's order, each as (out, in), losses as float64 (one an epoch,
/// then the evaluation after training), predictions as rows; all little-endian, every NaN as one.
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "digest_cases.hpp"
#include "kernels/dispatch.hpp"
#include "optim/optimizer.hpp"
#include "parallel/team.hpp"
#include "sha256.hpp"
#include "train/batch_step.hpp"
#include "train/evaluate.hpp"
#include "train/trainer.hpp"

namespace digests {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::size_t kDigits = 24;

using schuss::ArrayView;
using schuss::DType;
using schuss::ElementType;
using schuss::index_t;

template <class T>
void add_value(Sha256* hash, T value) {
  if (value != value) value = std::numeric_limits<T>::quiet_NaN();
  hash->add(&value, sizeof(T));
}

template <class T>
ArrayView view_of(const std::vector<T>& values, index_t rows, index_t cols) {
  ArrayView view;
  view.data = reinterpret_cast<const std::byte*>(values.data());
  constexpr bool kInteger = std::is_same_v<T, std::int64_t>;
  constexpr ElementType kFloating =
      std::is_same_v<T, float> ? ElementType::kFloat32 : ElementType::kFloat64;
  view.type = kInteger ? ElementType::kInt64 : kFloating;
  view.rows = rows;
  view.cols = cols;
  view.col_stride = static_cast<index_t>(sizeof(T));
  view.row_stride = cols * view.col_stride;
  return view;
}

template <class T>
void fill(const schuss::Parameter& parameter, std::uint64_t stream, int exponent) {
  const bool weight = parameter.shape.rank == 2;
  const index_t outs = parameter.shape[0];
  const index_t ins = weight ? parameter.shape[1] : 1;
  std::uint64_t i = 0;
  for (index_t o = 0; o < outs; ++o) {
    for (index_t j = 0; j < ins; ++j) {
      const index_t at = o * parameter.strides[0] + (weight ? j * parameter.strides[1] : 0);
      parameter.ptr<T>()[at] = scaled<T>(number(stream, i++) - 2048, exponent);
    }
  }
}

template <class T>
void add_parameter(Sha256* hash, const schuss::Parameter& parameter) {
  const bool weight = parameter.shape.rank == 2;
  for (index_t o = 0; o < parameter.shape[0]; ++o) {
    for (index_t j = 0; j < (weight ? parameter.shape[1] : 1); ++j) {
      const index_t at = o * parameter.strides[0] + (weight ? j * parameter.strides[1] : 0);
      add_value(hash, parameter.ptr<T>()[at]);
    }
  }
}

template <class T>
std::vector<schuss::Layer> make_layers(const Case& c) {
  std::vector<schuss::Layer> layers;
  std::uint64_t stream = kParameterStream;
  for (const Call& call : parse_calls(c.get("net"), ',')) {
    schuss::Layer layer;
    if (call.name.front() == '@') {  // a layer again
      layers.push_back(layers.at(std::stoul(call.name.substr(1))));
      continue;
    }
    if (call.name == "linear") {
      const index_t n_in = std::stol(call.arguments.at(0));
      const bool bias = !call.has("nobias");
      const auto made = schuss::make_linear(sizeof(T) == 4 ? DType::kFloat32 : DType::kFloat64,
                                            n_in, std::stol(call.arguments.at(1)), bias);
      layer.weight = made.weight;
      layer.bias = made.bias;
      fill<T>(*layer.weight, stream++, weight_exponent(n_in));
      if (bias) fill<T>(*layer.bias, stream++, kBiasExponent);
      layer.weight->requires_grad = !call.has("frozen");
      if (bias) layer.bias->requires_grad = !call.has("frozen");
    } else {
      layer.activation = activation_of(call, &layer.options);
    }
    layers.push_back(layer);
  }
  return layers;
}

struct Digests {
  std::string parameters;
  std::string losses;
  std::string predictions;
};

void require_done(schuss::RunStatus status) {
  if (status != schuss::RunStatus::kDone) throw std::runtime_error("did not run to its end");
}

template <class T>
Digests run_case(const Case& c) {
  const auto network = std::make_shared<const schuss::Network>(make_layers<T>(c));
  const index_t rows = c.rows();
  const index_t cols = c.cols();
  const index_t outs = network->n_out(cols);
  const std::vector<T> x = features<T>(c);
  std::vector<T> numbers;
  std::vector<std::int64_t> labels;
  const std::string kind = c.get("y");
  const schuss::LossSpec loss = loss_of(c, kind, outs);
  if (kind == "label" || kind == "label_ignored") {
    labels = make_labels(rows, outs, kind == "label_ignored");
  } else {
    numbers = make_targets<T>(kind, rows, outs);
  }
  const ArrayView x_view = view_of(x, rows, cols);
  const ArrayView y_view =
      labels.empty() ? view_of(numbers, rows, outs) : view_of(labels, rows, index_t{1});

  schuss::Optimizer optimizer(method_of(c));
  const auto& parameters = network->parameters();
  optimizer.add_group({parameters.begin(), parameters.end()}, group_of(c));
  schuss::TrainOptions options;
  options.batch_size = c.get("batch") == "all" ? 0 : c.integer("batch", 0);
  options.shuffle = c.integer("shuffle", 1) != 0 && options.batch_size != 0;
  options.drop_last = c.integer("drop_last", 0) != 0;
  options.seed = c.values.contains("seed") ? std::stoull(c.get("seed")) : 11;
  options.shards = c.integer("shards", 1);
  const auto go_on = [] { return true; };
  const auto trainer = schuss::make_trainer(network, loss, optimizer, x_view, y_view, options);
  require_done(
      trainer->run(c.integer("epochs", 2), std::numeric_limits<double>::infinity(), go_on));

  Sha256 of_parameters;
  for (const auto& parameter : network->parameters()) add_parameter<T>(&of_parameters, *parameter);
  Sha256 of_losses;
  for (const double value : trainer->losses()) add_value(&of_losses, value);
  const schuss::Evaluation evaluation = schuss::evaluate(*network, loss, x_view, y_view, go_on);
  require_done(evaluation.status);
  add_value(&of_losses, evaluation.loss);

  const std::vector<T> probe = probes(x, rows, cols);
  const index_t n_probes = static_cast<index_t>(probe.size()) / cols;
  std::vector<T> predicted(static_cast<std::size_t>(n_probes * outs));
  schuss::BadElement bad;
  require_done(schuss::predict(*network, view_of(probe, n_probes, cols), predicted.data(), outs,
                               &bad, go_on));
  Sha256 of_predictions;
  for (const T value : predicted) add_value(&of_predictions, value);
  return {of_parameters.hex(kDigits), of_losses.hex(kDigits), of_predictions.hex(kDigits)};
}

std::map<std::string, std::string> read_expected(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::map<std::string, std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.front() != '#') lines[line.substr(0, line.find(' '))] = line;
  }
  return lines;
}

int run(int argc, char** argv) {
  if (argc < 2) throw std::runtime_error("usage: digests CASES [--expect DIGESTS] [...]");
  std::map<std::string, std::string> options;
  for (int i = 2; i + 1 < argc; i += 2) options[argv[i]] = argv[i + 1];
  if (options.contains("--threads")) {
    schuss::set_num_threads(std::stoi(options["--threads"]));
    schuss::set_work_per_thread(1.0);  // the smallest step is shared
  }
  const bool compares = options.contains("--expect");
  const auto expected =
      compares ? read_expected(options["--expect"]) : std::map<std::string, std::string>{};
  int wrong = 0;
  int count = 0;
  for (const Case& c : read_cases(argv[1])) {
    if (c.name.find(options["--only"]) == std::string::npos) continue;
    Digests found;
    try {
      found = c.get("dtype") == "f64" ? run_case<double>(c) : run_case<float>(c);
    } catch (const std::exception& error) {
      throw std::runtime_error(c.name + ": " + error.what());
    }
    const std::string line =
        c.name + " " + found.parameters + " " + found.losses + " " + found.predictions;
    ++count;
    const auto stored = expected.find(c.name);
    if (compares && stored != expected.end() && stored->second == line) continue;
    std::puts(line.c_str());
    if (compares) {
      ++wrong;
      std::puts(stored == expected.end() ? "  is not stored" : ("! " + stored->second).c_str());
    }
  }
  std::printf("# %s, %d thread(s): %d cases", schuss::active_kernels().isa, schuss::num_threads(),
              count);
  std::puts(compares
                ? (", " + std::to_string(wrong) + " differ from " + options["--expect"]).c_str()
                : "");
  return wrong == 0 && count > 0 ? 0 : 1;
}

}  // namespace
}  // namespace digests

int main(int argc, char** argv) {
  try {
    return digests::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}

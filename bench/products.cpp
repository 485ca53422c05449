// SPDX-License-Identifier: MIT
/// Times the products of a dense layer alone against MKL's and OpenBLAS's, in one alternating run.
///
///   bench_products [--mkl LIB] [--openblas LIB] [--shapes LIST] [--forms LIST] [--threads LIST]
///                  [--dtypes LIST] [--rounds N] [--sample-ms X] [--dense] [--json FILE]
///
/// Lists are separated by commas. A shape is batch x inputs x outputs (128x784x128), one number (a
/// square), or one of: squares, mnist, wide. Forms: forward (X W), weight (X^T D), input (D W^T).
/// For schuss the table has two rates: with the weight packed anew for each product, as one training
/// step does, and packed beforehand. Weight gradients pack nothing outside the kernel.
///
/// Results are compared before anything is timed: inputs are small integers, sums are exact, so they
/// have to be equal. Exits 1 when they are not. Then everyone is timed in turn, A B C A B C; ratios
/// are medians over rounds of schuss's rate over the peer's within a round. The peak is a loop of
/// multiply-adds on registers, measured beside each shape.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bindings/peak_loops.hpp"
#include "products_schuss.hpp"

namespace schuss {
namespace {

using Clock = std::chrono::steady_clock;

/// Idle workers of OpenMP and OpenBLAS spin after their last product; they are told to stop within
/// about a millisecond, and everyone waits longer than that.
constexpr auto kSettle = std::chrono::milliseconds(4);

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Options {
  std::string mkl;
  std::string openblas;
  std::string json;
  std::vector<std::string> shapes = {"squares", "mnist", "wide"};
  std::vector<std::string> forms = {"forward", "weight", "input"};
  std::vector<std::string> dtypes = {"f32"};
  std::vector<std::string> threads = {"1", "2"};
  int rounds = 15;
  double sample_seconds = 0.003;
  bool dense = false;
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::vector<Shape> parse_shapes(const std::vector<std::string>& names) {
  std::vector<Shape> shapes;
  for (const std::string& name : names) {
    if (name == "squares") {
      for (const index_t n : {32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1280, 1536}) {
        shapes.push_back({n, n, n});
      }
    } else if (name == "mnist") {
      shapes.push_back({128, 784, 128});
      shapes.push_back({128, 128, 10});
    } else if (name == "wide") {
      shapes.push_back({1024, 1024, 1024});
    } else {
      std::vector<index_t> sizes;
      for (const std::string& part : split(name, 'x')) sizes.push_back(std::stol(part));
      if (sizes.size() == 1) sizes.resize(3, sizes[0]);
      if (sizes.size() != 3) throw std::invalid_argument("--shapes: got '" + name + "'");
      shapes.push_back({sizes[0], sizes[1], sizes[2]});
    }
  }
  return shapes;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--dense") {
      options.dense = true;
      continue;
    }
    if (i + 1 == argc) throw std::invalid_argument("unknown option, or no value: " + name);
    const std::string value = argv[++i];
    if (name == "--mkl") {
      options.mkl = value;
    } else if (name == "--openblas") {
      options.openblas = value;
    } else if (name == "--json") {
      options.json = value;
    } else if (name == "--shapes") {
      options.shapes = split(value, ',');
    } else if (name == "--forms") {
      options.forms = split(value, ',');
    } else if (name == "--dtypes") {
      options.dtypes = split(value, ',');
    } else if (name == "--threads") {
      options.threads = split(value, ',');
    } else if (name == "--rounds") {
      options.rounds = std::max(1, std::stoi(value));
    } else if (name == "--sample-ms") {
      options.sample_seconds = std::stod(value) / 1e3;
    } else {
      throw std::invalid_argument("unknown option: " + name);
    }
  }
  return options;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// Operations a second of multiply-adds in registers, all threads together; 0 for the scalar set.
double measure_peak(int threads, std::size_t element_bytes) {
  const PeakLoop loop = peak_loop(active_kernels().isa);
  if (loop == nullptr) return 0.0;
  std::vector<double> rates(static_cast<std::size_t>(threads));
  run_region(threads, [&](const Region& region) {
    const Clock::time_point start = Clock::now();
    double operations = 0.0;
    double seconds = 0.0;
    while (seconds < 0.01) {
      operations += loop(1 << 14);
      seconds = seconds_since(start);
    }
    rates[static_cast<std::size_t>(region.thread)] = operations / seconds;
  });
  double sum = 0.0;
  for (const double rate : rates) sum += rate;
  return sum * sizeof(float) / static_cast<double>(element_bytes);
}

/// One way to make a product: runs it `times` times.
struct Runner {
  std::string name;
  std::function<void(int times)> run;
  std::vector<double> seconds;  // of one product, a round each
};

/// Rate of `ours` over that of `peer`.
double ratio(const Runner& ours, const Runner& peer) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < ours.seconds.size(); ++i) {
    ratios.push_back(peer.seconds[i] / ours.seconds[i]);
  }
  return median(ratios);
}

/// One line of the table.
class Comparison {
 public:
  Comparison(const Options& options, std::vector<BlasPeer>& peers, std::FILE* json)
      : options_(options), peers_(peers), json_(json) {}

  /// Returns false when a result differs.
  template <class T>
  bool run(Shape shape, Form form, int threads) {
    Layer<T> layer(shape, options_.dense);
    std::vector<Runner> runners;
    const auto ours = [&](bool with_pack) {
      return [&layer, form, threads, with_pack](int times) {
        run_region(threads, [&](const Region& region) {
          for (int i = 0; i < times; ++i) layer.run(form, with_pack, region);
        });
      };
    };
    runners.push_back({"schuss", ours(true), {}});
    runners.push_back({"packed", ours(false), {}});
    for (const BlasPeer& peer : peers_) {
      runners.push_back({peer.name(),
                         [&layer, &peer, form, threads](int times) {
                           peer.set_threads(threads);
                           for (int i = 0; i < times; ++i) layer.run(form, peer);
                         },
                         {}});
    }
    if (!agree(layer, form, runners)) return false;

    Clock::time_point start = Clock::now();
    runners[0].run(1);
    const double once = std::max(seconds_since(start), 1e-8);
    const int times = std::max(1, static_cast<int>(options_.sample_seconds / once));
    double peak = 0.0;
    for (int round = 0; round < options_.rounds; ++round) {
      for (Runner& runner : runners) {
        std::this_thread::sleep_for(kSettle);
        runner.run(1);  // caches and threads as in a row of products
        start = Clock::now();
        runner.run(times);
        runner.seconds.push_back(seconds_since(start) / times);
      }
      if (round % 5 == 0) peak = std::max(peak, measure_peak(threads, sizeof(T)));
    }
    print(shape, form, threads, sizeof(T), peak, runners);
    return true;
  }

  void head() const {
    std::printf("%-18s %-8s %-4s %2s %8s %8s %8s", "batch x in x out", "form", "type", "th", "peak",
                "schuss", "packed");
    for (const BlasPeer& peer : peers_) std::printf(" %9s", peer.name().c_str());
    for (const BlasPeer& peer : peers_) {
      std::printf("  %12s", ("/ " + peer.name()).c_str());
      std::printf(" %8s", "packed/");
    }
    std::printf("   (GFLOP/s; ratios above 1: schuss is faster)\n");
  }

 private:
  template <class T>
  bool agree(Layer<T>& layer, Form form, const std::vector<Runner>& runners) {
    runners[0].run(1);
    const AlignedBuffer<T>& result = layer.result(form);
    const std::vector<T> expected(result.data(), result.data() + result.size());
    for (std::size_t i = 1; i < runners.size(); ++i) {
      runners[i].run(1);
      if (std::equal(expected.begin(), expected.end(), result.data())) continue;
      std::fprintf(stderr, "%s: another result than schuss's, form %s\n", runners[i].name.c_str(),
                   kFormNames[static_cast<int>(form)]);
      return false;
    }
    return true;
  }

  void print(Shape shape, Form form, int threads, std::size_t element_bytes, double peak,
             const std::vector<Runner>& runners) {
    const std::string size = std::to_string(shape.batch) + "x" + std::to_string(shape.n_in) + "x" +
                             std::to_string(shape.n_out);
    const char* type = element_bytes == sizeof(float) ? "f32" : "f64";
    const char* form_name = kFormNames[static_cast<int>(form)];
    std::printf("%-18s %-8s %-4s %2d %8.1f", size.c_str(), form_name, type, threads, peak / 1e9);
    for (std::size_t i = 0; i < runners.size(); ++i) {
      std::printf(i < 2 ? " %8.1f" : " %9.1f", shape.flops() / median(runners[i].seconds) / 1e9);
    }
    for (std::size_t i = 2; i < runners.size(); ++i) {
      std::printf("  %12.3f %8.3f", ratio(runners[0], runners[i]), ratio(runners[1], runners[i]));
    }
    std::printf("\n");
    std::fflush(stdout);
    if (json_ == nullptr) return;
    std::fprintf(json_, "%s\n{\"shape\": [%td, %td, %td], \"form\": \"%s\", \"dtype\": \"%s\", ",
                 first_ ? "" : ",", shape.batch, shape.n_in, shape.n_out, form_name, type);
    std::fprintf(json_, "\"threads\": %d, \"peak_gflops\": %.4g, \"seconds\": {", threads,
                 peak / 1e9);
    for (std::size_t i = 0; i < runners.size(); ++i) {
      std::fprintf(json_, "%s\"%s\": [", i == 0 ? "" : ", ", runners[i].name.c_str());
      for (std::size_t j = 0; j < runners[i].seconds.size(); ++j) {
        std::fprintf(json_, "%s%.5g", j == 0 ? "" : ", ", runners[i].seconds[j]);
      }
      std::fprintf(json_, "]");
    }
    std::fprintf(json_, "}}");
    first_ = false;
  }

  const Options& options_;
  std::vector<BlasPeer>& peers_;
  std::FILE* json_;
  bool first_ = true;
};

int run(const Options& options) {
  // Read by the libraries when they start; what the caller set stays.
  setenv("KMP_BLOCKTIME", "1", 0);
  setenv("OPENBLAS_THREAD_TIMEOUT", "21", 0);  // 2^21 cycles, below a millisecond
  std::vector<BlasPeer> peers;
  if (!options.mkl.empty()) peers.emplace_back("MKL", options.mkl);
  if (!options.openblas.empty()) peers.emplace_back("OpenBLAS", options.openblas);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> json(
      options.json.empty() ? nullptr : std::fopen(options.json.c_str(), "w"), &std::fclose);
  if (!options.json.empty() && json == nullptr) {
    throw std::invalid_argument("--json: cannot write " + options.json);
  }
  if (json != nullptr) std::fputs("[", json.get());
  Comparison comparison(options, peers, json.get());
  std::printf("schuss %s; median of %d rounds, samples of %.3g ms%s\n", active_kernels().isa,
              options.rounds, options.sample_seconds * 1e3, options.dense ? ", dense rows" : "");
  comparison.head();
  bool right = true;
  for (const std::string& threads : options.threads) {
    for (const std::string& dtype : options.dtypes) {
      for (const Shape shape : parse_shapes(options.shapes)) {
        for (const Form form : kForms) {
          const std::string name = kFormNames[static_cast<int>(form)];
          if (std::find(options.forms.begin(), options.forms.end(), name) == options.forms.end()) {
            continue;
          }
          const int n = std::stoi(threads);
          right &= dtype == "f64" ? comparison.run<double>(shape, form, n)
                                  : comparison.run<float>(shape, form, n);
        }
      }
    }
  }
  if (json != nullptr) std::fprintf(json.get(), "\n]\n");
  return right ? 0 : 1;
}

}  // namespace
}  // namespace schuss

int main(int argc, char** argv) {
  try {
    return schuss::run(schuss::parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_products: %s\n", error.what());
    return 2;
  }
}

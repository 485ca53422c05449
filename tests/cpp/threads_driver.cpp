// SPDX-License-Identifier: MIT
/// The core's threads at work without Python, for the thread sanitizer to watch:
/// training on 1 to 4 threads (teams are made, reused and left idle), prediction, two models trained
/// at once from two threads, and a model that two threads want at once. Exits 1 when a result
/// depends on the threads.
///
/// By hand: cmake --preset tsan && cmake --build --preset tsan --target threads_driver
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/busy.hpp"
#include "base/philox.hpp"
#include "nn/calls.hpp"
#include "optim/optimizer.hpp"
#include "parallel/crew.hpp"
#include "parallel/shares.hpp"
#include "parallel/team.hpp"
#include "train/evaluate.hpp"
#include "train/thread_trial.hpp"
#include "train/trainer.hpp"

namespace {

using schuss::index_t;

constexpr std::uint64_t kSeed = 11;
constexpr double kForever = 1e9;

/// Uniform numbers in [-scale, scale).
void fill(std::vector<float>& values, float scale, std::uint64_t stream) {
  const schuss::RandomStream random(kSeed, schuss::RandomUse::kUser, stream);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = scale * static_cast<float>(2.0 * schuss::uniform_float64(random.bits(i)) - 1.0);
  }
}

schuss::ArrayView view(const std::vector<float>& values, index_t rows) {
  schuss::ArrayView v;
  v.data = reinterpret_cast<const std::byte*>(values.data());
  v.rows = rows;
  v.cols = static_cast<index_t>(values.size()) / rows;
  v.col_stride = static_cast<index_t>(sizeof(float));
  v.row_stride = v.cols * v.col_stride;
  return v;
}

/// How a step of the case is shared among threads follows from its sizes.
struct Case {
  const char* name;
  std::vector<index_t> widths;
  index_t rows;
  index_t batch;
  double momentum = 0.9;  // 0: weights move as their gradient is made
  bool linear = false;    // no activations: networks of one layer are read in place
};

/// A net with its data, ready to train; parameters and data depend on the case alone.
class Job {
 public:
  explicit Job(const Case& which) : rows_(which.rows), batch_(which.batch) {
    std::vector<schuss::Layer> layers;
    std::vector<schuss::ParameterPtr> parameters;
    for (std::size_t i = 0; i + 1 < which.widths.size(); ++i) {
      const auto made =
          schuss::make_linear(schuss::DType::kFloat32, which.widths[i], which.widths[i + 1], true);
      std::vector<float> start(static_cast<std::size_t>(made.weight->count()));
      fill(start, 0.2F, i);
      made.weight->requires_grad = made.bias->requires_grad = true;
      schuss::write_contiguous(*made.weight, start.data());
      schuss::Layer layer;
      layer.weight = made.weight;
      layer.bias = made.bias;
      layer.label = "layer " + std::to_string(i);
      layers.push_back(layer);
      schuss::Layer activation;
      activation.activation = schuss::Activation::kTanh;
      if (!which.linear) layers.push_back(activation);
      parameters.push_back(made.weight);
      parameters.push_back(made.bias);
    }
    network_ = std::make_shared<schuss::CallableNetwork>(layers);
    schuss::GroupOptions options;
    options.lr = 0.05;
    options.momentum = which.momentum;
    optimizer_.add_group({parameters.begin(), parameters.end()}, options);
    x_.resize(static_cast<std::size_t>(rows_ * which.widths.front()));
    y_.resize(static_cast<std::size_t>(rows_ * which.widths.back()));
    fill(x_, 1.0F, 100);
    fill(y_, 0.5F, 101);
  }

  schuss::CallableNetwork& network() { return *network_; }
  const std::vector<float>& x() const { return x_; }
  index_t rows() const { return rows_; }

  /// Trains under the model's busy flag. Returns how many threads shared a step.
  int train(index_t epochs, const schuss::Poll& poll) {
    schuss::TrainOptions options;
    options.batch_size = batch_;
    options.shuffle = batch_ > 0;
    options.seed = 3;
    const schuss::BusyGuard guard(network_->busy(), "the model");
    const auto trainer =
        schuss::make_trainer(network_->shared_network(), schuss::LossSpec{}, optimizer_,
                             view(x_, rows_), view(y_, rows_), options);
    if (trainer->run(epochs, kForever, poll) != schuss::RunStatus::kDone) {
      throw std::runtime_error("training did not come to its end");
    }
    losses_.insert(losses_.end(), trainer->losses().begin(), trainer->losses().end());
    return trainer->threads();
  }

  /// Bytes of losses, parameters and predictions.
  std::string result() {
    const schuss::Network& network = network_->network();
    std::string bytes(reinterpret_cast<const char*>(losses_.data()),
                      losses_.size() * sizeof(double));
    for (const schuss::ParameterPtr& parameter : network.parameters()) {
      std::vector<float> values(static_cast<std::size_t>(parameter->count()));
      schuss::copy_contiguous(*parameter, values.data());
      append(bytes, values);
    }
    const index_t width = network.n_out(network.n_in());
    std::vector<float> predicted(static_cast<std::size_t>(rows_ * width));
    schuss::BadElement bad;
    schuss::predict(network, view(x_, rows_), predicted.data(), width, &bad, [] { return true; });
    append(bytes, predicted);
    return bytes;
  }

 private:
  static void append(std::string& bytes, const std::vector<float>& values) {
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }

  index_t rows_;
  index_t batch_;
  std::shared_ptr<schuss::CallableNetwork> network_;
  schuss::Optimizer optimizer_{schuss::Method::kSGD};
  std::vector<float> x_;
  std::vector<float> y_;
  std::vector<double> losses_;
};

bool go_on() { return true; }

bool report(bool good, const std::string& what) {
  std::printf("%-6s %s\n", good ? "ok" : "FAILED", what.c_str());
  return good;
}

/// The same bits on 1 to 4 threads, and back to fewer.
bool any_number_of_threads(const Case& which) {
  std::string first;
  bool same = true;
  int most = 0;
  for (const int threads : {1, 2, 3, 4, 2, 1}) {
    schuss::set_num_threads(threads);
    Job job(which);
    most = std::max(most, job.train(2, go_on));
    const std::string result = job.result();
    if (first.empty()) first = result;
    same = same && result == first;
  }
  return report(same && most > 1, std::string(which.name) + " on 1 to 4 threads, at most " +
                                      std::to_string(most) + " of them used");
}

/// The same bits where every other step is one thread's alone.
bool now_shared_now_not(const Case& which) {
  std::vector<std::string> results;
  for (const auto mode : {schuss::TrialMode::kNever, schuss::TrialMode::kAlternating}) {
    const schuss::TrialMode before = schuss::set_trial_mode(mode);
    schuss::set_num_threads(3);
    Job job(which);
    job.train(2, go_on);
    results.push_back(job.result());
    schuss::set_trial_mode(before);
  }
  return report(results[0] == results[1], std::string(which.name) + ", every other step shared");
}

/// Two models trained at once give what each gives alone.
bool side_by_side(const Case& a, const Case& b) {
  schuss::set_num_threads(2);
  std::vector<std::string> alone;
  std::vector<std::unique_ptr<Job>> jobs;
  for (const Case* which : {&a, &b}) {
    Job job(*which);
    job.train(2, go_on);
    alone.push_back(job.result());
    jobs.push_back(std::make_unique<Job>(*which));
  }
  std::vector<std::thread> threads;
  for (const auto& job : jobs) threads.emplace_back([&job] { job->train(2, go_on); });
  for (std::thread& thread : threads) thread.join();
  return report(jobs[0]->result() == alone[0] && jobs[1]->result() == alone[1],
                std::string(a.name) + " and " + b.name + " at once");
}

/// While one thread trains a model another's call is a StateError, and changes nothing.
bool one_model_in_two_threads(const Case& which) {
  schuss::set_num_threads(2);
  Job undisturbed(which);
  undisturbed.train(2, go_on);

  Job job(which);
  std::atomic<int> state{0};  // 1: training is under way, 2: the other has tried
  bool refused = false;
  std::thread other([&] {
    state.wait(0);
    try {
      const schuss::HeldRows rows{job.x().data(),
                                  job.rows(),
                                  job.network().network().n_in(),
                                  job.network().network().n_in(),
                                  nullptr,
                                  nullptr};
      job.network().call(rows, false);
    } catch (const schuss::StateError&) {
      refused = true;
    }
    state.store(2);
    state.notify_all();
  });
  bool polled = false;
  job.train(2, [&] {
    if (!polled) {
      polled = true;
      state.store(1);
      state.notify_all();
      state.wait(1);
    }
    return true;
  });
  if (!polled) {  // the run was over before its first poll: let the other thread end
    state.store(1);
    state.notify_all();
  }
  other.join();
  const bool free_again = job.result() == undisturbed.result();
  return report(polled && refused && free_again, "one model wanted by two threads");
}

/// Whoever takes them, the pieces of every phase are each taken once.
bool every_piece_once() {
  constexpr int kThreads = 3;
  constexpr int kPhases = 200;
  schuss::Shares shares[2] = {schuss::Shares(kThreads), schuss::Shares(kThreads)};
  std::vector<int> taken(64);
  bool good = true;
  shares[0].deal(1);
  schuss::run_region(kThreads, [&](const schuss::Region& region) {
    for (int phase = 0; phase < kPhases; ++phase) {
      const int pieces = 1 + phase % 64;
      region.meet();
      if (region.thread == 0) shares[(phase + 1) % 2].deal(1 + (phase + 1) % 64);
      schuss::Shares& open = shares[phase % 2];
      for (auto part = open.take(region.thread); part.size > 0; part = open.take(region.thread)) {
        for (int i = part.index; i < part.index + part.size; ++i) {
          ++taken[static_cast<std::size_t>(i)];  // two takers of one piece would be a race
        }
      }
      region.meet();
      if (region.thread != 0) continue;
      for (int i = 0; i < 64; ++i) {
        good = good && taken[static_cast<std::size_t>(i)] == (i < pieces ? 1 : 0);
        taken[static_cast<std::size_t>(i)] = 0;
      }
    }
  });
  return report(good, "every piece of a phase is taken once");
}

/// A caller and helpers that come late or not at all: every piece of every phase is done once, and each
/// phase sees what the ones before it wrote. Two callers at once, and calls within a call.
bool crews() {
  const auto calls = [](int threads) {
    std::vector<int> done(64);
    bool good = true;
    for (int call = 0; call < 200; ++call) {
      schuss::with_crew(threads, [&](schuss::Crew& crew) {
        for (int phase = 0; phase < 1 + call % 4; ++phase) {
          const int pieces = 1 + (call * 7 + phase) % 64;
          crew.share(pieces, [&](int, schuss::Part part) {
            const auto begin = static_cast<int>(part.begin(pieces, 1));
            const auto end = static_cast<int>(part.end(pieces, 1));
            for (int i = begin; i < end; ++i) {
              ++done[static_cast<std::size_t>(i)];  // two takers of one piece would be a race
            }
          });
          if (phase == 2)
            schuss::with_crew(
                threads, [](schuss::Crew& inner) { inner.share(3, [](int, schuss::Part) {}); });
          for (int i = 0; i < 64; ++i) {
            good = good && done[static_cast<std::size_t>(i)] == (i < pieces ? 1 : 0);
            done[static_cast<std::size_t>(i)] = 0;
          }
        }
      });
    }
    return good;
  };
  bool good = calls(2) && calls(3);
  bool others = false;
  std::thread other([&] { others = calls(2); });
  good = calls(2) && good;
  other.join();
  bool caught = false;
  try {
    schuss::with_crew(2, [](schuss::Crew& crew) {
      crew.share(2, [](int, schuss::Part) {});
      throw std::runtime_error("leader");
    });
  } catch (const std::runtime_error& error) {
    caught = std::strcmp(error.what(), "leader") == 0;
  }
  return report(good && others && caught && calls(3), "calls with helpers");
}

/// An exception in a worker comes out of the region, and the team works on.
bool exception_in_a_worker() {
  bool caught = false;
  for (int thrower = 0; thrower < 3; ++thrower) {
    try {
      schuss::run_region(3, [&](const schuss::Region& region) {
        if (region.thread == thrower) throw std::runtime_error("worker");
      });
      caught = false;
      break;
    } catch (const std::runtime_error& error) {
      caught = std::strcmp(error.what(), "worker") == 0;
    }
  }
  std::atomic<int> worked{0};
  schuss::run_region(3, [&](const schuss::Region& region) {
    region.meet();
    worked += region.thread;
    region.meet();
  });
  return report(caught && worked == 3, "an exception in a worker");
}

}  // namespace

int main() {
  const Case tiles{"tiles", {200, 120, 96}, 384, 96};
  const Case plain{"plain", {200, 120, 96}, 384, 96, 0.0};
  const Case chunks{"chunks", {20, 24, 3}, 2048, 0};
  const Case narrow{"narrow", {40, 1}, 8192, 0};
  const Case in_place{"in place", {100, 1}, 32768, 8192, 0.9, true};
  const Case inputs{"inputs", {600, 12}, 1024, 256, 0.9, true};
  bool good = true;
  for (const Case& which : {tiles, plain, chunks, narrow, in_place, inputs}) {
    good = any_number_of_threads(which) && good;
    good = now_shared_now_not(which) && good;
  }
  good = side_by_side(tiles, chunks) && good;
  good = one_model_in_two_threads(tiles) && good;
  good = every_piece_once() && good;
  good = exception_in_a_worker() && good;
  good = crews() && good;
  return good ? 0 : 1;
}

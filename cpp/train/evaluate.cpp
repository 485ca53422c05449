// SPDX-License-Identifier: MIT
#include "train/evaluate.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <vector>

#include "base/fp_environment.hpp"
#include "kernels/dispatch.hpp"
#include "parallel/crew.hpp"
#include "train/feed.hpp"
#include "train/stopwatch.hpp"

namespace schuss {
namespace {

/// Rows that threads share between two meetings: whole chunks, some 0.2 ms of work or 1 MiB of rows.
constexpr double kWindowWork = 8e6;
constexpr index_t kWindowBytes = index_t{1} << 20;

/// Pieces of a window for each thread, taken by halves; where the weights are far it is one.
constexpr int kPiecesEach = 8;

/// How the rows of a data set are walked: windows of a few chunks, shared by threads.
template <class T>
struct Plan {
  Plan(const Network& network, const ArrayView& x) {
    far = weights_are_far<T>(network);
    index_t widest = x.cols;
    for (const Stage& stage : network.stages()) widest = std::max(widest, stage.n_out);
    work_per_row = network.work_per_row() + static_cast<double>(x.cols * element_bytes(x.type));
    const double worth = kWindowWork / (work_per_row * static_cast<double>(kChunkRows));
    const index_t fitting = kWindowBytes / ((x.cols + widest) * index_t{sizeof(T)} * kChunkRows);
    const index_t chunks = std::max<index_t>(std::min(static_cast<index_t>(worth), fitting), 1);
    rows = std::min(x.rows, chunks * kChunkRows);
    threads = crew_size(work_per_row * static_cast<double>(rows), grains(rows));
    if (threads == 1) rows = std::min(x.rows, kChunkRows);
  }

  static index_t grains(index_t n) {
    return (n + Workspace<T>::kBatchGrain - 1) / Workspace<T>::kBatchGrain;
  }
  int pieces(const Crew& crew, index_t n) const {
    const index_t most = far ? crew.threads() : kPiecesEach * crew.threads();
    return static_cast<int>(std::min(grains(n), most));
  }

  double work_per_row = 0.0;
  bool far = false;
  int threads = 1;
  index_t rows = 0;  // of a window
};

/// What stopped a thread, a cache line each.
struct alignas(64) Stop {
  RunStatus status = RunStatus::kDone;
  BadElement bad;
  index_t first = 0;  // of the rows among which it is

  /// As one thread would find it: chunk by chunk, features before targets.
  bool is_before(const Stop& other) const {
    const auto place = [](const Stop& s) {
      return std::tuple(s.first / kChunkRows, s.status == RunStatus::kBadTarget, s.first);
    };
    return other.status == RunStatus::kDone || place(*this) < place(other);
  }
};

/// Runs all rows through the network. `use.rows(thread, set, y, &bad)` sees every row's output y once,
/// several threads other rows at the same time; set.at is their place in the window; false stops with
/// kBadTarget. `use.window(n)` comes after each window of n rows, on one thread and in order.
template <class T, class Use>
RunStatus for_each_window(const Network& network, const ArrayView& x, const Plan<T>& plan,
                          BadElement* bad, const Poll& poll, Use& use) {
  Feed<T> features(x, plan.rows, true);
  Workspace<T> workspace(network, x.cols, plan.rows, Mode::kInference);
  std::vector<Stop> stops(static_cast<std::size_t>(plan.threads));
  const FpEnvironment environment;
  Stopwatch watch;
  watch.start(1e30, poll);
  RunStatus status = RunStatus::kDone;
  const auto walk = [&](int thread, index_t window, index_t begin, index_t end) {
    Stop& stop = stops[static_cast<std::size_t>(thread)];
    for (index_t at = begin; at < end; at += kChunkRows) {
      const RowSet set{nullptr, window + at, std::min(kChunkRows, end - at), at};
      Stop now{RunStatus::kDone, {}, set.first};
      Block<const T> in;
      if (!features.take(set, &in, &now.bad)) {
        now.status = RunStatus::kBadFeature;
      } else {
        workspace.forward(network, in, at, set.count);
        const Block<T> y = workspace.output();
        if (!use.rows(thread, set, Block<T>{y.row(at), y.ld}, &now.bad)) {
          now.status = RunStatus::kBadTarget;
        }
      }
      if (now.status == RunStatus::kDone) continue;
      if (now.is_before(stop)) stop = now;
      return;
    }
  };
  with_crew(plan.threads, [&](Crew& crew) {
    crew.share(kPiecesEach * crew.threads(),
               [&](int, Part part) { workspace.pack_forward(network, x.rows, part); });
    for (index_t first = 0; first < x.rows; first += plan.rows) {
      const index_t n = std::min(plan.rows, x.rows - first);
      crew.share(plan.pieces(crew, n), [&](int thread, Part part) {
        walk(thread, first, part.begin(n, Workspace<T>::kBatchGrain),
             part.end(n, Workspace<T>::kBatchGrain));
      });
      const Stop* stop = &stops.front();
      for (const Stop& other : stops) {
        if (other.status != RunStatus::kDone && other.is_before(*stop)) stop = &other;
      }
      if (stop->status != RunStatus::kDone) {
        *bad = stop->bad;
        status = stop->status;
        return;
      }
      use.window(n);
      if (watch.add_work(plan.work_per_row * static_cast<double>(n))) {
        status = RunStatus::kStopped;
        return;
      }
    }
  });
  return status;
}

/// Losses of the rows of a window, added up chunk by chunk.
template <class T>
struct LossUse {
  LossUse(const Network& network, const LossSpec& spec, const ArrayView& x, const ArrayView& target,
          index_t window_rows)
      : loss(spec, network.n_out(x.cols)),
        targets(target, loss.by_labels() ? network.n_out(x.cols) : 0, spec.ignore_index,
                window_rows, true),
        row_loss(window_rows) {}

  bool rows(int /*thread*/, const RowSet& set, Block<T> y, BadElement* bad) {
    LossBlock<T> block = loss.block();
    if (!targets.take(set, &block, bad)) return false;
    block = rows_from(block, set.at);
    block.prediction = y.data;
    block.ld_prediction = y.ld;
    block.rows = set.count;
    block.row_loss = row_loss.data() + set.at;
    loss.run(block);
    return true;
  }
  void window(index_t n) {
    for (index_t at = 0; at < n; at += kChunkRows) {
      const index_t count = std::min(kChunkRows, n - at);
      if (loss.by_labels()) {
        double sum = 0.0;
        loss.add_label_weights(targets.labels() + at, count, &sum, &counted);
        weights.add(sum);
      }
      losses.add(kernels<T>().sum_f64(row_loss.data() + at, count));
    }
  }

  BoundLoss<T> loss;
  TargetFeed<T> targets;
  AlignedBuffer<T> row_loss;
  SumTree losses;
  SumTree weights;
  index_t counted = 0;
};

template <class T>
Evaluation evaluate_as(const Network& network, const LossSpec& spec, const ArrayView& x,
                       const ArrayView& target, const Poll& poll) {
  const FpEnvironment environment;
  const Plan<T> plan(network, x);
  LossUse<T> use(network, spec, x, target, plan.rows);
  Evaluation result;
  result.status = for_each_window<T>(network, x, plan, &result.bad, poll, use);
  if (result.status != RunStatus::kDone) return result;
  if (use.loss.by_labels() && use.counted == 0) result.status = RunStatus::kAllIgnored;
  result.loss = use.loss.value(use.losses.result(), use.loss.divisor(x.rows, use.weights.result()));
  return result;
}

template <class T>
struct OutputUse {
  bool rows(int /*thread*/, const RowSet& set, Block<T> y, BadElement* /*bad*/) const {
    for (index_t r = 0; r < set.count; ++r) {
      std::memcpy(to + (set.first + r) * ld, y.row(r), static_cast<std::size_t>(width) * sizeof(T));
    }
    return true;
  }
  void window(index_t /*n*/) const {}

  T* to;
  index_t ld;
  index_t width;
};

/// The lowest index of the largest element; a NaN is larger than all.
template <class T>
index_t argmax(const T* row, index_t n) {
  index_t best = 0;
  for (index_t c = 0; c < n; ++c) {
    if (row[c] != row[c]) return c;
    if (row[c] > row[best]) best = c;
  }
  return best;
}

template <class T>
struct CorrectUse {
  struct alignas(64) Count {
    index_t correct = 0;
    index_t counted = 0;
  };

  bool rows(int thread, const RowSet& set, Block<T> y, BadElement* /*bad*/) {
    Count& count = counts[static_cast<std::size_t>(thread)];
    std::int64_t* to = wanted.data() + set.at;
    gather_labels(labels, nullptr, set.first, set.count, to);
    for (index_t r = 0; r < set.count; ++r) {
      if (to[r] == ignore_index) continue;
      const index_t got = width == 1 ? (y.row(r)[0] > threshold ? 1 : 0) : argmax(y.row(r), width);
      count.correct += got == to[r] ? 1 : 0;
      ++count.counted;
    }
    return true;
  }
  void window(index_t /*n*/) const {}

  const ArrayView& labels;
  T threshold;
  std::int64_t ignore_index;
  index_t width;
  AlignedBuffer<std::int64_t> wanted;
  std::vector<Count> counts;
};

}  // namespace

Evaluation evaluate(const Network& network, const LossSpec& loss, const ArrayView& x,
                    const ArrayView& target, const Poll& poll) {
  return dispatch_dtype(network.dtype(),
                        [&]<class T>() { return evaluate_as<T>(network, loss, x, target, poll); });
}

RunStatus predict(const Network& network, const ArrayView& x, void* to, index_t ld, BadElement* bad,
                  const Poll& poll) {
  return dispatch_dtype(network.dtype(), [&]<class T>() {
    OutputUse<T> use{static_cast<T*>(to), ld, network.n_out(x.cols)};
    return for_each_window<T>(network, x, Plan<T>(network, x), bad, poll, use);
  });
}

RunStatus count_correct(const Network& network, const ArrayView& x, const ArrayView& labels,
                        double threshold, std::int64_t ignore_index, index_t* correct,
                        index_t* counted, BadElement* bad, const Poll& poll) {
  return dispatch_dtype(network.dtype(), [&]<class T>() {
    const Plan<T> plan(network, x);
    CorrectUse<T> use{
        labels,
        static_cast<T>(threshold),
        ignore_index,
        network.n_out(x.cols),
        AlignedBuffer<std::int64_t>(plan.rows),
        std::vector<typename CorrectUse<T>::Count>(static_cast<std::size_t>(plan.threads))};
    const RunStatus status = for_each_window<T>(network, x, plan, bad, poll, use);
    for (const auto& count : use.counts) {
      *correct += count.correct;
      *counted += count.counted;
    }
    return status;
  });
}

}  // namespace schuss

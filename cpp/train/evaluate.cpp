// SPDX-License-Identifier: MIT
#include "train/evaluate.hpp"

#include <algorithm>
#include <cstring>

#include "base/fp_environment.hpp"
#include "kernels/dispatch.hpp"
#include "train/feed.hpp"
#include "train/stopwatch.hpp"

namespace schuss {
namespace {

/// Runs all rows through the network; `use(first, count, y)` sees each chunk's output, false stops
/// with kBadTarget.
template <class T, class Use>
RunStatus for_each_chunk(const Network& network, const ArrayView& x, BadElement* bad,
                         const Poll& poll, Use use) {
  const index_t chunk_rows = std::min(x.rows, kChunkRows);
  Feed<T> features(x, chunk_rows, true);
  Workspace<T> workspace(network, x.cols, chunk_rows, Mode::kInference);
  workspace.pack_forward(network, x.rows);
  const FpEnvironment environment;
  Stopwatch watch;
  watch.start(1e30, poll);
  const double work = network.work_per_row() + static_cast<double>(x.cols);
  for (index_t first = 0; first < x.rows; first += kChunkRows) {
    const index_t count = std::min(kChunkRows, x.rows - first);
    Block<const T> in;
    if (!features.take({nullptr, first, count, 0}, &in, bad)) return RunStatus::kBadFeature;
    workspace.forward(network, in, 0, count);
    if (!use(first, count, workspace.output())) return RunStatus::kBadTarget;
    if (watch.add_work(work * static_cast<double>(count))) return RunStatus::kStopped;
  }
  return RunStatus::kDone;
}

template <class T>
Evaluation evaluate_as(const Network& network, const LossSpec& spec, const ArrayView& x,
                       const ArrayView& target, const Poll& poll) {
  const FpEnvironment environment;
  const index_t chunk_rows = std::min(x.rows, kChunkRows);
  const BoundLoss<T> loss(spec, network.n_out(x.cols));
  TargetFeed<T> targets(target, loss.by_labels() ? network.n_out(x.cols) : 0, spec.ignore_index,
                        chunk_rows, true);
  AlignedBuffer<T> row_loss(chunk_rows);
  Evaluation result;
  SumTree losses;
  SumTree weights;
  index_t counted = 0;
  result.status = for_each_chunk<T>(
      network, x, &result.bad, poll, [&](index_t first, index_t count, Block<T> y) {
        LossBlock<T> block = loss.block();
        if (!targets.take({nullptr, first, count, 0}, &block, &result.bad)) return false;
        if (loss.by_labels()) {
          double sum = 0.0;
          loss.add_label_weights(block.labels, count, &sum, &counted);
          weights.add(sum);
        }
        block.prediction = y.data;
        block.ld_prediction = y.ld;
        block.rows = count;
        block.row_loss = row_loss.data();
        loss.run(block);
        losses.add(kernels<T>().sum_f64(row_loss.data(), count));
        return true;
      });
  if (result.status != RunStatus::kDone) return result;
  if (loss.by_labels() && counted == 0) result.status = RunStatus::kAllIgnored;
  result.loss = loss.value(losses.result(), loss.divisor(x.rows, weights.result()));
  return result;
}

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

}  // namespace

Evaluation evaluate(const Network& network, const LossSpec& loss, const ArrayView& x,
                    const ArrayView& target, const Poll& poll) {
  return dispatch_dtype(network.dtype(),
                        [&]<class T>() { return evaluate_as<T>(network, loss, x, target, poll); });
}

RunStatus predict(const Network& network, const ArrayView& x, void* to, index_t ld, BadElement* bad,
                  const Poll& poll) {
  const index_t width = network.n_out(x.cols);
  return dispatch_dtype(network.dtype(), [&]<class T>() {
    return for_each_chunk<T>(network, x, bad, poll, [&](index_t first, index_t count, Block<T> y) {
      for (index_t r = 0; r < count; ++r) {
        std::memcpy(static_cast<T*>(to) + (first + r) * ld, y.row(r),
                    static_cast<std::size_t>(width) * sizeof(T));
      }
      return true;
    });
  });
}

RunStatus count_correct(const Network& network, const ArrayView& x, const ArrayView& labels,
                        double threshold, std::int64_t ignore_index, index_t* correct,
                        index_t* counted, BadElement* bad, const Poll& poll) {
  const index_t width = network.n_out(x.cols);
  AlignedBuffer<std::int64_t> wanted(std::min(x.rows, kChunkRows));
  return dispatch_dtype(network.dtype(), [&]<class T>() {
    return for_each_chunk<T>(network, x, bad, poll, [&](index_t first, index_t count, Block<T> y) {
      gather_labels(labels, nullptr, first, count, wanted.data());
      for (index_t r = 0; r < count; ++r) {
        if (wanted[r] == ignore_index) continue;
        const index_t got = width == 1 ? (y.row(r)[0] > static_cast<T>(threshold) ? 1 : 0)
                                       : argmax(y.row(r), width);
        *correct += got == wanted[r] ? 1 : 0;
        ++*counted;
      }
      return true;
    });
  });
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
#include "train/batch_step.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "kernels/dispatch.hpp"

namespace schuss {
namespace {

/// Multiply-adds (or bytes of input) that make a thread worth having in a step: some 30 microseconds,
/// many times the three or four meetings of a step. With other programs running a meeting may wait
/// for a time slice, so small steps stay on one thread.
constexpr double kWorkPerThread = 1.2e6;
std::atomic<double> chosen_work_per_thread{kWorkPerThread};

/// Gradients up to this many elements are cheap to hold and add for each chunk of a window.
constexpr index_t kSmallGradient = 16 * 1024;

/// Chunks of a window for each thread: the first thread adds them while the others wait.
constexpr index_t kWindowPerThread = 4;

/// Rows that go through all layers together: as many as keep their activations in half of a 512 KiB
/// second-level cache, in whole register tiles.
template <class T>
index_t rows_per_block(const Network& network, index_t n_in) {
  index_t bytes = n_in * static_cast<index_t>(sizeof(T));
  for (const Stage& stage : network.stages()) {
    bytes += 2 * std::max<index_t>(stage.n_out, 1) * static_cast<index_t>(sizeof(T));
  }
  constexpr index_t kBudget = 256 * 1024;
  constexpr index_t kTile = 48;  // a multiple of every tile's rows
  return std::clamp<index_t>(kBudget / bytes / kTile * kTile, kTile, kChunkRows);
}

/// Rows of a chunk are shared in whole tiles of rows.
constexpr index_t kRowsGrain = 12;

}  // namespace

double set_work_per_thread(double work) {
  return chosen_work_per_thread.exchange(work > 0.0 ? work : kWorkPerThread);
}

template <class T>
BatchStep<T>::Lane::Lane(const Network& network, const LossSpec& loss, const ArrayView& x_view,
                         const ArrayView& target, index_t chunk_rows, bool shuffle)
    : workspace(network, x_view.cols, chunk_rows, Mode::kTraining),
      features(x_view, chunk_rows, !shuffle),
      targets(target, takes_labels(loss.kind) ? network.n_out(x_view.cols) : 0, loss.ignore_index,
              chunk_rows, !shuffle),
      numbers(shuffle ? chunk_rows : 0),
      row_loss(chunk_rows) {}

template <class T>
BatchStep<T>::BatchStep(const Network& network, const LossSpec& loss, Optimizer& optimizer,
                        const ArrayView& x, const ArrayView& target, index_t batch, bool shuffle,
                        index_t shards)
    : network_(network),
      optimizer_(optimizer),
      batch_(batch),
      chunk_rows_(std::min(batch, kChunkRows)),
      block_rows_(rows_per_block<T>(network, x.cols)),
      shuffle_(shuffle),
      work_per_row_(3.0 * network.work_per_row() +
                    static_cast<double>(x.cols * element_bytes(x.type))),
      map_(network, [&](const Parameter& p) { return p.requires_grad && optimizer.find(p) >= 0; }),
      shards_(shards),
      tree_(map_.size, ShardPlan(batch, shards).deepest()),
      shard_sums_(map_.size, shards),
      loss_(loss, network.n_out(x.cols)),
      order_(static_cast<std::uint64_t>(x.rows), 0, 0) {
  choose_threads();
  optimizer_.reserve_state();
  const int n_lanes = by_chunks_ ? threads_ : 1;
  for (int i = 0; i < n_lanes; ++i) {
    lanes_.push_back(std::make_unique<Lane>(network, loss, x, target, chunk_rows_, shuffle));
  }
  verdicts_.resize(static_cast<std::size_t>(threads_));
  if (by_chunks_) {
    window_ = kWindowPerThread * threads_;
    chunk_gradients_ = AlignedBuffer<T>(window_ * map_.size);
    chunk_losses_.resize(static_cast<std::size_t>(window_));
  }
  for (const GradientMap::Entry& entry : map_.entries) {
    const auto slot = static_cast<std::size_t>(optimizer_.find(*entry.parameter));
    const Layout& layout = entry.parameter->layout;
    Update update{slot, entry.offset, 0, layout.ld, layout.extent()};
    for (std::size_t s = 0; s < map_.slots.size(); ++s) {
      const bool wide = !network.stages()[s].narrow() && map_.slots[s].weight == entry.offset;
      if (wide) update.rows = layout.rows;
    }
    slots_.push_back(slot);
    updates_.push_back(update);
  }
}

template <class T>
void BatchStep<T>::choose_threads() {
  const double work = work_per_row_ * static_cast<double>(batch_);
  const double worth = std::max(1.0, work / chosen_work_per_thread.load());
  threads_ = static_cast<int>(std::min(static_cast<double>(num_threads()), worth));
  const index_t chunks = ShardPlan(batch_, shards_).chunks();
  by_chunks_ = threads_ > 1 && map_.any() && map_.size <= kSmallGradient && chunks >= threads_;
  // By tiles a thread needs rows of its own.
  if (!by_chunks_) {
    const index_t most = std::max<index_t>(1, chunk_rows_ / kRowsGrain);
    threads_ = static_cast<int>(std::min<index_t>(threads_, most));
  }
}

template <class T>
RowSet BatchStep<T>::rows_at(Lane& lane, index_t position, index_t count, index_t at) {
  if (!shuffle_) return {nullptr, position, count, at};
  index_t* numbers = lane.numbers.data() + at;
  order_.fill(static_cast<std::uint64_t>(position), count, numbers);
  return {numbers, 0, count, at};
}

/// What the batch's sum of losses is divided by; kAllIgnored when every label is ignored.
template <class T>
StepResult BatchStep<T>::find_divisor(index_t first, index_t count) {
  double label_weights = 0.0;
  if (loss_.by_labels()) {
    index_t counted = 0;
    ShardedSum weights;
    Lane& lane = *lanes_.front();
    const ShardPlan plan(count, shards_);
    const index_t chunks = plan.chunks();
    for (index_t i = 0; i < chunks; ++i) {
      const ChunkPlace place = plan.place(i);
      double sum = 0.0;
      const RowSet rows = rows_at(lane, first + place.at, place.rows, 0);
      const std::int64_t* labels = lane.targets.take_labels(rows, &bad_);
      if (labels == nullptr) return StepResult::kBadTarget;
      loss_.add_label_weights(labels, place.rows, &sum, &counted);
      weights.add(sum, place);
    }
    if (counted == 0) return StepResult::kAllIgnored;
    label_weights = weights.result();
  }
  divisor_ = loss_.divisor(count, label_weights);
  return StepResult::kDone;
}

/// Forward, loss and backward of `count` rows from `position`, which are rows `at`.. of the lane's
/// chunk: a block of rows at a time, depth first.
template <class T>
StepResult BatchStep<T>::pass(Lane& lane, index_t position, index_t count, index_t at,
                              BadElement* bad) {
  if (count == 0) return StepResult::kDone;
  const RowSet rows = rows_at(lane, position, count, at);
  Block<const T> x;
  if (!lane.features.take(rows, &x, bad)) return StepResult::kBadFeature;
  LossBlock<T> whole = loss_.block();
  if (!lane.targets.take(rows, &whole, bad)) return StepResult::kBadTarget;
  if (at == 0) lane.x = x;
  const Block<T> y = lane.workspace.output();
  const Block<T> d = lane.workspace.d_output();
  const index_t end = at + count;
  for (index_t r = at; r < end; r += block_rows_) {
    const index_t n = std::min(block_rows_, end - r);
    lane.workspace.forward(network_, x, r, n);
    LossBlock<T> block = whole;
    block.prediction = y.row(r);
    block.ld_prediction = y.ld;
    if (block.target != nullptr) block.target += r * block.ld_target;
    if (block.labels != nullptr) block.labels += r;
    block.rows = n;
    block.scale = 1.0 / divisor_;
    block.row_loss = lane.row_loss.data() + r;
    block.d_prediction = d.row(r);
    block.ld_d_prediction = d.ld;
    loss_.run(block);
    if (map_.any()) lane.workspace.backward(network_, x, r, n, map_.lowest, nullptr);
  }
  return StepResult::kDone;
}

/// The verdict that counts: the first thread's whose part failed (the lowest rows).
template <class T>
StepResult BatchStep<T>::worst_verdict() const {
  for (const Verdict& verdict : verdicts_) {
    if (verdict.result != StepResult::kDone) return verdict.result;
  }
  return StepResult::kDone;
}

template <class T>
const BadElement& BatchStep<T>::bad() const {
  for (const Verdict& verdict : verdicts_) {
    if (verdict.result != StepResult::kDone) return verdict.bad;
  }
  return bad_;
}

template <class T>
bool BatchStep<T>::set_loss(const ShardedSum& sums) {
  loss_value_ = static_cast<double>(static_cast<T>(sums.result() / divisor_));
  return std::isfinite(loss_value_);
}

template <class T>
void BatchStep<T>::begin_updates() {
  for (const std::size_t slot : slots_) optimizer_.begin(slot);
}

template <class T>
void BatchStep<T>::cancel_updates() {
  for (const std::size_t slot : slots_) optimizer_.cancel(slot);
}

/// A shard's gradient is whole: the uses of shared layers are added up, then the shards before it.
template <class T>
void BatchStep<T>::close_shard(const ChunkPlace& place) {
  for (const GradientMap::Merge& merge : map_.merges) {
    kernels<T>().add(tree_.result() + merge.from, tree_.result() + merge.to, merge.extent);
  }
  shard_sums_.close(tree_, place);
}

/// A part updates the rows of wide weights whose gradients it made; the last part all the rest.
template <class T>
void BatchStep<T>::update_part(Part part) {
  const T* gradients = tree_.result();
  for (const Update& u : updates_) {
    index_t begin = 0;
    index_t end = u.extent;
    if (u.rows > 0) {
      begin = part.begin(u.rows, Workspace<T>::kRowGrain) * u.ld;
      end = part.end(u.rows, Workspace<T>::kRowGrain) * u.ld;
    } else if (part.index != part.count - 1) {
      continue;
    }
    optimizer_.apply<T>(u.slot, gradients + u.offset + begin, begin, end - begin);
  }
}

template <class T>
StepResult BatchStep<T>::run(const Region& region, index_t first, index_t count, Stopwatch& watch) {
  if (region.thread == 0) {
    shared_result_ = find_divisor(first, count);
    stop_wanted_ = false;
  }
  const bool own = by_chunks_;  // a workspace for each thread
  Workspace<T>& workspace = lanes_[own ? static_cast<std::size_t>(region.thread) : 0]->workspace;
  const Part part = own ? Part{} : Part{region.thread, region.threads};
  workspace.pack_forward(network_, count, part);
  if (map_.any()) workspace.pack_backward(network_, map_.lowest + 1, part);
  region.meet();
  if (shared_result_ != StepResult::kDone) return shared_result_;
  return by_chunks_ ? run_chunks(region, first, count, watch)
                    : run_tiles(region, first, count, watch);
}

template <class T>
StepResult BatchStep<T>::run_tiles(const Region& region, index_t first, index_t count,
                                   Stopwatch& watch) {
  Lane& lane = *lanes_.front();
  const Part part{region.thread, region.threads};
  const bool leads = region.thread == 0;
  Verdict& verdict = verdicts_[static_cast<std::size_t>(region.thread)];
  ShardedSum losses;  // every thread adds the same sums
  const ShardPlan plan(count, shards_);
  const index_t chunks = plan.chunks();
  for (index_t i = 0; i < chunks; ++i) {
    const ChunkPlace place = plan.place(i);
    const index_t n = place.rows;
    const bool last = place.last;
    const index_t begin = part.begin(n, kRowsGrain);
    const index_t end = part.end(n, kRowsGrain);
    verdict.result = pass(lane, first + place.at + begin, end - begin, begin, &verdict.bad);
    if (leads && last) begin_updates();
    region.meet();
    StepResult result = worst_verdict();
    if (result == StepResult::kDone) {
      losses.add(kernels<T>().sum_f64(lane.row_loss.data(), n), place);
      if (last) {
        const double value = static_cast<double>(static_cast<T>(losses.result() / divisor_));
        if (!std::isfinite(value)) result = StepResult::kNonFinite;
        if (leads) loss_value_ = value;
      }
    }
    if (result != StepResult::kDone) {
      if (leads && last) cancel_updates();
      return result;
    }
    if (map_.any()) {
      lane.workspace.gradients(network_, lane.x, 0, n, map_, tree_.target(place.chunk),
                               GradientTree<T>::finish(place.chunk), part);
      if (tree_.closes(place.chunk, place.ends_shard)) {
        region.meet();
        if (leads) tree_.close(place.chunk, place.ends_shard);
        region.meet();
      }
      if (place.ends_shard && (!map_.merges.empty() || shard_sums_.any())) {
        region.meet();
        if (leads) close_shard(place);
        region.meet();
      }
      if (last) update_part(part);
    }
    if (leads) stop_wanted_ = watch.add_work(work_per_row_ * static_cast<double>(n));
    region.meet();
    if (stop_wanted_ && !last) return StepResult::kStopped;
  }
  return StepResult::kDone;
}

/// Adds a window's chunks in the tree's order.
template <class T>
void BatchStep<T>::fold(const ShardPlan& plan, index_t first_chunk, index_t n) {
  for (index_t i = 0; i < n; ++i) {
    const ChunkPlace place = plan.place(first_chunk + i);
    loss_sum_.add(chunk_losses_[static_cast<std::size_t>(i)], place);
    const T* gradient = chunk_gradients_.data() + i * map_.size;
    T* target = tree_.target(place.chunk);
    if (GradientTree<T>::finish(place.chunk) == Finish::kStore) {
      std::memcpy(target, gradient, static_cast<std::size_t>(map_.size) * sizeof(T));
    } else {
      kernels<T>().add(gradient, target, map_.size);
    }
    tree_.close(place.chunk, place.ends_shard);
    if (place.ends_shard) close_shard(place);
  }
}

template <class T>
StepResult BatchStep<T>::run_chunks(const Region& region, index_t first, index_t count,
                                    Stopwatch& watch) {
  Lane& lane = *lanes_[static_cast<std::size_t>(region.thread)];
  const Part part{region.thread, region.threads};
  const bool leads = region.thread == 0;
  Verdict& verdict = verdicts_[static_cast<std::size_t>(region.thread)];
  const ShardPlan plan(count, shards_);
  const index_t chunks = plan.chunks();
  if (leads) loss_sum_ = ShardedSum();
  for (index_t window = 0; window < chunks; window += window_) {
    const index_t n = std::min(window_, chunks - window);
    verdict.result = StepResult::kDone;
    const index_t end = part.end(n, 1);
    for (index_t i = part.begin(n, 1); i < end && verdict.result == StepResult::kDone; ++i) {
      const ChunkPlace place = plan.place(window + i);
      verdict.result = pass(lane, first + place.at, place.rows, 0, &verdict.bad);
      if (verdict.result != StepResult::kDone) break;
      chunk_losses_[static_cast<std::size_t>(i)] =
          kernels<T>().sum_f64(lane.row_loss.data(), place.rows);
      lane.workspace.gradients(network_, lane.x, 0, place.rows, map_,
                               chunk_gradients_.data() + i * map_.size, Finish::kStore);
    }
    region.meet();
    const bool last = window + n == chunks;
    if (leads) {
      shared_result_ = worst_verdict();
      if (shared_result_ == StepResult::kDone) {
        fold(plan, window, n);
        if (last && !set_loss(loss_sum_)) shared_result_ = StepResult::kNonFinite;
      }
      if (last && shared_result_ == StepResult::kDone) {
        begin_updates();
        update_part({});
      }
      stop_wanted_ = watch.add_work(work_per_row_ * static_cast<double>(n * kChunkRows));
      if (stop_wanted_ && !last) shared_result_ = StepResult::kStopped;
    }
    region.meet();
    if (shared_result_ != StepResult::kDone) return shared_result_;
  }
  return StepResult::kDone;
}

template <class T>
StepResult BatchStep<T>::copy_line(T* x, T* target) {
  Lane& lane = *lanes_.front();
  const RowSet all = rows_at(lane, 0, batch_, 0);
  Block<const T> features;
  LossBlock<T> block;
  if (!lane.features.take(all, &features, &bad_)) return StepResult::kBadFeature;
  if (!lane.targets.take(all, &block, &bad_)) return StepResult::kBadTarget;
  for (index_t r = 0; r < batch_; ++r) {
    x[r] = *features.row(r);
    target[r] = block.target[r * block.ld_target];
  }
  return StepResult::kDone;
}

template class BatchStep<float>;
template class BatchStep<double>;

}  // namespace schuss

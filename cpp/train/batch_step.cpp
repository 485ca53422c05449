// SPDX-License-Identifier: MIT
#include "train/batch_step.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/dispatch.hpp"

namespace schuss {
namespace {

/// A forced number of multiply-adds is for steps shared by tiles; by chunks a sixth of it is enough.
constexpr double kHelperShare = 1.0 / 6.0;

/// Gradients up to this many elements are cheap to hold and add for each chunk of a window.
constexpr index_t kSmallGradient = 16 * 1024;

/// Chunks of a window for each thread, which the leader adds while the others wait: enough of them to
/// make the adding and the last chunk's end small, in a fraction of a millisecond.
constexpr index_t kLeastWindow = 4;
constexpr index_t kMostWindow = 64;
constexpr double kWindowWork = 4e6;

/// Rows that go through all layers together: as many as keep their activations in the larger part of
/// a 512 KiB second-level cache, or a whole chunk where the weights are far.
template <class T>
index_t rows_per_block(const Network& network, index_t n_in) {
  if (weights_are_far<T>(network)) return kChunkRows;
  index_t row = n_in;
  for (const Stage& stage : network.stages()) row += 2 * std::max<index_t>(stage.n_out, 1);
  constexpr index_t kBytes = sizeof(T);
  constexpr index_t kBudget = 320 * 1024;
  constexpr index_t kTile = 12;  // a multiple of most tiles' rows
  return std::clamp<index_t>(kBudget / (row * kBytes) / kTile * kTile, 4 * kTile, kChunkRows);
}

}  // namespace

template <class T>
BatchStep<T>::Lane::Lane(const Network& network, const LossSpec& loss, const ArrayView& x_view,
                         const ArrayView& target, index_t chunk_rows, bool shuffle, bool trains)
    : narrow(trains && NarrowWalk<T>::fits(network)
                 ? std::make_unique<NarrowWalk<T>>(x_view, network.n_out(x_view.cols), chunk_rows)
                 : nullptr),
      few(trains && FewWalk<T>::fits(network)
              ? std::make_unique<FewWalk<T>>(x_view, chunk_rows, shuffle)
              : nullptr),
      workspace(network, x_view.cols, narrow || few ? 0 : chunk_rows, Mode::kTraining),
      features(x_view, narrow || few ? 0 : chunk_rows, !shuffle),
      targets(target, takes_labels(loss.kind) ? network.n_out(x_view.cols) : 0, loss.ignore_index,
              chunk_rows, !shuffle),
      row_loss(chunk_rows) {}

template <class T>
BatchStep<T>::BatchStep(const Network& network, const LossSpec& loss, Optimizer& optimizer,
                        const ArrayView& x, const ArrayView& target, index_t batch, bool shuffle,
                        index_t shards)
    : network_(network),
      optimizer_(optimizer),
      batch_(batch),
      chunk_rows_(std::min(batch, kChunkRows)),
      far_weights_(weights_are_far<T>(network)),
      block_rows_(rows_per_block<T>(network, x.cols)),
      shuffle_(shuffle),
      work_per_row_(3.0 * network.work_per_row() +
                    static_cast<double>(x.cols * element_bytes(x.type))),
      x_(x),
      map_(network, [&](const Parameter& p) { return p.requires_grad && optimizer.find(p) >= 0; }),
      shards_(shards),
      tree_(map_.size, ShardPlan(batch, shards).deepest()),
      shard_sums_(map_.size, shards),
      loss_(loss, network.n_out(x.cols)),
      order_(static_cast<std::uint64_t>(x.rows), 0, 0) {
  choose_threads();
  row_shares_ = Shares(choice_.team);
  weight_shares_ = Shares(choice_.team);
  progress_ = std::make_unique<Progress[]>(static_cast<std::size_t>(choice_.team));
  optimizer_.reserve_state();
  const int n_lanes = by_chunks_ ? choice_.team : 1;
  for (int i = 0; i < n_lanes; ++i) {
    lanes_.push_back(
        std::make_unique<Lane>(network, loss, x, target, chunk_rows_, shuffle, map_.any()));
  }
  // The last is for steps of one thread, which takes one stretch after the other.
  const int n_orders = choice_.team == 1 ? 1 : choice_.team + 1;
  for (int i = 0; i < n_orders; ++i) {
    const index_t ahead = i == n_orders - 1 && shuffle ? kWalkRows : 0;
    const index_t look = by_chunks_ && shuffle ? walk_rows<T>(x.cols) : 0;
    orders_.push_back({RowOrder(shuffle ? chunk_rows_ : 0, ahead, look),
                       AlignedBuffer<index_t>(by_chunks_ ? 0 : chunk_rows_)});
  }
  set_order(order_);
  verdicts_.resize(static_cast<std::size_t>(std::max<index_t>(choice_.team, window_)));
  window_gradients_ = AlignedBuffer<T>(window_ * map_.size);
  descents_.resize(network.stages().size());
  for (const GradientMap::Entry& entry : map_.entries) {
    const auto slot = static_cast<std::size_t>(optimizer_.find(*entry.parameter));
    const Layout& layout = entry.parameter->layout;
    Update update{slot, entry.offset, 0, 0, layout.ld, layout.extent()};
    for (std::size_t s = 0; s < map_.slots.size(); ++s) {
      const bool wide = !network.stages()[s].narrow() && map_.slots[s].weight == entry.offset;
      if (!wide) continue;
      update.rows = layout.rows;
      update.stage = s;
    }
    slots_.push_back(slot);
    updates_.push_back(update);
  }
}

template <class T>
void BatchStep<T>::choose_threads() {
  const double work = work_per_row_ * static_cast<double>(batch_);
  const double forced = forced_work_per_thread();
  const int most = num_threads();
  const StepShape shape{&network_, work_per_row_, batch_, chunk_rows_};
  const auto worth = [work](double each, int limit) {
    const auto team = static_cast<int>(std::clamp(work / each, 1.0, static_cast<double>(limit)));
    return ThreadChoice{team, team > 1};
  };
  const index_t chunks = ShardPlan(batch_, shards_).chunks();
  const bool narrow = map_.any() && NarrowWalk<T>::fits(network_);
  const bool light = map_.any() && map_.size <= kSmallGradient;
  by_chunks_ = narrow || (light && chunks > 1 && chunks >= most);
  if (by_chunks_) {
    const auto limit = static_cast<int>(std::min<index_t>(most, chunks));
    if (forced > 0.0) {
      choice_ = worth(kHelperShare * forced, limit);
    } else if (narrow) {
      choice_ = threads_by_narrow_chunks(shape, limit);
    } else {
      choice_ = threads_by_chunks(shape, limit);
    }
    by_chunks_ = narrow || choice_.team > 1;
  }
  if (!by_chunks_) {
    // A thread needs rows of its own, some tiles of them.
    const auto limit =
        static_cast<int>(std::clamp<index_t>(chunk_rows_ / (2 * kRowsGrain), 1, most));
    choice_ = forced > 0.0 ? worth(forced, limit)
                           : threads_by_tiles(shape, limit, kRowsGrain, Workspace<T>::row_grain());
  }
  if (trial_mode() == TrialMode::kAlternating) choice_.on_trial = choice_.team > 1;
  if (trial_mode() == TrialMode::kNever) choice_.on_trial = false;
  if (!choice_.on_trial && !choice_.shares) choice_.team = 1;
  shares_ = choice_.shares;
  choose_window();
}

template <class T>
std::uint64_t BatchStep<T>::shape() const {
  std::uint64_t number = sizeof(T);
  const auto add = [&number](index_t part) {
    number = (number ^ static_cast<std::uint64_t>(part)) * 0x9E3779B97F4A7C15U;
    number ^= number >> 32;
  };
  add(batch_);
  add(choice_.team);
  add(shuffle_ ? 1 : 0);
  for (const Stage& stage : network_.stages()) {
    add(stage.n_in);
    add(stage.n_out);
    add(static_cast<index_t>(stage.activation));
  }
  return number;
}

template <class T>
void BatchStep<T>::choose_window() {
  window_ = by_chunks_ ? 1 : 0;
  if (window_ == 0 || choice_.team == 1) return;
  const double chunk_work = work_per_row_ * static_cast<double>(kChunkRows);
  const auto worth = static_cast<index_t>(kWindowWork / chunk_work);
  const index_t fitting = kMostWindow * kSmallGradient / (16 * std::max<index_t>(map_.size, 1));
  const index_t each = std::clamp(std::min(worth, fitting), kLeastWindow, kMostWindow);
  window_ =
      std::min({each * choice_.team, ShardPlan(batch_, shards_).chunks(), Rounds::kMostPieces});
}

template <class T>
void BatchStep<T>::set_order(const Permutation& permutation) {
  order_ = permutation;
  for (ThreadOrder& order : orders_) order.rows.set(order_);
}

/// `count` rows from `position` of the epoch's order: rows `at`.. of a chunk.
template <class T>
RowSet BatchStep<T>::rows_at(int thread, index_t position, index_t count, index_t at) {
  if (!shuffle_) return {nullptr, position, count, at, 0};
  RowOrder& order = shares_ ? orders_[static_cast<std::size_t>(thread)].rows : orders_.back().rows;
  const RowOrder::Numbers numbers = order.take(position, count);
  return {numbers.at, 0, count, at, numbers.known};
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
      const RowSet rows = rows_at(0, first + place.at, place.rows, 0);
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

/// The verdict that counts among the first `count`: the one on the lowest rows of those that failed.
template <class T>
StepResult BatchStep<T>::worst_verdict(index_t count, BadElement* bad) const {
  const Verdict* worst = nullptr;
  for (index_t i = 0; i < count; ++i) {
    const Verdict& verdict = verdicts_[static_cast<std::size_t>(i)];
    if (verdict.result == StepResult::kDone) continue;
    if (worst == nullptr || verdict.at < worst->at) worst = &verdict;
  }
  if (worst == nullptr) return StepResult::kDone;
  if (bad != nullptr) *bad = worst->bad;
  return worst->result;
}

template <class T>
bool BatchStep<T>::set_loss(double sum) {
  loss_value_ = loss_.value(sum, divisor_);
  return std::isfinite(loss_value_);
}

template <class T>
void BatchStep<T>::begin_updates() {
  for (const std::size_t slot : slots_) optimizer_.begin(slot);
  for (const Update& u : updates_) {
    if (u.rows == 0) continue;
    const std::optional<double> rate = optimizer_.plain_rate(u.slot);
    descents_[u.stage] = {rate.has_value(), static_cast<T>(rate.value_or(0.0))};
  }
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

/// A part updates the rows of wide weights whose gradients it made; the last part all the rest. Weights
/// that have moved already are left out.
template <class T>
void BatchStep<T>::update_part(Part part, const Descent<T>* descents) {
  const T* gradients = tree_.result();
  for (const Update& u : updates_) {
    index_t begin = 0;
    index_t end = u.extent;
    if (u.rows > 0) {
      if (descents != nullptr && descents[u.stage].moves) continue;
      begin = part.begin(u.rows, Workspace<T>::row_grain()) * u.ld;
      end = part.end(u.rows, Workspace<T>::row_grain()) * u.ld;
    } else if (!part.is_last()) {
      continue;
    }
    optimizer_.apply<T>(u.slot, gradients + u.offset + begin, begin, end - begin);
  }
  if (!by_chunks_) lanes_.front()->workspace.repack(network_, map_, part, descents);
}

template <class T>
StepResult BatchStep<T>::run(const Region& region, index_t first, index_t count, Stopwatch& watch) {
  if (region.thread == 0) {
    shared_result_ = find_divisor(first, count);
    if (!by_chunks_) deal_rows(ShardPlan(count, shards_).place(0).rows);
    stop_wanted_ = false;
  }
  if (by_chunks_) {
    if (shared_result_ != StepResult::kDone) return shared_result_;
    const bool one = lanes_.front()->narrow != nullptr && batch_ <= kChunkRows && shards_ == 1;
    return one ? run_one_chunk(first, count, watch) : run_chunks(region, first, count, watch);
  }
  Workspace<T>& workspace = lanes_.front()->workspace;
  if (!packed_) {
    const Part part{region.thread, region.threads};
    workspace.pack_forward(network_, batch_, part);
    if (map_.any()) workspace.pack_backward(network_, map_.lowest + 1, part);
  }
  if (region.thread == 0) workspace.expect_rows(count);
  region.meet();
  if (shared_result_ != StepResult::kDone) return shared_result_;
  return run_tiles(region, first, count, watch);
}

template <class T>
StepResult BatchStep<T>::copy_line(T* x, T* target) {
  Lane& lane = *lanes_.front();
  const RowSet all = rows_at(0, 0, batch_, 0);
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

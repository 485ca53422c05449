// SPDX-License-Identifier: MIT
/// A step whose rows and weights are shared by tiles; threads meet between them.
#include <algorithm>
#include <cmath>

#include "kernels/dispatch.hpp"
#include "train/batch_step.hpp"

namespace schuss {
namespace {

/// Blocks are cut at whole register tiles of the usual heights.
constexpr index_t kBlockGrain = 6;

/// Pieces of a phase for each thread. They are taken by halves: 4, 2, 1 and 1. Each taking of rows
/// reads the weights anew, so where these are far it is one; and their gradients are cut less finely.
constexpr int kPiecesEach = 8;
constexpr int kFarPiecesEach = 4;

/// Rows that go from thread to thread at once, where these share a layer's inputs: two tiles. A chunk
/// is many of them, and a thread's inputs are many, or handing over takes as long as the work.
constexpr index_t kRowsHandedOver = 12;
constexpr index_t kLeastBlocks = 4;
constexpr index_t kLeastInputs = 128;

}  // namespace

/// Forward, loss and backward of some rows of the lane's chunk: a block of rows at a time, depth
/// first.
template <class T>
StepResult BatchStep<T>::pass(Lane& lane, const RowSet& rows, BadElement* bad) {
  if (rows.count == 0) return StepResult::kDone;
  LossBlock<T> whole = loss_.block();
  whole.scale = loss_.scale(divisor_);
  whole.row_loss = lane.row_loss.data();
  if (lane.few != nullptr) {
    if (!lane.targets.take(rows, &whole, bad)) return StepResult::kBadTarget;
    const bool good = lane.few->forward(network_.stages().front(), rows, loss_, whole, bad);
    return good ? StepResult::kDone : StepResult::kBadFeature;
  }
  Block<const T> x;
  if (!lane.features.take(rows, &x, bad)) return StepResult::kBadFeature;
  if (!lane.targets.take(rows, &whole, bad)) return StepResult::kBadTarget;
  if (rows.at == 0) lane.x = x;
  const Block<T> y = lane.workspace.output();
  const Block<T> d = lane.workspace.d_output();
  const auto blocks = static_cast<int>((rows.count + block_rows_ - 1) / block_rows_);
  for (int i = 0; i < blocks; ++i) {
    const Part block_part{i, blocks};  // as equal as whole tiles allow
    const index_t r = rows.at + block_part.begin(rows.count, kBlockGrain);
    const index_t n = rows.at + block_part.end(rows.count, kBlockGrain) - r;
    lane.workspace.forward(network_, x, r, n);
    LossBlock<T> block = rows_from(whole, r);
    block.prediction = y.row(r);
    block.ld_prediction = y.ld;
    block.rows = n;
    block.d_prediction = d.row(r);
    block.ld_d_prediction = d.ld;
    loss_.run(block);
    if (map_.any()) lane.workspace.backward(network_, x, r, n, map_.lowest, nullptr);
  }
  return StepResult::kDone;
}

/// Gradients of the lane's chunk of `count` rows.
template <class T>
void BatchStep<T>::gradients(Lane& lane, index_t count, T* arena, Finish finish, Part part,
                             const Descent<T>* descents, Fetch* fetch) {
  if (lane.few != nullptr) {
    lane.few->gradients(network_.stages().front(), count, map_, arena, finish, part,
                        Workspace<T>::row_grain());
  } else {
    lane.workspace.gradients(network_, lane.x, 0, count, map_, arena, finish, part, descents,
                             fetch);
  }
}

/// The rows of the chunk from `position` on that this thread will take first, to be asked for during
/// the products of the one before. None where they are small, or all of them are near.
template <class T>
Fetch BatchStep<T>::next_rows(const Region& region, index_t position) {
  constexpr index_t kLongRow = 1024;
  constexpr index_t kNear = index_t{1} << 22;
  constexpr index_t kLine = 64;
  Fetch fetch;
  fetch.bytes = x_.cols * element_bytes(x_.type);
  const index_t n = std::min(chunk_rows_, static_cast<index_t>(order_.size()) - position);
  if (n <= 0 || fetch.bytes < kLongRow || fetch.bytes * x_.rows < kNear ||
      x_.col_stride != element_bytes(x_.type)) {
    return fetch;
  }
  const Part part{region.thread, region.threads};
  const index_t begin = part.begin(n, kRowsGrain);
  AlignedBuffer<index_t>& next = orders_[static_cast<std::size_t>(region.thread)].next;
  fetch.count = part.end(n, kRowsGrain) - begin;
  if (shuffle_) {
    order_.fill(static_cast<std::uint64_t>(position + begin), fetch.count, next.data());
  } else {
    for (index_t i = 0; i < fetch.count; ++i) next[i] = position + begin + i;
  }
  fetch.data = x_.data;
  fetch.stride = x_.row_stride;
  fetch.numbers = next.data();
  // Evenly over the tiles of this thread, of some 6 rows and a panel.
  const Stage& stage = network_.stages()[map_.lowest];
  const index_t tiles = stage.n_in * stage.n_out / (6 * kernels<T>().packed_size(1, 1)) /
                        static_cast<index_t>(region.threads);
  const index_t lines = fetch.count * ((fetch.bytes + kLine - 1) / kLine);
  fetch.lines = std::clamp<index_t>(lines / std::max<index_t>(tiles, 1) + 1, 1, 8);
  return fetch;
}

/// While no thread takes rows.
template <class T>
void BatchStep<T>::deal_rows(index_t rows) {
  const auto grains = static_cast<int>((rows + kRowsGrain - 1) / kRowsGrain);
  const int team = choice_.team;
  row_shares_.deal(shares_ ? std::min(grains, far_weights_ ? team : kPiecesEach * team) : 1);
}

/// Whether threads share a chunk's passes by inputs instead of rows. Not where waits sleep at once.
template <class T>
bool BatchStep<T>::passes_columns(const Region& region, const Lane& lane, index_t n) const {
  return region.threads > 1 && region.spins > 0 && lane.few != nullptr && lane.few->in_place() &&
         n >= kLeastBlocks * region.threads * kRowsHandedOver &&
         network_.stages().front().n_in >= kLeastInputs * region.threads;
}

/// The passes of a chunk's n rows through the inputs that are this thread's share, some rows at a time
/// behind the thread before; the last thread adds the losses. The gradients of these inputs will be its
/// share as well, so that rows do not go from core to core.
template <class T>
typename BatchStep<T>::Verdict BatchStep<T>::pass_columns(const Region& region, Lane& lane,
                                                          index_t first, index_t n) {
  const Stage& layer = network_.stages().front();
  const Part part{region.thread, region.threads};
  const index_t begin = part.begin(layer.n_in, Workspace<T>::row_grain());
  const index_t end = part.end(layer.n_in, Workspace<T>::row_grain());
  const RowSet rows = rows_at(region.thread, first, n, 0);
  if (region.thread == 0) lane.few->remember(rows);
  Verdict verdict;
  LossBlock<T> block = loss_.block();
  block.scale = loss_.scale(divisor_);
  block.row_loss = lane.row_loss.data();
  if (part.is_last() && !lane.targets.take(rows, &block, &verdict.bad)) {
    verdict.result = StepResult::kBadTarget;  // nobody waits for the last thread
    return verdict;
  }
  for (index_t at = 0; at < n; at += kRowsHandedOver) {
    const index_t count = std::min(kRowsHandedOver, n - at);
    if (region.thread > 0) {
      wait_while(progress_[static_cast<std::size_t>(region.thread - 1)].rows, region.spins,
                 [until = at + count](index_t done) { return done < until; });
    }
    lane.few->forward_columns(layer, rows, at, count, begin, end);
    if (part.is_last()) {
      lane.few->losses(at, count, loss_, block);
    } else {
      std::atomic<index_t>& done = progress_[static_cast<std::size_t>(region.thread)].rows;
      done.store(at + count, std::memory_order_release);
      done.notify_one();
    }
  }
  return verdict;
}

/// The passes of those of a chunk's n rows that this thread gets.
template <class T>
typename BatchStep<T>::Verdict BatchStep<T>::pass_rows(const Region& region, Lane& lane,
                                                       index_t first, index_t n) {
  Verdict worst;
  for (Part part = row_shares_.take(region.thread); part.size > 0;
       part = row_shares_.take(region.thread)) {
    Verdict verdict;
    verdict.at = part.begin(n, kRowsGrain);
    const index_t count = part.end(n, kRowsGrain) - verdict.at;
    const RowSet rows = rows_at(region.thread, first + verdict.at, count, verdict.at);
    verdict.result = pass(lane, rows, &verdict.bad);
    if (verdict.result == StepResult::kDone) continue;
    if (worst.result == StepResult::kDone || verdict.at < worst.at) worst = verdict;
  }
  return worst;
}

template <class T>
StepResult BatchStep<T>::run_tiles(const Region& region, index_t first, index_t count,
                                   Stopwatch& watch) {
  Lane& lane = *lanes_.front();
  const bool leads = region.thread == 0;
  Verdict& verdict = verdicts_[static_cast<std::size_t>(region.thread)];
  ShardedSum losses;  // every thread adds the same sums
  const ShardPlan plan(count, shards_);
  const index_t chunks = plan.chunks();
  for (index_t i = 0; i < chunks; ++i) {
    const ChunkPlace place = plan.place(i);
    const index_t n = place.rows;
    const bool last = place.last;
    verdict = passes_columns(region, lane, n) ? pass_columns(region, lane, first + place.at, n)
                                              : pass_rows(region, lane, first + place.at, n);
    if (leads) {
      const int each = far_weights_ ? kFarPiecesEach : kPiecesEach;
      weight_shares_.deal(shares_ ? each * choice_.team : 1);
      if (last) begin_updates();
    }
    region.meet();
    // Nobody looks at it before all have met again.
    progress_[static_cast<std::size_t>(region.thread)].rows.store(0, std::memory_order_relaxed);
    StepResult result = worst_verdict(region.threads, leads ? &bad_ : nullptr);
    if (result == StepResult::kDone) {
      losses.add(kernels<T>().sum_f64(lane.row_loss.data(), n), place);
      if (last) {
        const double value = loss_.value(losses.result(), divisor_);
        if (!std::isfinite(value)) result = StepResult::kNonFinite;
        if (leads) loss_value_ = value;
      }
    }
    if (result != StepResult::kDone) {
      if (leads && last) cancel_updates();
      return result;
    }
    if (leads) packed_ = true;
    if (leads && !last) deal_rows(plan.place(i + 1).rows);
    if (map_.any()) {
      const bool closes = tree_.closes(place.chunk, place.ends_shard);
      const bool ends = place.ends_shard && (!map_.merges.empty() || shard_sums_.any());
      // A batch of one chunk: its gradient is whole as soon as it is made.
      const bool whole = last && place.chunk == 0 && !closes && !ends && lane.few == nullptr;
      const Descent<T>* descents = whole ? descents_.data() : nullptr;
      Fetch next = lane.few == nullptr ? next_rows(region, first + place.at + n) : Fetch{};
      for (Part part = weight_shares_.take(region.thread); part.size > 0;
           part = weight_shares_.take(region.thread)) {
        gradients(lane, n, tree_.target(place.chunk), GradientTree<T>::finish(place.chunk), part,
                  descents, &next);
        if (last && !closes && !ends) update_part(part, descents);
      }
      if (closes || ends) {
        region.meet();
        if (leads && closes) tree_.close(place.chunk, place.ends_shard);
        if (leads && ends) close_shard(place);
        region.meet();
        if (last) update_part({region.thread, region.threads});
      }
    }
    if (leads) stop_wanted_ = watch.add_work(work_per_row_ * static_cast<double>(n));
    region.meet();
    if (stop_wanted_ && !last) return StepResult::kStopped;
  }
  return StepResult::kDone;
}

template StepResult BatchStep<float>::pass(Lane&, const RowSet&, BadElement*);
template StepResult BatchStep<double>::pass(Lane&, const RowSet&, BadElement*);
template Fetch BatchStep<float>::next_rows(const Region&, index_t);
template Fetch BatchStep<double>::next_rows(const Region&, index_t);
template bool BatchStep<float>::passes_columns(const Region&, const Lane&, index_t) const;
template bool BatchStep<double>::passes_columns(const Region&, const Lane&, index_t) const;
template BatchStep<float>::Verdict BatchStep<float>::pass_columns(const Region&, Lane&, index_t,
                                                                  index_t);
template BatchStep<double>::Verdict BatchStep<double>::pass_columns(const Region&, Lane&, index_t,
                                                                    index_t);
template void BatchStep<float>::deal_rows(index_t);
template void BatchStep<double>::deal_rows(index_t);
template BatchStep<float>::Verdict BatchStep<float>::pass_rows(const Region&, Lane&, index_t,
                                                               index_t);
template BatchStep<double>::Verdict BatchStep<double>::pass_rows(const Region&, Lane&, index_t,
                                                                 index_t);
template void BatchStep<float>::gradients(Lane&, index_t, float*, Finish, Part,
                                          const Descent<float>*, Fetch*);
template void BatchStep<double>::gradients(Lane&, index_t, double*, Finish, Part,
                                           const Descent<double>*, Fetch*);
template StepResult BatchStep<float>::run_tiles(const Region&, index_t, index_t, Stopwatch&);
template StepResult BatchStep<double>::run_tiles(const Region&, index_t, index_t, Stopwatch&);

}  // namespace schuss

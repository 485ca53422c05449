// SPDX-License-Identifier: MIT
/// A step whose chunks are done by whichever thread is free, and added up by the one that leads.
#include <algorithm>
#include <cstring>

#include "kernels/dispatch.hpp"
#include "train/batch_step.hpp"

namespace schuss {

/// Chunk gradients that the tree stores need no copy when one thread does everything.
template <class T>
T* BatchStep<T>::place_of_gradient(index_t i, const ChunkPlace& place) {
  const bool stored = GradientTree<T>::finish(place.chunk) == Finish::kStore;
  if (!shares_ && stored) return tree_.target(place.chunk);
  return window_gradients_.data() + i * map_.size;
}

/// Loss and gradients of one chunk's rows; row losses in the lane.
template <class T>
StepResult BatchStep<T>::chunk_gradients(Lane& lane, const RowSet& rows, T* arena,
                                         BadElement* bad) {
  if (lane.narrow != nullptr) {
    LossBlock<T> block = loss_.block();
    if (!lane.targets.take(rows, &block, bad)) return StepResult::kBadTarget;
    if (rows.next != nullptr)
      lane.targets.fetch_ahead(rows.next, std::min(rows.next_count, rows.count));
    block.scale = loss_.scale(divisor_);
    block.row_loss = lane.row_loss.data();
    const Stage& layer = network_.stages().front();
    const bool good = lane.narrow->run(layer, rows, loss_, block, map_, arena, bad);
    return good ? StepResult::kDone : StepResult::kBadFeature;
  }
  if (lane.packed_at != step_number_) {
    lane.workspace.pack_forward(network_, batch_);
    lane.workspace.pack_backward(network_, map_.lowest + 1);
    lane.packed_at = step_number_;
  }
  const StepResult result = pass(lane, rows, bad);
  if (result != StepResult::kDone) return result;
  gradients(lane, rows.count, arena, Finish::kStore, {});
  return result;
}

/// Tells which rows its thread will probably take after a chunk's, so that they are asked for before
/// it ends. Threads that are as fast as each other take chunks in turn.
template <class T>
void BatchStep<T>::look_ahead(int thread, index_t position, RowSet* rows) {
  if (!shares_ && shuffle_) {
    rows->next = rows->numbers + rows->count;
    rows->next_count = rows->known - rows->count;
    return;
  }
  const index_t next = position + (shares_ ? choice_.team * kChunkRows : rows->count);
  if (shuffle_) {
    const RowOrder::Numbers numbers = orders_[static_cast<std::size_t>(thread)].rows.look(next);
    rows->next = numbers.at;
    rows->next_count = numbers.known;
  } else {
    rows->next_first = next;
    rows->next_count = std::max<index_t>(x_.rows - next, 0);
  }
}

/// The i-th chunk of the open round.
template <class T>
void BatchStep<T>::do_chunk(int thread, index_t i) {
  Lane& lane = *lanes_[static_cast<std::size_t>(thread)];
  Verdict& verdict = verdicts_[static_cast<std::size_t>(i)];
  const ChunkPlace place = plan_.place(window_first_ + i);
  RowSet rows = rows_at(thread, step_first_ + place.at, place.rows, 0);
  if (lane.narrow != nullptr) look_ahead(thread, step_first_ + place.at, &rows);
  verdict.result = chunk_gradients(lane, rows, place_of_gradient(i, place), &verdict.bad);
  if (verdict.result != StepResult::kDone) return;
  verdict.loss = kernels<T>().sum_f64(lane.row_loss.data(), place.rows);
}

/// Adds a window's chunks in the tree's order.
template <class T>
void BatchStep<T>::fold(index_t n) {
  for (index_t i = 0; i < n; ++i) {
    const ChunkPlace place = plan_.place(window_first_ + i);
    loss_sum_.add(verdicts_[static_cast<std::size_t>(i)].loss, place);
    const T* gradient = place_of_gradient(i, place);
    T* target = tree_.target(place.chunk);
    if (GradientTree<T>::finish(place.chunk) == Finish::kAdd) {
      kernels<T>().add(gradient, target, map_.size);
    } else if (gradient != target) {
      std::memcpy(target, gradient, static_cast<std::size_t>(map_.size) * sizeof(T));
    }
    tree_.close(place.chunk, place.ends_shard);
    if (place.ends_shard) close_shard(place);
  }
}

template <class T>
StepResult BatchStep<T>::run_chunks(const Region& region, index_t first, index_t count,
                                    Stopwatch& watch) {
  plan_ = ShardPlan(count, shards_);
  step_first_ = first;
  ++step_number_;
  loss_sum_ = ShardedSum();
  const index_t chunks = plan_.chunks();
  const index_t window = shares_ ? window_ : 1;
  for (window_first_ = 0; window_first_ < chunks; window_first_ += window) {
    const index_t n = std::min(window, chunks - window_first_);
    if (n > 1) {
      rounds_.open(region, n);
      for (index_t i = rounds_.take(); i >= 0; i = rounds_.take()) {
        do_chunk(0, i);
        rounds_.finish();
      }
      rounds_.wait(region);
    } else {
      for (index_t i = 0; i < n; ++i) do_chunk(0, i);
    }
    const StepResult result = worst_verdict(n, &bad_);
    if (result != StepResult::kDone) return result;
    fold(n);
    const index_t done = std::min(count, (window_first_ + n) * kChunkRows);
    const index_t rows = done - std::min(count, window_first_ * kChunkRows);
    stop_wanted_ = watch.add_work(work_per_row_ * static_cast<double>(rows));
    if (stop_wanted_ && window_first_ + n < chunks) return StepResult::kStopped;
  }
  if (!set_loss(loss_sum_.result())) return StepResult::kNonFinite;
  begin_updates();
  update_part({});
  return StepResult::kDone;
}

/// A batch of one chunk through one narrow layer: steps of a few hundred nanoseconds, in which finding
/// the chunk's places in plan and trees takes as long as the chunk.
template <class T>
StepResult BatchStep<T>::run_one_chunk(index_t first, index_t count, Stopwatch& watch) {
  Lane& lane = *lanes_.front();
  RowSet rows = rows_at(0, first, count, 0);
  look_ahead(0, first, &rows);
  const StepResult result = chunk_gradients(lane, rows, tree_.result(), &bad_);
  if (result != StepResult::kDone) return result;
  stop_wanted_ = watch.add_work(work_per_row_ * static_cast<double>(count));
  if (!set_loss(kernels<T>().sum_f64(lane.row_loss.data(), count))) return StepResult::kNonFinite;
  begin_updates();
  update_part({});
  return StepResult::kDone;
}

template <class T>
void BatchStep<T>::help(const Region& region) {
  rounds_.help(region, [&](index_t i) { do_chunk(region.thread, i); });
}

template float* BatchStep<float>::place_of_gradient(index_t, const ChunkPlace&);
template StepResult BatchStep<float>::chunk_gradients(Lane&, const RowSet&, float*, BadElement*);
template void BatchStep<float>::look_ahead(int, index_t, RowSet*);
template void BatchStep<float>::do_chunk(int, index_t);
template void BatchStep<float>::fold(index_t);
template StepResult BatchStep<float>::run_chunks(const Region&, index_t, index_t, Stopwatch&);
template StepResult BatchStep<float>::run_one_chunk(index_t, index_t, Stopwatch&);
template void BatchStep<float>::help(const Region&);
template double* BatchStep<double>::place_of_gradient(index_t, const ChunkPlace&);
template StepResult BatchStep<double>::chunk_gradients(Lane&, const RowSet&, double*, BadElement*);
template void BatchStep<double>::look_ahead(int, index_t, RowSet*);
template void BatchStep<double>::do_chunk(int, index_t);
template void BatchStep<double>::fold(index_t);
template StepResult BatchStep<double>::run_chunks(const Region&, index_t, index_t, Stopwatch&);
template StepResult BatchStep<double>::run_one_chunk(index_t, index_t, Stopwatch&);
template void BatchStep<double>::help(const Region&);

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// One training step, by one thread or a region of them, with the same bits.
#pragma once

#include <memory>
#include <vector>

#include "base/permutation.hpp"
#include "nn/loss.hpp"
#include "nn/shards.hpp"
#include "nn/workspace.hpp"
#include "optim/optimizer.hpp"
#include "parallel/team.hpp"
#include "train/feed.hpp"
#include "train/stopwatch.hpp"

namespace schuss {

enum class StepResult : std::uint8_t {
  kDone,
  kBadFeature,
  kBadTarget,
  kAllIgnored,
  kNonFinite,
  kStopped,
};

/// How many multiply-adds of a step make another thread worth having, for steps made from now on; 0:
/// the built-in number. For tests and measurements. Returns what it was.
double set_work_per_thread(double work);

/// Everything a step needs, allocated once.
///
/// Two ways to share the work, neither of which changes an operation:
/// - by tiles: the rows of a chunk are shared for the passes forward and back, then the rows of each
///   weight's storage for its gradient and its update;
/// - by chunks (small models, several chunks a batch): each thread does whole chunks into buffers of
///   their own, which the first thread then adds in the tree's order.
template <class T>
class BatchStep {
 public:
  BatchStep(const Network& network, const LossSpec& loss, Optimizer& optimizer, const ArrayView& x,
            const ArrayView& target, index_t batch, bool shuffle, index_t shards);

  int threads() const { return threads_; }
  /// Called by every thread of the region with the same arguments; all get the same result. Positions
  /// first..first+count-1 of the epoch's order. Unless it is kDone nothing has changed.
  StepResult run(const Region& region, index_t first, index_t count, Stopwatch& watch);

  /// The order of the rows, when they are shuffled. Not while threads run.
  void set_order(const Permutation& permutation) { order_ = permutation; }
  /// The batch's loss before the update, rounded to T.
  double loss() const { return loss_value_; }
  /// The first element that overflowed, after kBadFeature or kBadTarget.
  const BadElement& bad() const;
  /// poll() said stop; valid after a step's end.
  bool stop_wanted() const { return stop_wanted_; }
  double work_per_row() const { return work_per_row_; }
  const BoundLoss<T>& bound_loss() const { return loss_; }
  const std::vector<std::size_t>& slots() const { return slots_; }
  /// All rows in order, as contiguous columns (one feature, one target); for the line kernel.
  StepResult copy_line(T* x, T* target);

 private:
  /// What one thread works in; by tiles all threads share the first.
  struct Lane {
    Lane(const Network& network, const LossSpec& loss, const ArrayView& x, const ArrayView& target,
         index_t chunk_rows, bool shuffle);
    Workspace<T> workspace;
    Feed<T> features;
    TargetFeed<T> targets;
    AlignedBuffer<index_t> numbers;
    AlignedBuffer<T> row_loss;
    Block<const T> x;  // of the chunk under way
  };
  /// What each thread says about its part, a cache line each.
  struct alignas(64) Verdict {
    StepResult result = StepResult::kDone;
    BadElement bad;
  };
  /// How a parameter is updated by tiles.
  struct Update {
    std::size_t slot = 0;
    index_t offset = 0;  // of its gradient
    index_t rows = 0;    // of its storage, when its rows are shared; else 0
    index_t ld = 0;
    index_t extent = 0;
  };

  void choose_threads();
  RowSet rows_at(Lane& lane, index_t position, index_t count, index_t at);
  StepResult find_divisor(index_t first, index_t count);
  StepResult pass(Lane& lane, index_t position, index_t count, index_t at, BadElement* bad);
  StepResult worst_verdict() const;
  StepResult run_tiles(const Region& region, index_t first, index_t count, Stopwatch& watch);
  StepResult run_chunks(const Region& region, index_t first, index_t count, Stopwatch& watch);
  void fold(const ShardPlan& plan, index_t first_chunk, index_t n);
  void close_shard(const ChunkPlace& place);
  bool set_loss(const ShardedSum& sums);
  void begin_updates();
  void cancel_updates();
  void update_part(Part part);

  const Network& network_;
  Optimizer& optimizer_;
  index_t batch_;
  index_t chunk_rows_;
  index_t block_rows_;
  bool shuffle_;
  double work_per_row_;
  GradientMap map_;
  index_t shards_;
  GradientTree<T> tree_;
  ShardedGradient<T> shard_sums_;
  BoundLoss<T> loss_;
  Permutation order_;
  int threads_ = 1;
  bool by_chunks_ = false;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<Verdict> verdicts_;
  std::vector<Update> updates_;
  std::vector<std::size_t> slots_;
  // By chunks: the gradients and losses of a window of chunks.
  index_t window_ = 0;
  AlignedBuffer<T> chunk_gradients_;
  std::vector<double> chunk_losses_;
  ShardedSum loss_sum_;
  // Written by the first thread, read by all after they meet.
  double divisor_ = 1.0;
  StepResult shared_result_ = StepResult::kDone;
  double loss_value_ = 0.0;
  BadElement bad_;
  bool stop_wanted_ = false;
};

extern template class BatchStep<float>;
extern template class BatchStep<double>;

}  // namespace schuss

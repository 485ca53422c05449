// SPDX-License-Identifier: MIT
/// One training step, by one thread or a region of them, with the same bits.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/permutation.hpp"
#include "nn/loss.hpp"
#include "nn/shards.hpp"
#include "nn/workspace.hpp"
#include "optim/optimizer.hpp"
#include "parallel/crew.hpp"
#include "parallel/rounds.hpp"
#include "parallel/shares.hpp"
#include "parallel/team.hpp"
#include "train/feed.hpp"
#include "train/few_walk.hpp"
#include "train/narrow_walk.hpp"
#include "train/row_order.hpp"
#include "train/stopwatch.hpp"
#include "train/thread_choice.hpp"
#include "train/thread_trial.hpp"

namespace schuss {

enum class StepResult : std::uint8_t {
  kDone,
  kBadFeature,
  kBadTarget,
  kAllIgnored,
  kNonFinite,
  kStopped,
};

/// Everything a step needs, allocated once.
///
/// Two ways to share the work, neither of which changes an operation:
/// - by tiles (batch_tiles.cpp): all threads walk the same steps and meet; the rows of a chunk are
///   shared for the passes forward and back, then the rows of each weight's storage for its gradient
///   and its update (shares.hpp: whoever is done early takes from the others);
/// - by chunks (batch_chunks.cpp; one narrow layer, or a small model and several chunks a batch): one
///   thread leads through the steps, and whoever is free does whole chunks into buffers of their own,
///   which the leader then adds in the tree's order. A narrow layer alone takes its rows from the
///   user's array in one walk (narrow_walk.hpp).
template <class T>
class BatchStep {
 public:
  BatchStep(const Network& network, const LossSpec& loss, Optimizer& optimizer, const ArrayView& x,
            const ArrayView& target, index_t batch, bool shuffle, index_t shards);

  /// The team that may be had, and what is known of sharing a step with it.
  const ThreadChoice& choice() const { return choice_; }
  /// A number that tells its shape from others, for thread_trial.hpp.
  std::uint64_t shape() const;
  /// Whether the next steps are shared by the team, or made by its first thread alone, in a region of
  /// one. Between steps; the others see it after they have met.
  void share(bool shares) { shares_ = shares; }
  /// One thread of a region leads: it alone calls `run`, the others `help`, until `dismiss`. Otherwise
  /// every thread calls `run` with the same arguments and gets the same result.
  bool is_led() const { return by_chunks_; }
  /// Positions first..first+count-1 of the epoch's order. Unless it is kDone nothing has changed.
  StepResult run(const Region& region, index_t first, index_t count, Stopwatch& watch);
  void help(const Region& region);
  void dismiss() {
    if (by_chunks_) rounds_.close();
  }
  /// Before each region. Weights may have changed since the last one.
  void prepare() {
    rounds_.reset();
    packed_ = false;
  }

  /// The order of the rows, when they are shuffled. Not while other threads read it.
  void set_order(const Permutation& permutation);
  /// The batch's loss before the update, rounded to T.
  double loss() const { return loss_value_; }
  /// The first element that overflowed, after kBadFeature or kBadTarget.
  const BadElement& bad() const { return bad_; }
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
         index_t chunk_rows, bool shuffle, bool trains);
    // Networks of one layer may have one of these instead of workspace and features.
    std::unique_ptr<NarrowWalk<T>> narrow;
    std::unique_ptr<FewWalk<T>> few;
    Workspace<T> workspace;
    Feed<T> features;
    TargetFeed<T> targets;
    AlignedBuffer<T> row_loss;
    Block<const T> x;        // of the chunk under way
    index_t packed_at = -1;  // the step whose weights are packed
  };
  /// What a thread says about its part, or about a chunk that it did; a cache line each.
  struct alignas(64) Verdict {
    StepResult result = StepResult::kDone;
    BadElement bad;
    index_t at = 0;     // where its rows begin in the chunk; of chunks, all have 0
    double loss = 0.0;  // a chunk's sum
  };
  /// The rows that a thread takes next in shared steps, and those it asks for meanwhile, a cache line
  /// each.
  struct alignas(64) ThreadOrder {
    RowOrder rows;
    AlignedBuffer<index_t> next;
  };
  /// Rows of the chunk under way that have passed a thread's inputs.
  struct alignas(64) Progress {
    std::atomic<index_t> rows{0};
  };
  /// How a parameter is updated by tiles.
  struct Update {
    std::size_t slot = 0;
    index_t offset = 0;     // of its gradient
    index_t rows = 0;       // of its storage, when its rows are shared; else 0
    std::size_t stage = 0;  // whose weight it is, when its rows are shared
    index_t ld = 0;
    index_t extent = 0;
  };

  /// Rows of a chunk are shared in whole tiles of rows.
  static constexpr index_t kRowsGrain = 6;

  void choose_threads();
  void choose_window();
  RowSet rows_at(int thread, index_t position, index_t count, index_t at);
  StepResult find_divisor(index_t first, index_t count);
  StepResult worst_verdict(index_t count, BadElement* bad) const;
  StepResult pass(Lane& lane, const RowSet& rows, BadElement* bad);
  void gradients(Lane& lane, index_t count, T* arena, Finish finish, Part part,
                 const Descent<T>* descents = nullptr, Fetch* fetch = nullptr);
  Fetch next_rows(const Region& region, index_t position);
  // By tiles.
  void deal_rows(index_t rows);
  bool passes_columns(const Region& region, const Lane& lane, index_t n) const;
  Verdict pass_columns(const Region& region, Lane& lane, index_t first, index_t n);
  Verdict pass_rows(const Region& region, Lane& lane, index_t first, index_t n);
  StepResult run_tiles(const Region& region, index_t first, index_t count, Stopwatch& watch);
  // By chunks.
  StepResult run_chunks(const Region& region, index_t first, index_t count, Stopwatch& watch);
  StepResult run_one_chunk(index_t first, index_t count, Stopwatch& watch);
  void look_ahead(int thread, index_t position, RowSet* rows);
  void do_chunk(int thread, index_t i);
  StepResult chunk_gradients(Lane& lane, const RowSet& rows, T* arena, BadElement* bad);
  T* place_of_gradient(index_t i, const ChunkPlace& place);
  void fold(index_t n);
  void close_shard(const ChunkPlace& place);
  bool set_loss(double sum);
  void begin_updates();
  void cancel_updates();
  void update_part(Part part, const Descent<T>* descents = nullptr);

  const Network& network_;
  Optimizer& optimizer_;
  index_t batch_;
  index_t chunk_rows_;
  bool far_weights_;
  index_t block_rows_;
  bool shuffle_;
  double work_per_row_;
  ArrayView x_;
  GradientMap map_;
  index_t shards_;
  GradientTree<T> tree_;
  ShardedGradient<T> shard_sums_;
  BoundLoss<T> loss_;
  Permutation order_;
  ThreadChoice choice_;
  bool shares_ = false;
  bool by_chunks_ = false;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<ThreadOrder> orders_;
  std::vector<Verdict> verdicts_;
  std::vector<Update> updates_;
  std::vector<Descent<T>> descents_;  // of the step under way, one for each stage
  std::vector<std::size_t> slots_;
  // By chunks: the gradients of a window of chunks, of which there is a verdict each.
  index_t window_ = 0;
  AlignedBuffer<T> window_gradients_;
  ShardedSum loss_sum_;
  Rounds rounds_;
  // By tiles: the pieces of the phases of a chunk.
  Shares row_shares_;
  Shares weight_shares_;
  std::unique_ptr<Progress[]> progress_;  // one for each thread
  // Of the round that is open, for helpers.
  ShardPlan plan_{0, 1};
  index_t step_first_ = 0;
  index_t window_first_ = 0;
  index_t step_number_ = 0;
  // By tiles: the workspace has the weights as they are. Written while all threads share a chunk.
  bool packed_ = false;
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

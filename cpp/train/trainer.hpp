// SPDX-License-Identifier: MIT
/// The native training loop: gather, forward, loss, backward, update; nothing allocated in a step.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "nn/loss.hpp"
#include "nn/network.hpp"
#include "optim/optimizer.hpp"
#include "train/array_view.hpp"
#include "train/gather.hpp"

namespace schuss {

struct TrainOptions {
  index_t batch_size = 0;  // 0: all rows
  bool shuffle = false;
  bool drop_last = false;
  std::uint64_t seed = 0;
  std::uint64_t first_epoch = 0;  // the number that shuffles this trainer's first epoch
  index_t first_step = 0;         // steps of that epoch which are done already
  bool restore = true;            // keep the last finite parameters
  index_t shards = 1;             // nn/shards.hpp
};

enum class RunStatus : std::uint8_t {
  kDone,        // all epochs asked for are done
  kTime,        // the time given has passed
  kStopped,     // poll() said so
  kNonFinite,   // see Trainer::failure()
  kBadFeature,  // an element of X overflows the dtype: failure().bad
  kBadTarget,   // an element of y overflows the dtype: failure().bad
  kAllIgnored,  // a batch in which every label is ignored
};

struct Failure {
  std::uint64_t epoch = 0;  // counted from this trainer's first
  index_t step = 0;         // within the epoch
  index_t parameter = -1;   // the first that is not finite, by the network's order; -1: none is
  BadElement bad;
};

/// Called about once a millisecond; false stops the run.
using Poll = std::function<bool()>;

/// Trains one network on one data set. May be run in pieces: it stops between steps only, and goes
/// on where it stopped, mid-epoch or not. A step that was interrupted has changed nothing.
class Trainer {
 public:
  virtual ~Trainer() = default;
  virtual RunStatus run(index_t until_epoch, double seconds, const Poll& poll) = 0;

  /// Mean loss of each finished epoch: batch losses before each update, weighted by rows.
  const std::vector<double>& losses() const { return losses_; }
  index_t epochs_done() const { return static_cast<index_t>(losses_.size()); }
  /// Steps of the epoch under way.
  index_t steps_done() const { return step_; }
  index_t steps_per_epoch() const { return steps_per_epoch_; }
  /// Threads that share a step's work, by its size; a trial may find otherwise.
  virtual int threads() const = 0;
  const Failure& failure() const { return failure_; }

 protected:
  std::vector<double> losses_;
  index_t step_ = 0;
  index_t steps_per_epoch_ = 0;
  Failure failure_;
};

/// `optimizer` outlives the trainer. Views are valid for the trainer's life. Shapes, labels and
/// parameters were checked by the caller.
std::unique_ptr<Trainer> make_trainer(std::shared_ptr<const Network> network, const LossSpec& loss,
                                      Optimizer& optimizer, const ArrayView& x,
                                      const ArrayView& target, const TrainOptions& options);

}  // namespace schuss

// SPDX-License-Identifier: MIT
#include "train/trainer.hpp"

#include <algorithm>
#include <cmath>

#include "base/fp_environment.hpp"
#include "base/large_pages.hpp"
#include "base/permutation.hpp"
#include "kernels/dispatch.hpp"
#include "train/batch_step.hpp"
#include "train/snapshot.hpp"
#include "train/stopwatch.hpp"

namespace schuss {
namespace {

/// Lets helpers go, also when an exception ends the leader's walk.
template <class T>
struct Dismissal {
  BatchStep<T>& step;
  ~Dismissal() { step.dismiss(); }
};

/// So many losses get room before the first of a line's epochs, which are so short that copying losses
/// to larger places takes a quarter of them; fewer find memory that was used before. Memory that is not
/// written takes none.
constexpr index_t kManyLosses = index_t{1} << 19;
constexpr std::size_t kMostRoom = std::size_t{1} << 24;

template <class T>
class TrainerOf final : public Trainer {
 public:
  TrainerOf(std::shared_ptr<const Network> network, const LossSpec& loss, Optimizer& optimizer,
            const ArrayView& x, const ArrayView& target, const TrainOptions& options);

  RunStatus run(index_t until_epoch, double seconds, const Poll& poll) override;
  int threads() const override {
    const ThreadChoice& choice = step_of_.choice();
    return choice.shares ? choice.team : 1;
  }

 private:
  /// What the other threads of a team do until all meet.
  enum class Next : std::uint8_t { kShare, kWait, kEnd };

  void start_epoch();
  void finish_epoch();
  RunStatus run_steps(index_t until_epoch);
  void lead(const Region& region, Next* next, index_t until_epoch, RunStatus* status);
  bool make_step(const Region& region, index_t until_epoch, RunStatus* status);
  index_t rows_of_step() const { return std::min(batch_, n_rows_ - step_ * batch_); }
  bool keep_books(StepResult result, index_t count, index_t until_epoch, RunStatus* status);
  bool is_line() const;
  RunStatus run_line(index_t until_epoch);
  RunStatus end_line(RunStatus status, const LineRun<T>& line, index_t done);
  RunStatus fail(StepResult result);
  RunStatus check_last_update();
  void rewind();
  index_t first_bad_parameter() const;

  std::shared_ptr<const Network> network_;
  Optimizer& optimizer_;
  TrainOptions options_;
  index_t n_rows_;
  index_t batch_;
  BatchStep<T> step_of_;
  ThreadTrial trial_;
  Snapshot snapshot_;
  Stopwatch watch_;
  bool epoch_open_ = false;      // start_epoch has run for the epoch under way
  bool has_snapshot_ = false;    // of the epoch under way (or, after a bad one, the last good one)
  bool finite_at_start_ = true;  // a parameter that the user set to -inf is no failure
  double epoch_sum_ = 0.0;
  index_t epoch_rows_ = 0;
};

template <class T>
TrainerOf<T>::TrainerOf(std::shared_ptr<const Network> network, const LossSpec& loss,
                        Optimizer& optimizer, const ArrayView& x, const ArrayView& target,
                        const TrainOptions& options)
    : network_(std::move(network)),
      optimizer_(optimizer),
      options_(options),
      n_rows_(x.rows),
      batch_(options.batch_size == 0 ? x.rows : std::min(options.batch_size, x.rows)),
      step_of_(*network_, loss, optimizer, x, target, batch_, options.shuffle, options.shards) {
  steps_per_epoch_ = (options.drop_last && options.batch_size != 0)
                         ? n_rows_ / batch_
                         : (n_rows_ + batch_ - 1) / batch_;
  require(options.first_step >= 0 && options.first_step < std::max<index_t>(steps_per_epoch_, 1),
          "first_step: expected a step of the epoch");
  step_ = options.first_step;
  const ThreadChoice& choice = step_of_.choice();
  trial_ = choice.on_trial ? ThreadTrial(step_of_.shape(), choice.shares, choice.step_seconds)
                           : ThreadTrial(choice.team > 1);
  snapshot_ = Snapshot(optimizer_, step_of_.slots());
}

template <class T>
void TrainerOf<T>::start_epoch() {
  epoch_open_ = true;
  epoch_sum_ = 0.0;
  epoch_rows_ = 0;
  // Nearly all rows are seen in the first epoch: an input that turns out bad is taken back whole.
  has_snapshot_ = options_.restore || epochs_done() == 0;
  if (has_snapshot_) snapshot_.take(optimizer_);
  if (options_.shuffle) {
    step_of_.set_order(
        Permutation(static_cast<std::uint64_t>(n_rows_), options_.seed,
                    options_.first_epoch + static_cast<std::uint64_t>(epochs_done())));
  }
}

template <class T>
void TrainerOf<T>::finish_epoch() {
  losses_.push_back(steps_per_epoch_ == 1 ? step_of_.loss()
                                          : epoch_sum_ / static_cast<double>(epoch_rows_));
  step_ = 0;
  epoch_open_ = false;
}

template <class T>
RunStatus TrainerOf<T>::fail(StepResult result) {
  failure_ = {static_cast<std::uint64_t>(epochs_done()), step_, -1, step_of_.bad()};
  if (result == StepResult::kStopped) return RunStatus::kStopped;
  if (result != StepResult::kNonFinite) {
    if (has_snapshot_) rewind();
    if (result == StepResult::kBadFeature) return RunStatus::kBadFeature;
    return result == StepResult::kBadTarget ? RunStatus::kBadTarget : RunStatus::kAllIgnored;
  }
  failure_.parameter = first_bad_parameter();
  if (failure_.parameter >= 0 && options_.restore) rewind();
  return RunStatus::kNonFinite;
}

/// Back to the start of the epoch under way.
template <class T>
void TrainerOf<T>::rewind() {
  snapshot_.restore(optimizer_);
  step_ = epochs_done() == 0 ? options_.first_step : 0;
  epoch_open_ = false;
}

/// By the network's order; -1 when all are finite.
template <class T>
index_t TrainerOf<T>::first_bad_parameter() const {
  const auto& parameters = network_->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = *parameters[i];
    if (!kernels<T>().all_finite(p.ptr<T>(), p.layout.extent())) return static_cast<index_t>(i);
  }
  return -1;
}

/// The last update of a run is followed by no loss that would show an overflow.
template <class T>
RunStatus TrainerOf<T>::check_last_update() {
  const index_t bad = first_bad_parameter();
  if (bad < 0 || !finite_at_start_) return RunStatus::kDone;
  failure_ = {static_cast<std::uint64_t>(epochs_done() - 1), steps_per_epoch_ - 1, bad, {}};
  if (options_.restore) snapshot_.restore(optimizer_);
  return RunStatus::kNonFinite;
}

/// The first thread keeps the books. Where it leads, the others only help; else all walk the same
/// steps, and wait while it does, or while it makes steps alone.
template <class T>
RunStatus TrainerOf<T>::run_steps(index_t until_epoch) {
  if (epochs_done() >= until_epoch) return RunStatus::kDone;
  if (!epoch_open_) start_epoch();
  const auto epochs = static_cast<double>(until_epoch - epochs_done());
  const bool team = trial_.begin_run(epochs * static_cast<double>(steps_per_epoch_));
  step_of_.prepare();
  step_of_.share(trial_.shares());
  RunStatus status = RunStatus::kDone;
  // What all do next, told anew for each meeting: who comes late to read it must not find what is told
  // at the one after.
  Next next[2] = {trial_.shares() ? Next::kShare : Next::kWait, Next::kEnd};
  run_region(team ? step_of_.choice().team : 1, [&](const Region& region) {
    if (region.thread == 0) {
      const Dismissal<T> dismissal{step_of_};
      return lead(region, next, until_epoch, &status);
    }
    if (step_of_.is_led()) return step_of_.help(region);
    for (int at = 0; next[at] != Next::kEnd; at ^= 1) {
      if (next[at] == Next::kShare) step_of_.run(region, step_ * batch_, rows_of_step(), watch_);
      region.meet();
    }
  });
  trial_.end_run();
  return status == RunStatus::kDone ? check_last_update() : status;
}

/// The first thread's part of a run: all of it, or what the others have no share in.
template <class T>
void TrainerOf<T>::lead(const Region& region, Next* next, index_t until_epoch, RunStatus* status) {
  Barrier nobody(1, 0);
  const Region alone{0, 1, &nobody, nullptr, 0};
  bool go_on = true;
  trial_.begin_steps();
  for (int at = 0; go_on; at ^= 1) {
    bool meets = false;  // a shared step has not ended before all meet, nor do they know of another
    while (go_on && !meets) {
      meets = !step_of_.is_led() && trial_.shares();
      go_on = make_step(trial_.shares() ? region : alone, until_epoch, status);
      meets = meets || (!step_of_.is_led() && trial_.shares());
    }
    if (!go_on) trial_.end_steps();
    if (step_of_.is_led()) return;
    next[at ^ 1] = !go_on ? Next::kEnd : trial_.shares() ? Next::kShare : Next::kWait;
    region.meet();
  }
}

/// False: it was the run's last.
template <class T>
bool TrainerOf<T>::make_step(const Region& region, index_t until_epoch, RunStatus* status) {
  const index_t count = rows_of_step();
  const StepResult result = step_of_.run(region, step_ * batch_, count, watch_);
  if (trial_.is_on()) {
    trial_.end_step(static_cast<double>(count) / static_cast<double>(batch_));
    step_of_.share(trial_.shares());
  }
  return keep_books(result, count, until_epoch, status);
}

/// After a step; false ends the run.
template <class T>
bool TrainerOf<T>::keep_books(StepResult result, index_t count, index_t until_epoch,
                              RunStatus* status) {
  if (result != StepResult::kDone) {
    *status = fail(result);
    return false;
  }
  epoch_sum_ += step_of_.loss() * static_cast<double>(count);
  epoch_rows_ += count;
  if (++step_ == steps_per_epoch_) finish_epoch();
  if (step_of_.stop_wanted()) {
    *status = RunStatus::kStopped;
    return false;
  }
  if (epochs_done() == until_epoch) return false;
  if (watch_.time_is_up()) {
    *status = RunStatus::kTime;
    return false;
  }
  if (!epoch_open_) start_epoch();
  return true;
}

/// One weight (and bias), all rows in one chunk and in order, plain SGD on the squared error: the line
/// kernel does whole epochs.
template <class T>
bool TrainerOf<T>::is_line() const {
  const Stage& stage = network_->stages().front();
  if (network_->stages().size() != 1 || !stage.dense() || stage.n_in != 1 || stage.n_out != 1) {
    return false;
  }
  const std::size_t n_parameters = stage.bias == nullptr ? 1 : 2;
  if (stage.activation != Activation::kIdentity || step_of_.slots().size() != n_parameters ||
      step_of_.bound_loss().spec().kind != LossKind::kMSE || options_.shuffle ||
      n_rows_ > kChunkRows || options_.shards != 1 || steps_per_epoch_ != 1 || batch_ != n_rows_ ||
      optimizer_.method() != Method::kSGD) {
    return false;
  }
  for (const std::size_t slot : step_of_.slots()) {
    const GroupOptions& o = optimizer_.groups()[optimizer_.slots()[slot].group];
    const GroupOptions& first = optimizer_.groups()[optimizer_.slots()[step_of_.slots()[0]].group];
    if (o.momentum != 0.0 || o.weight_decay != 0.0 || o.maximize || o.lr != first.lr) return false;
  }
  return true;
}

/// Back to where the last whole step started, when that step overflowed a parameter.
template <class T>
RunStatus TrainerOf<T>::end_line(RunStatus status, const LineRun<T>& line, index_t done) {
  if (status != RunStatus::kNonFinite || failure_.parameter < 0 || !options_.restore || done == 0) {
    return status;
  }
  *line.weight = line.previous_weight;
  if (line.bias != nullptr) *line.bias = line.previous_bias;
  for (const std::size_t slot : step_of_.slots()) optimizer_.slots()[slot].state.step += done - 1;
  return status;
}

template <class T>
RunStatus TrainerOf<T>::run_line(index_t until_epoch) {
  const Stage& stage = network_->stages().front();
  AlignedBuffer<T> columns(2 * kChunkRows);
  const StepResult copied = step_of_.copy_line(columns.data(), columns.data() + kChunkRows);
  if (copied != StepResult::kDone) return fail(copied);
  LineRun<T> line;
  line.x = columns.data();
  line.target = columns.data() + kChunkRows;
  line.rows = n_rows_;
  line.weight = stage.weight->ptr<T>();
  line.bias = stage.bias == nullptr ? nullptr : stage.bias->ptr<T>();
  line.lr = optimizer_.groups()[optimizer_.slots()[step_of_.slots()[0]].group].lr;
  line.divisor = step_of_.bound_loss().divisor(n_rows_, 0.0);
  snapshot_.take(optimizer_);
  const double work = step_of_.work_per_row() * static_cast<double>(n_rows_);
  const auto most = static_cast<index_t>(1.0 + Stopwatch::kWorkPerLook / work);
  if (losses_.empty() && until_epoch >= kManyLosses) {
    losses_.reserve(std::min(static_cast<std::size_t>(until_epoch), kMostRoom));
    ask_for_large_pages(losses_.data(), losses_.capacity() * sizeof(double));
  }
  index_t in_all = 0;
  while (epochs_done() < until_epoch) {
    const index_t first = epochs_done();
    line.steps = std::min(most, until_epoch - first);
    losses_.resize(static_cast<std::size_t>(first + line.steps));
    line.losses = losses_.data() + first;
    const index_t done = kernels<T>().line(line);
    losses_.resize(static_cast<std::size_t>(first + done));
    for (const std::size_t slot : step_of_.slots()) optimizer_.slots()[slot].state.step += done;
    in_all += done;
    if (done < line.steps) return end_line(fail(StepResult::kNonFinite), line, in_all);
    if (watch_.add_work(work * static_cast<double>(done))) return RunStatus::kStopped;
    if (watch_.time_is_up()) break;
  }
  if (epochs_done() < until_epoch) return RunStatus::kTime;
  return end_line(check_last_update(), line, in_all);
}

template <class T>
RunStatus TrainerOf<T>::run(index_t until_epoch, double seconds, const Poll& poll) {
  const BusyGuard guard(optimizer_.busy(), "the optimizer");
  const VersionBump bump(*network_);
  const FpEnvironment environment;
  finite_at_start_ = first_bad_parameter() < 0;
  optimizer_.reserve_state();  // options may have changed since the last run
  watch_.start(seconds, poll);
  return is_line() ? run_line(until_epoch) : run_steps(until_epoch);
}

}  // namespace

std::unique_ptr<Trainer> make_trainer(std::shared_ptr<const Network> network, const LossSpec& loss,
                                      Optimizer& optimizer, const ArrayView& x,
                                      const ArrayView& target, const TrainOptions& options) {
  const FpEnvironment environment;
  const DType dtype = network->dtype();
  return dispatch_dtype(dtype, [&]<class T>() -> std::unique_ptr<Trainer> {
    return std::make_unique<TrainerOf<T>>(std::move(network), loss, optimizer, x, target, options);
  });
}

}  // namespace schuss

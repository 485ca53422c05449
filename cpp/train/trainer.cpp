// SPDX-License-Identifier: MIT
#include "train/trainer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/dispatch.hpp"
#include "train/snapshot.hpp"
#include "train/stopwatch.hpp"

namespace schuss {
namespace {

template <class T>
class TrainerOf final : public Trainer {
 public:
  TrainerOf(std::shared_ptr<const Network> network, const LossSpec& loss, Optimizer& optimizer,
            const ArrayView& x, const ArrayView& target, const TrainOptions& options);

  RunStatus run(index_t until_epoch, double seconds, const Poll& poll) override;

 private:
  enum class StepResult : std::uint8_t {
    kDone,
    kStopped,
    kNonFinite,
    kBadFeature,
    kBadTarget,
    kAllIgnored,
  };

  void start_epoch();
  void finish_epoch();
  StepResult step();
  StepResult accumulate(index_t first, index_t count, index_t chunk, double scale);
  bool find_divisor(index_t first, index_t count, double* divisor);
  RowSet rows_at(index_t position, index_t count);
  void update();
  bool is_line() const;
  RunStatus run_line(index_t until_epoch);
  RunStatus fail_line(const LineRun<T>& line, index_t done);
  RunStatus fail(StepResult result);

  std::shared_ptr<const Network> network_;
  Optimizer& optimizer_;
  TrainOptions options_;
  index_t n_rows_;
  index_t batch_;
  index_t chunk_rows_;
  index_t block_rows_;
  GradientMap map_;
  GradientTree<T> tree_;
  Workspace<T> workspace_;
  BoundLoss<T> loss_;
  Feed<T> features_;
  TargetFeed<T> targets_;
  AlignedBuffer<index_t> numbers_;
  AlignedBuffer<T> row_loss_;
  std::vector<std::size_t> slots_;  // optimizer slot of each of the map's entries
  Permutation permutation_;
  Snapshot snapshot_;
  Stopwatch watch_;
  SumTree loss_tree_;
  double epoch_sum_ = 0.0;
  double batch_loss_ = 0.0;
  double work_per_row_;
};

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

template <class T>
TrainerOf<T>::TrainerOf(std::shared_ptr<const Network> network, const LossSpec& loss,
                        Optimizer& optimizer, const ArrayView& x, const ArrayView& target,
                        const TrainOptions& options)
    : network_(std::move(network)),
      optimizer_(optimizer),
      options_(options),
      n_rows_(x.rows),
      batch_(options.batch_size == 0 ? x.rows : std::min(options.batch_size, x.rows)),
      chunk_rows_(std::min(batch_, kChunkRows)),
      block_rows_(rows_per_block<T>(*network_, x.cols)),
      map_(*network_,
           [&](const Parameter& p) { return p.requires_grad && optimizer.find(p) >= 0; }),
      tree_(map_.size, (batch_ + kChunkRows - 1) / kChunkRows),
      workspace_(*network_, x.cols, chunk_rows_, Mode::kTraining),
      loss_(loss, network_->n_out(x.cols)),
      features_(x, chunk_rows_),
      targets_(target, takes_labels(loss.kind), chunk_rows_),
      numbers_(options.shuffle ? chunk_rows_ : 0),
      row_loss_(chunk_rows_),
      permutation_(static_cast<std::uint64_t>(x.rows), options.seed, options.first_epoch),
      work_per_row_(3.0 * network_->work_per_row() + static_cast<double>(x.cols)) {
  optimizer_.reserve_state();
  for (const GradientMap::Entry& entry : map_.entries) {
    slots_.push_back(static_cast<std::size_t>(optimizer_.find(*entry.parameter)));
  }
  steps_per_epoch_ = (options.drop_last && options.batch_size != 0)
                         ? n_rows_ / batch_
                         : (n_rows_ + batch_ - 1) / batch_;
  if (options_.restore) snapshot_ = Snapshot(optimizer_, slots_);
}

template <class T>
RowSet TrainerOf<T>::rows_at(index_t position, index_t count) {
  if (!options_.shuffle) return {nullptr, position, count};
  permutation_.fill(static_cast<std::uint64_t>(position), count, numbers_.data());
  return {numbers_.data(), 0, count};
}

template <class T>
void TrainerOf<T>::start_epoch() {
  epoch_sum_ = 0.0;
  if (options_.restore) snapshot_.take(optimizer_);
  if (options_.shuffle) {
    permutation_ = Permutation(static_cast<std::uint64_t>(n_rows_), options_.seed,
                               options_.first_epoch + static_cast<std::uint64_t>(epochs_done()));
  }
}

template <class T>
void TrainerOf<T>::finish_epoch() {
  const index_t rows = std::min(n_rows_, steps_per_epoch_ * batch_);
  losses_.push_back(steps_per_epoch_ == 1 ? batch_loss_
                                          : epoch_sum_ / static_cast<double>(rows));
  step_ = 0;
}

/// What the batch's sum of losses is divided by; false when every label is ignored.
template <class T>
bool TrainerOf<T>::find_divisor(index_t first, index_t count, double* divisor) {
  double label_weights = 0.0;
  if (loss_.by_labels()) {
    index_t counted = 0;
    SumTree tree;
    for (index_t at = 0; at < count; at += kChunkRows) {
      const index_t n = std::min(kChunkRows, count - at);
      double sum = 0.0;
      loss_.add_label_weights(targets_.labels(rows_at(first + at, n)), n, &sum, &counted);
      tree.add(sum);
    }
    if (counted == 0) return false;
    label_weights = tree.result();
  }
  *divisor = loss_.divisor(count, label_weights);
  return true;
}

/// Loss and gradients of one chunk: forward and backward a block of rows at a time, depth first.
template <class T>
typename TrainerOf<T>::StepResult TrainerOf<T>::accumulate(index_t first, index_t count,
                                                           index_t chunk, double scale) {
  const RowSet rows = rows_at(first, count);
  Block<const T> x;
  if (!features_.take(rows, &x)) return StepResult::kBadFeature;
  LossBlock<T> whole = loss_.block();
  if (!targets_.take(rows, &whole)) return StepResult::kBadTarget;
  for (index_t at = 0; at < count; at += block_rows_) {
    const index_t n = std::min(block_rows_, count - at);
    workspace_.forward(*network_, x, at, n);
    LossBlock<T> block = whole;
    const Block<T> y = workspace_.output();
    const Block<T> d = workspace_.d_output();
    block.prediction = y.row(at);
    block.ld_prediction = y.ld;
    if (block.target != nullptr) block.target += at * block.ld_target;
    if (block.labels != nullptr) block.labels += at;
    block.rows = n;
    block.scale = scale;
    block.row_loss = row_loss_.data() + at;
    block.d_prediction = d.row(at);
    block.ld_d_prediction = d.ld;
    loss_.run(block);
    if (map_.any()) workspace_.backward(*network_, x, at, n, map_.lowest, nullptr);
  }
  loss_tree_.add(kernels<T>().sum_f64(row_loss_.data(), count));
  if (map_.any()) {
    workspace_.gradients(*network_, x, 0, count, map_, tree_.target(chunk),
                         GradientTree<T>::finish(chunk));
  }
  return StepResult::kDone;
}

template <class T>
typename TrainerOf<T>::StepResult TrainerOf<T>::step() {
  const index_t first = step_ * batch_;
  const index_t count = std::min(batch_, n_rows_ - first);
  double divisor = 1.0;
  if (!find_divisor(first, count, &divisor)) return StepResult::kAllIgnored;
  workspace_.pack_forward(*network_, count);
  if (map_.any()) workspace_.pack_backward(*network_, map_.lowest + 1);
  loss_tree_ = SumTree();
  for (index_t at = 0, chunk = 0; at < count; at += kChunkRows, ++chunk) {
    const index_t n = std::min(kChunkRows, count - at);
    const StepResult result = accumulate(first + at, n, chunk, 1.0 / divisor);
    if (result != StepResult::kDone) return result;
    if (map_.any()) tree_.close(chunk, at + n == count);
    if (watch_.add_work(work_per_row_ * static_cast<double>(n))) return StepResult::kStopped;
  }
  batch_loss_ = static_cast<double>(static_cast<T>(loss_tree_.result() / divisor));
  if (!std::isfinite(batch_loss_)) return StepResult::kNonFinite;
  update();
  epoch_sum_ += batch_loss_ * static_cast<double>(count);
  return StepResult::kDone;
}

template <class T>
void TrainerOf<T>::update() {
  T* gradients = tree_.result();
  for (const GradientMap::Merge& merge : map_.merges) {
    kernels<T>().add(gradients + merge.from, gradients + merge.to, merge.extent);
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const GradientMap::Entry& entry = map_.entries[i];
    optimizer_.begin(slots_[i]);
    optimizer_.apply<T>(slots_[i], gradients + entry.offset, 0, entry.parameter->layout.extent());
  }
}

template <class T>
RunStatus TrainerOf<T>::fail(StepResult result) {
  failure_ = {static_cast<std::uint64_t>(epochs_done()), step_, -1, {}};
  switch (result) {
    case StepResult::kStopped:
      return RunStatus::kStopped;
    case StepResult::kBadFeature:
      failure_.bad = features_.bad();
      return RunStatus::kBadFeature;
    case StepResult::kBadTarget:
      failure_.bad = targets_.bad();
      return RunStatus::kBadTarget;
    case StepResult::kAllIgnored:
      return RunStatus::kAllIgnored;
    default:
      break;
  }
  const auto& parameters = network_->parameters();
  for (std::size_t i = 0; i < parameters.size() && failure_.parameter < 0; ++i) {
    const Parameter& p = *parameters[i];
    if (!kernels<T>().all_finite(p.ptr<T>(), p.layout.extent())) {
      failure_.parameter = static_cast<index_t>(i);
    }
  }
  if (failure_.parameter >= 0 && options_.restore) {
    snapshot_.restore(optimizer_);
    step_ = 0;
  }
  return RunStatus::kNonFinite;
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
  if (stage.activation != Activation::kIdentity || map_.entries.size() != n_parameters ||
      loss_.spec().kind != LossKind::kMSE || options_.shuffle || n_rows_ > kChunkRows ||
      steps_per_epoch_ != 1 || optimizer_.method() != Method::kSGD) {
    return false;
  }
  for (const std::size_t slot : slots_) {
    const GroupOptions& o = optimizer_.groups()[optimizer_.slots()[slot].group];
    const GroupOptions& first = optimizer_.groups()[optimizer_.slots()[slots_[0]].group];
    if (o.momentum != 0.0 || o.weight_decay != 0.0 || o.maximize || o.lr != first.lr) return false;
  }
  return true;
}

/// Back to where the last whole step started, when that step overflowed a parameter.
template <class T>
RunStatus TrainerOf<T>::fail_line(const LineRun<T>& line, index_t done) {
  const RunStatus status = fail(StepResult::kNonFinite);
  if (failure_.parameter < 0 || !options_.restore || done == 0) return status;
  *line.weight = line.previous_weight;
  if (line.bias != nullptr) *line.bias = line.previous_bias;
  for (const std::size_t slot : slots_) optimizer_.slots()[slot].state.step += done - 1;
  return status;
}

template <class T>
RunStatus TrainerOf<T>::run_line(index_t until_epoch) {
  const Stage& stage = network_->stages().front();
  const RowSet all{nullptr, 0, n_rows_};
  Block<const T> x;
  LossBlock<T> target;
  if (!features_.take(all, &x)) return fail(StepResult::kBadFeature);
  if (!targets_.take(all, &target)) return fail(StepResult::kBadTarget);
  AlignedBuffer<T> columns(2 * kChunkRows);
  LineRun<T> line;
  for (index_t r = 0; r < n_rows_; ++r) {
    columns[r] = *x.row(r);
    columns[kChunkRows + r] = target.target[r * target.ld_target];
  }
  line.x = columns.data();
  line.target = columns.data() + kChunkRows;
  line.rows = n_rows_;
  line.weight = stage.weight->ptr<T>();
  line.bias = stage.bias == nullptr ? nullptr : stage.bias->ptr<T>();
  line.lr = optimizer_.groups()[optimizer_.slots()[slots_[0]].group].lr;
  line.divisor = loss_.divisor(n_rows_, 0.0);
  if (options_.restore) snapshot_.take(optimizer_);
  const double work = work_per_row_ * static_cast<double>(n_rows_);
  const auto most = static_cast<index_t>(1.0 + Stopwatch::kWorkPerLook / work);
  while (epochs_done() < until_epoch) {
    const index_t first = epochs_done();
    line.steps = std::min(most, until_epoch - first);
    losses_.resize(static_cast<std::size_t>(first + line.steps));
    line.losses = losses_.data() + first;
    const index_t done = kernels<T>().line(line);
    losses_.resize(static_cast<std::size_t>(first + done));
    for (const std::size_t slot : slots_) optimizer_.slots()[slot].state.step += done;
    if (done < line.steps) return fail_line(line, done);
    if (watch_.add_work(work * static_cast<double>(done))) return RunStatus::kStopped;
    if (watch_.time_is_up()) break;
  }
  return epochs_done() >= until_epoch ? RunStatus::kDone : RunStatus::kTime;
}

template <class T>
RunStatus TrainerOf<T>::run(index_t until_epoch, double seconds, const Poll& poll) {
  const BusyGuard guard(optimizer_.busy(), "the optimizer");
  const VersionBump bump(*network_);
  watch_.start(seconds, poll);
  if (is_line()) return run_line(until_epoch);
  while (epochs_done() < until_epoch) {
    if (step_ == 0) start_epoch();
    while (step_ < steps_per_epoch_) {
      const StepResult result = step();
      if (result != StepResult::kDone) return fail(result);
      ++step_;
      if (watch_.time_is_up() && step_ < steps_per_epoch_) return RunStatus::kTime;
    }
    finish_epoch();
    if (watch_.time_is_up()) break;
  }
  return epochs_done() >= until_epoch ? RunStatus::kDone : RunStatus::kTime;
}

}  // namespace

std::unique_ptr<Trainer> make_trainer(std::shared_ptr<const Network> network, const LossSpec& loss,
                                      Optimizer& optimizer, const ArrayView& x,
                                      const ArrayView& target, const TrainOptions& options) {
  const DType dtype = network->dtype();
  return dispatch_dtype(dtype, [&]<class T>() -> std::unique_ptr<Trainer> {
    return std::make_unique<TrainerOf<T>>(std::move(network), loss, optimizer, x, target, options);
  });
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
#include "train/thread_trial.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>

#include "parallel/team.hpp"

namespace schuss {
namespace {

std::atomic<TrialMode> mode_of_trials{TrialMode::kTimed};

/// Runs that are shorter go by the estimate.
constexpr double kShortRun = 32.0;  // steps
constexpr double kShortSeconds = 1e-3;

/// Steps of a probe, of which the first does not count; and of a window.
constexpr index_t kProbed = 4;
constexpr double kHopeless = 8.0;  // steps of one thread, after which a probe has failed
constexpr double kWindowSeconds = 0.4e-3;
constexpr double kLeastWindow = 4.0;

/// Until one thread is measured anew.
constexpr double kReferenceEvery = 0.05;  // seconds, and at least
constexpr double kReferenceSteps = 400.0;

/// Windows are held against sharing by their time over that of one thread, less 1. It takes two.
constexpr double kMostSuspicion = 0.4;
constexpr double kEnoughSuspicion = 0.5;

/// A pause over what was lost before it: after the first failure, and after some in a row, as each
/// doubles it. And its limits.
constexpr double kFirstPauseOverLoss = 8.0;
constexpr double kPauseOverLoss = 64.0;
/// Sharing that has held for so many seconds did not fail in a row.
constexpr double kHeld = 0.01;
constexpr double kShortestPause = 4e-3;
constexpr double kLongestPause = 1.0;

/// Of a step's time on one thread, from one window to the next: one in which another program had the
/// processor is no measure.
constexpr double kMostRise = 1.2;

/// The latest trials of the process. Whoever finds it in use does without: so may a child that was
/// forked at that moment.
class Memory {
 public:
  void keep(std::uint64_t shape, const ThreadTrial& trial) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return;
    auto place = std::find_if(places_.begin(), places_.end(),
                              [&](const Place& p) { return p.shape == shape; });
    if (place == places_.end()) {
      place = places_.begin() + static_cast<std::ptrdiff_t>(oldest_);
      oldest_ = (oldest_ + 1) % kPlaces;
    }
    *place = {shape, trial};
  }
  void recall(std::uint64_t shape, ThreadTrial* trial) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return;
    for (const Place& place : places_) {
      if (place.trial.is_on() && place.shape == shape) *trial = place.trial;
    }
  }

 private:
  static constexpr std::size_t kPlaces = 64;
  struct Place {
    std::uint64_t shape = 0;
    ThreadTrial trial;
  };
  std::mutex mutex_;
  std::array<Place, kPlaces> places_;
  std::size_t oldest_ = 0;
};

Memory& memory() {
  static Memory instance;
  return instance;
}

}  // namespace

TrialMode set_trial_mode(TrialMode mode) { return mode_of_trials.exchange(mode); }
TrialMode trial_mode() { return mode_of_trials.load(); }

ThreadTrial::ThreadTrial(std::uint64_t shape, bool shares, double step_seconds, Clock now)
    : on_(true),
      alternating_(trial_mode() == TrialMode::kAlternating),
      shape_(shape),
      now_(now),
      shares_(shares),
      alone_seconds_(step_seconds),
      over_loss_(kFirstPauseOverLoss) {
  if (!alternating_) memory().recall(shape, this);
}

void ThreadTrial::begin_steps() {
  if (!on_) return;
  const double begin = last_;
  last_ = now_();
  calling_seconds_ = last_ - begin;
}

void ThreadTrial::end_run() {
  if (!on_ || alternating_ || phase_ == Phase::kUndecided) return;
  if (has_team_ && phase_ == Phase::kAlone) {
    const double lost = calling_seconds_ + (now_() - last_);
    pause_seconds_ = std::min(pause_seconds_ + over_loss_ * lost, kLongestPause);
  }
  memory().keep(shape_, *this);
}

bool ThreadTrial::begin_run(double steps) {
  if (!on_ || alternating_) return on_ || shares_;
  at_ = 0;
  sizes_ = 0.0;
  last_ = now_();
  const double seconds = steps * alone_seconds_;
  if (phase_ == Phase::kUndecided) {
    if (steps >= kShortRun && seconds >= kShortSeconds) enter(Phase::kReference);
    has_team_ = shares_ || phase_ != Phase::kUndecided;
  } else {
    has_team_ = phase_ != Phase::kAlone || phase_seconds_ + seconds >= pause_seconds_;
  }
  return has_team_;
}

void ThreadTrial::enter(Phase phase) {
  phase_ = phase;
  shares_ = phase == Phase::kProbe || phase == Phase::kShared;
  phase_seconds_ = lost_seconds_ = suspicion_ = 0.0;
  window_ = static_cast<index_t>(std::max(kWindowSeconds / alone_seconds_, kLeastWindow));
}

void ThreadTrial::pause(double lost) {
  pause_seconds_ = std::clamp(over_loss_ * lost, kShortestPause, kLongestPause);
  over_loss_ = std::min(2.0 * over_loss_, kPauseOverLoss);
  enter(Phase::kAlone);
}

void ThreadTrial::end_step(double size) {
  if (alternating_) {
    shares_ = !shares_;
    return;
  }
  if (phase_ == Phase::kUndecided) return;
  const bool probes = phase_ == Phase::kProbe || phase_ == Phase::kReference;
  const index_t steps = probes ? kProbed : window_;
  sizes_ += size;
  if (++at_ < steps && !probes) return;
  const double seconds = now_() - last_;
  last_ += seconds;
  phase_seconds_ += seconds;
  if (probes && at_ > 1) timed_[static_cast<std::size_t>(at_ - 2)] = seconds / size;
  if (phase_ == Phase::kProbe && phase_seconds_ > kHopeless * alone_seconds_) {
    at_ = 0;
    sizes_ = 0.0;
    return pause(phase_seconds_);
  }
  if (at_ < steps) return;
  const double sizes = sizes_;
  at_ = 0;
  sizes_ = 0.0;
  if (!probes) return end_window(seconds / sizes);
  std::sort(timed_.begin(), timed_.end());
  lost_seconds_ = phase_seconds_ - sizes * alone_seconds_;
  end_probe(timed_[timed_.size() / 2]);
}

void ThreadTrial::end_probe(double step_seconds) {
  if (phase_ == Phase::kReference) {
    alone_seconds_ = step_seconds;
    return enter(Phase::kProbe);
  }
  if (step_seconds < kWorthwhile * alone_seconds_) return enter(Phase::kShared);
  pause(lost_seconds_);
}

void ThreadTrial::end_window(double step_seconds) {
  if (phase_ == Phase::kAlone) {
    alone_seconds_ = std::min(step_seconds, kMostRise * alone_seconds_);
    if (phase_seconds_ >= pause_seconds_) enter(Phase::kProbe);
    return;
  }
  const double loss = step_seconds / alone_seconds_ - 1.0;
  suspicion_ += std::min(loss, kMostSuspicion);
  lost_seconds_ += loss * alone_seconds_ * static_cast<double>(window_);
  if (suspicion_ >= kEnoughSuspicion) return pause(lost_seconds_);
  if (suspicion_ <= 0.0) suspicion_ = lost_seconds_ = 0.0;
  if (phase_seconds_ > kHeld) over_loss_ = kFirstPauseOverLoss;
  if (phase_seconds_ >= std::max(kReferenceEvery, kReferenceSteps * alone_seconds_)) {
    enter(Phase::kReference);
  }
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Whether a step is shared, found by timing steps both ways where its shape alone does not tell.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

#include "base/types.hpp"

namespace schuss {

/// How trainers made from now on choose.
enum class TrialMode : std::uint8_t {
  kTimed,        // as below
  kNever,        // by the estimate alone
  kAlternating,  // every other step is shared, and no clock is read
};

/// For tests and measurements. Returns what it was.
TrialMode set_trial_mode(TrialMode mode);
TrialMode trial_mode();

/// What sharing costs depends on the machine's hour: on a virtual one, the same step shared by two
/// threads has taken 60 and 600 microseconds within a second, and 90 on one thread throughout. So
/// trainers whose steps are not long go by the clock. They are steps of the training like all
/// others that are timed: threads never choose the arithmetic.
///
/// It starts with four steps on one thread, then four shared ones, and takes the medians of the last
/// three of each: the first finds its memory in the other's caches, or a thread asleep. If sharing saves
/// time it goes on, timed by the window, until windows take longer than one thread did (one alone is
/// forgiven); what that was is measured anew now and then. Otherwise one thread goes on, and sharing is
/// tried again after eight times as long as trying it has lost, and up to 64 times when it fails again
/// and again. A trainer of the same shape goes on where the last one of the process stopped.
class ThreadTrial {
 public:
  /// Seconds, of a clock that never goes back.
  using Clock = double (*)();
  static double steady_clock() {
    using std::chrono::steady_clock;
    return std::chrono::duration<double>(steady_clock::now().time_since_epoch()).count();
  }

  /// None: every step is shared, or none is.
  explicit ThreadTrial(bool shares = false) : shares_(shares) {}
  /// For steps of a shape, by a number that tells it from others (a mistake costs time only). The
  /// estimate is that they are shared or not, and take so many seconds on one thread.
  ThreadTrial(std::uint64_t shape, bool shares, double step_seconds, Clock now = &steady_clock);

  bool is_on() const { return on_; }
  /// How the next step is to be made.
  bool shares() const { return shares_; }
  /// A run of so many steps begins: whether some of them may be shared.
  bool begin_run(double steps);
  /// Its team is there; it is to be dismissed. What either takes counts as lost where sharing fails.
  void begin_steps();
  void end_steps() {
    if (on_) last_ = now_();
  }
  /// The team is dismissed: the next trainer of this shape knows what this one does.
  void end_run();

  /// After each step, when `is_on`. `size`: its rows over those of a whole batch.
  void end_step(double size);

 private:
  enum class Phase : std::uint8_t {
    kUndecided,  // no run was long enough yet
    kReference,  // a few steps on one thread, for comparison
    kProbe,      // a few shared ones
    kAlone,
    kShared,
  };

  void enter(Phase phase);
  void end_probe(double step_seconds);
  void end_window(double step_seconds);
  void pause(double lost);

  bool on_ = false;
  bool alternating_ = false;
  std::uint64_t shape_ = 0;
  Clock now_ = nullptr;
  bool shares_;
  Phase phase_ = Phase::kUndecided;
  index_t at_ = 0;                 // steps of the block under way
  index_t window_ = 0;             // that a window has
  double sizes_ = 0.0;             // of the block's steps
  double last_ = 0.0;              // when the clock was read
  std::array<double, 3> timed_{};  // steps of a probe
  double alone_seconds_ = 0.0;     // of a step on one thread
  double phase_seconds_ = 0.0;     // that the phase has taken
  double over_loss_ = 0.0;         // how much longer than what it lost a pause is
  double pause_seconds_ = 0.0;     // until sharing is tried again
  double lost_seconds_ = 0.0;      // by sharing, in windows that were worse than one thread
  double suspicion_ = 0.0;         // the same by the window, of which none counts for much
  double calling_seconds_ = 0.0;   // what it took until the team was there
  bool has_team_ = false;          // in the run under way
};

}  // namespace schuss

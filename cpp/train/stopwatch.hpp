// SPDX-License-Identifier: MIT
/// Looks at the clock about once a millisecond, by counting work: a look costs as much as a step of
/// the smallest models.
#pragma once

#include <chrono>
#include <functional>

namespace schuss {

class Stopwatch {
 public:
  /// `poll` is called about once a millisecond until it returns false.
  void start(double seconds, const std::function<bool()>& poll) {
    poll_ = &poll;
    begin_ = last_poll_ = Clock::now();
    seconds_ = seconds;
    work_ = 0.0;
    time_is_up_ = seconds <= 0.0;
  }

  /// Counts multiply-adds. True: stop now.
  bool add_work(double work) {
    work_ += work;
    if (work_ < kWorkPerLook) return false;
    work_ = 0.0;
    const auto now = Clock::now();
    time_is_up_ = Seconds(now - begin_).count() >= seconds_;
    if (Seconds(now - last_poll_).count() < kPollSeconds) return false;
    last_poll_ = now;
    return !(*poll_)();
  }

  bool time_is_up() const { return time_is_up_; }

  /// About 0.1 ms on one AVX2 core, and still under 10 ms on the scalar path.
  static constexpr double kWorkPerLook = 2e6;

 private:
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;
  static constexpr double kPollSeconds = 1e-3;

  const std::function<bool()>* poll_ = nullptr;
  Clock::time_point begin_{};
  Clock::time_point last_poll_{};
  double seconds_ = 0.0;
  double work_ = 0.0;
  bool time_is_up_ = false;
};

}  // namespace schuss

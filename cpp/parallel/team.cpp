// SPDX-License-Identifier: MIT
#include "parallel/team.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fp_environment.hpp"
#include "base/require.hpp"

namespace schuss {
namespace {

/// Some 100 microseconds of looking, several times what waking up takes: threads of equal work that
/// sleep for each other pay for waking at every meeting. Much shorter than a time slice.
constexpr int kSpins = 4000;

/// Threads that wait until a region is posted: for a while after the last one they look, then they
/// sleep. The regions of a step that is called piece by piece come within microseconds of each other,
/// and waking up takes longer than many of them last.
class Team {
 public:
  explicit Team(int workers) : workers_(workers), places_(workers + 1) {}

  /// Starts the threads; they never end. Throws std::system_error when one cannot be started; those
  /// that were sleep on, so the team must not be destroyed then.
  void start() {
    for (int w = 0; w < workers_; ++w) std::thread([this, w] { serve(w + 1); }).detach();
  }

  int workers() const { return workers_; }

  /// With `all`, every worker comes; else those that come before the caller is done.
  void run(const std::function<void(const Region&)>& body, bool all) {
    const int threads = workers_ + 1;
    const bool crowded = threads > usable_cores();
    spins_ = crowded ? 0 : kSpins;
    Barrier barrier(threads, spins_);
    shared_places_ = crowded ? nullptr : &places_;
    places_.reset();
    errors_.assign(static_cast<std::size_t>(threads), nullptr);
    body_ = &body;
    barrier_ = &barrier;
    left_.store(0, std::memory_order_relaxed);
    const std::uint32_t number = posted_.load(std::memory_order_relaxed) + 1;
    gate_.store((std::uint64_t{number} << kNumberShift) | kOpen, std::memory_order_release);
    posted_.store(number, std::memory_order_release);
    posted_.notify_all();
    work({0, threads, &barrier, shared_places_, spins_});
    int came = workers_;
    if (!all) came = static_cast<int>(gate_.fetch_and(~kOpen, std::memory_order_acq_rel) & kCame);
    wait_while(left_, all ? 0 : spins_, [came](int left) { return left != came; });
    if (all) gate_.fetch_and(~kOpen, std::memory_order_relaxed);
    for (const std::exception_ptr& error : errors_) {
      if (error) std::rethrow_exception(error);
    }
  }

 private:
  // The gate of a region: its number, whether it is open, how many workers came.
  static constexpr int kNumberShift = 32;
  static constexpr std::uint64_t kOpen = std::uint64_t{1} << 31;
  static constexpr std::uint64_t kCame = kOpen - 1;

  void work(const Region& region) {
    try {
      if (region.places != nullptr) region.places->arrive(region.thread);
      (*body_)(region);
    } catch (...) {
      errors_[static_cast<std::size_t>(region.thread)] = std::current_exception();
    }
  }

  /// Into the open region, unless its number is `last`, which it becomes.
  bool enter(std::uint32_t* last) {
    std::uint64_t gate = gate_.load(std::memory_order_acquire);
    for (;;) {
      const auto number = static_cast<std::uint32_t>(gate >> kNumberShift);
      if ((gate & kOpen) == 0 || number == *last) return false;
      if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
        *last = number;
        return true;
      }
    }
  }

  void serve(int thread) {
    set_default_fp_environment();
    std::uint32_t seen = 0;
    std::uint32_t last = 0;
    int spins = 0;
    for (;;) {
      wait_while(posted_, spins, [seen](std::uint32_t now) { return now == seen; });
      seen = posted_.load(std::memory_order_acquire);
      if (!enter(&last)) continue;
      spins = spins_;
      work({thread, workers_ + 1, barrier_, shared_places_, spins});
      left_.fetch_add(1, std::memory_order_acq_rel);
      left_.notify_all();
    }
  }

  int workers_;
  const std::function<void(const Region&)>* body_ = nullptr;
  Barrier* barrier_ = nullptr;
  Places places_;
  Places* shared_places_ = nullptr;
  int spins_ = 0;
  std::vector<std::exception_ptr> errors_;
  alignas(64) std::atomic<std::uint32_t> posted_{0};
  alignas(64) std::atomic<std::uint64_t> gate_{0};
  alignas(64) std::atomic<int> left_{0};
};

/// Teams between regions. Never destroyed: their threads sleep until the process ends.
struct Pool {
  std::mutex mutex;
  std::vector<Team*> idle;
};

Pool& pool() {
  static Pool* const instance = [] {
    auto* made = new Pool();  // lives as long as the process
    // A child of fork has none of the threads: it forgets the teams and builds its own.
    pthread_atfork([] { pool().mutex.lock(); }, [] { pool().mutex.unlock(); },
                   [] {
                     pool().idle.clear();
                     pool().mutex.unlock();
                   });
    return made;
  }();
  return *instance;
}

Team* borrow(int workers) {
  {
    const std::lock_guard lock(pool().mutex);
    auto& idle = pool().idle;
    const auto fitting = std::find_if(idle.begin(), idle.end(),
                                      [&](const Team* t) { return t->workers() == workers; });
    if (fitting != idle.end()) {
      Team* team = *fitting;
      idle.erase(fitting);
      return team;
    }
  }
  Team* team = std::make_unique<Team>(workers).release();  // never destroyed: its threads use it
  team->start();
  return team;
}

void give_back(Team* team) {
  const std::lock_guard lock(pool().mutex);
  pool().idle.push_back(team);
}

/// The variable's value when it is a whole number from 1 up.
int threads_from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return 0;
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  return end != text && n >= 1 ? static_cast<int>(std::min<long>(n, kMostThreads)) : 0;
}

/// Cores that a control group's own quota pays for; 0: none of its own.
int own_quota(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  double quota = 0.0;  // the word "max" is no number
  double period = 0.0;
  if (!(file >> quota >> period) || !(quota > 0.0) || !(period > 0.0)) return 0;
  return std::max(1, static_cast<int>(quota / period + 0.5));
}

/// This process's control group (version 2), as in "0::/user.slice/session"; "/" where there is none.
std::string own_group() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::/", 0) == 0) return line.substr(3);
  }
  return "/";
}

void check_threads(int n) {
  if (n >= 1 && n <= kMostThreads) return;
  throw ValueError("num_threads: got " + std::to_string(n) + "; expected 1 to " +
                   std::to_string(kMostThreads));
}

int chosen_threads = 0;                   // by set_num_threads; 0: not chosen
thread_local int overriding_threads = 0;  // by override_num_threads in this thread; 0: not

int default_threads() {
  static const int n = [] {
    if (const int own = threads_from_environment("SCHUSS_NUM_THREADS")) return own;
    if (const int omp = threads_from_environment("OMP_NUM_THREADS")) return omp;
    return usable_cores();
  }();
  return n;
}

}  // namespace

int quota_cores(const std::string& root, std::string group) {
  int least = own_quota(root);
  for (; group.size() > 1; group.erase(group.rfind('/'))) {
    const int own = own_quota(root + group);
    if (own > 0 && (least == 0 || own < least)) least = own;
  }
  return least;
}

int usable_cores() {
  static const int cores = [] {
    int n = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) n = CPU_COUNT(&set);
#endif
    if (const int quota = quota_cores("/sys/fs/cgroup", own_group())) n = std::min(n, quota);
    return std::clamp(n, 1, kMostThreads);
  }();
  return cores;
}

int num_threads() {
  if (overriding_threads > 0) return overriding_threads;
  return chosen_threads > 0 ? chosen_threads : default_threads();
}

int override_num_threads(int n) {
  if (n != 0) check_threads(n);
  const int before = overriding_threads;
  overriding_threads = n;
  return before;
}

void set_num_threads(int n) {
  check_threads(n);
  chosen_threads = n;
}

namespace {

/// Threads in regions now, of all callers.
std::atomic<int> threads_in_regions{0};

void run_on_team(int threads, const std::function<void(const Region&)>& body, bool all) {
  struct Counted {
    explicit Counted(int n) : threads(n) {
      threads_in_regions.fetch_add(n, std::memory_order_relaxed);
    }
    ~Counted() { threads_in_regions.fetch_sub(threads, std::memory_order_relaxed); }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    int threads;
  };
  Team* team = borrow(threads - 1);
  const Counted counted(threads);
  try {
    team->run(body, all);
  } catch (...) {
    give_back(team);
    throw;
  }
  give_back(team);
}

}  // namespace

void run_region(int threads, const std::function<void(const Region&)>& body) {
  if (threads <= 1) {
    Barrier alone(1, 0);
    body({0, 1, &alone, nullptr, 0});
    return;
  }
  run_on_team(threads, body, true);
}

bool run_helped(int threads, const std::function<void(const Region&)>& body) {
  const int others = threads_in_regions.load(std::memory_order_relaxed);
  if (others > 0 && others + threads > usable_cores()) return false;
  run_on_team(threads, body, false);
  return true;
}

}  // namespace schuss

// SPDX-License-Identifier: MIT
/// What the hardware can do, measured by the smallest loops that do it: the bounds that
/// bench/compare.py prints beside every time. No training code runs here.
///
/// The chain probe, as the multiply-add loops, is assembly on x86-64, so that no compiler option
/// (contraction is off everywhere) and no optimiser changes what is counted.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/require.hpp"
#include "base/types.hpp"
#include "bindings/peak_loops.hpp"
#include "kernels/dispatch.hpp"
#include "parallel/crew.hpp"
#include "train/thread_trial.hpp"

namespace py = pybind11;

namespace schuss {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxThreads = 256;
constexpr double kPeakSeconds = 0.05;    // one measurement; long enough for the clock to settle
constexpr index_t kPeakBlock = 1 << 14;  // rounds between two clock readings, about 0.1 ms
constexpr index_t kPrefetchRows = 16;    // about a memory latency ahead at 10 GB/s, 80 byte rows
constexpr std::size_t kLineBytes = 64;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void check_threads(int threads) {
  if (threads >= 1 && threads <= kMaxThreads) return;
  throw ValueError("threads: got " + std::to_string(threads) + "; expected 1 to " +
                   std::to_string(kMaxThreads));
}

/// Threads that are joined whatever happens. (std::jthread is missing from Apple's library.)
struct Team {
  Team() = default;
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team() {
    for (std::thread& thread : threads) thread.join();
  }
  std::vector<std::thread> threads;
};

/// Runs body(0) .. body(threads - 1) at once and returns the seconds until the last has ended.
/// Starting threads is inside, as it is small against what is measured (milliseconds).
double timed_parallel(int threads, const std::function<void(int)>& body) {
  const Clock::time_point start = Clock::now();
  {
    Team team;
    team.threads.reserve(static_cast<std::size_t>(threads - 1));
    for (int i = 1; i < threads; ++i) team.threads.emplace_back([&body, i] { body(i); });
    body(0);
  }
  return seconds_since(start);
}

// ---- multiply-adds in registers -----------------------------------------------------------------

double peak_fma(int threads) {
  check_threads(threads);
  const PeakLoop loop = peak_loop(active_kernels().isa);
  if (loop == nullptr) return std::nan("");
  const py::gil_scoped_release release;  // nothing of Python is touched below
  // Every thread works for the same time; the rate is the sum of the threads' own rates.
  std::vector<double> rates(static_cast<std::size_t>(threads));
  timed_parallel(threads, [&](int thread) {
    const Clock::time_point start = Clock::now();
    double operations = 0;
    double seconds = 0;
    while (seconds < kPeakSeconds) {
      operations += loop(kPeakBlock);
      seconds = seconds_since(start);
    }
    rates[static_cast<std::size_t>(thread)] = operations / seconds;
  });
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

// ---- reading memory -----------------------------------------------------------------------------

/// Bytes of an array that C code may read as they lie: any dtype, contiguous.
struct Bytes {
  const unsigned char* data;
  std::size_t size;
};

Bytes contiguous_bytes(const py::array& array, const char* name) {
  if ((array.flags() & py::array::c_style) == 0) {
    throw ValueError(std::string(name) +
                     ": got an array that is not C-contiguous; pass np.ascontiguousarray(...)");
  }
  return {static_cast<const unsigned char*>(array.data()),
          static_cast<std::size_t>(array.nbytes())};
}

/// Four independent sums keep several lines in flight; the result keeps the loads alive.
std::uint64_t sum_words(const unsigned char* data, std::size_t bytes) {
  typedef std::uint64_t Vec __attribute__((vector_size(16), aligned(1)));
  constexpr std::size_t kStep = 4 * sizeof(Vec);
  Vec sums[4] = {};
  std::size_t i = 0;
  for (; i + kStep <= bytes; i += kStep) {
    for (std::size_t j = 0; j < 4; ++j) {
      Vec loaded;
      std::memcpy(&loaded, data + i + j * sizeof(Vec), sizeof(Vec));
      sums[j] += loaded;
    }
  }
  const Vec all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  std::uint64_t total = all[0] + all[1];
  for (; i < bytes; ++i) total += data[i];
  return total;
}

double read_seconds(const py::array& array, int threads) {
  check_threads(threads);
  const Bytes bytes = contiguous_bytes(array, "array");
  const py::gil_scoped_release release;  // `array` is held by the caller; only its bytes are read
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(threads));
  const auto team = static_cast<std::size_t>(threads);
  const double seconds = timed_parallel(threads, [&](int thread) {
    const auto i = static_cast<std::size_t>(thread);
    const std::size_t first = bytes.size / team * i;
    const std::size_t last = i + 1 == team ? bytes.size : bytes.size / team * (i + 1);
    sums[i] = sum_words(bytes.data + first, last - first);
  });
  volatile std::uint64_t sink = 0;
  for (const std::uint64_t sum : sums) sink = sink + sum;
  return seconds;
}

double gather_seconds(const py::array& rows, const py::array& order, int threads) {
  check_threads(threads);
  const Bytes bytes = contiguous_bytes(rows, "rows");
  if (rows.ndim() != 2 || bytes.size == 0) {
    throw ValueError("rows: expected a two-dimensional array that is not empty");
  }
  if (order.ndim() != 1 || !py::isinstance<py::array_t<std::int32_t>>(order)) {
    throw TypeError("order: expected a one-dimensional int32 array; use order.astype(np.int32)");
  }
  const Bytes order_bytes = contiguous_bytes(order, "order");
  const auto* index = reinterpret_cast<const std::int32_t*>(order_bytes.data);
  const index_t count = order.shape(0);
  const index_t n_rows = rows.shape(0);
  for (index_t i = 0; i < count; ++i) {
    if (index[i] >= 0 && index[i] < n_rows) continue;
    throw ValueError("order: got " + std::to_string(index[i]) + " at " + std::to_string(i) +
                     "; expected 0 to " + std::to_string(n_rows - 1));
  }
  const std::size_t row_bytes = bytes.size / static_cast<std::size_t>(n_rows);

  const py::gil_scoped_release release;  // both arrays are held by the caller and only read
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(threads));
  const double seconds = timed_parallel(threads, [&](int thread) {
    const index_t first = count * thread / threads;
    const index_t last = count * (thread + 1) / threads;
    std::uint64_t sum = 0;
    for (index_t i = first; i < last; ++i) {
      const index_t ahead = std::min(i + kPrefetchRows, last - 1);
      const unsigned char* next = bytes.data + static_cast<std::size_t>(index[ahead]) * row_bytes;
      for (std::size_t line = 0; line < row_bytes; line += kLineBytes) {
        __builtin_prefetch(next + line);
      }
      sum += sum_words(bytes.data + static_cast<std::size_t>(index[i]) * row_bytes, row_bytes);
    }
    sums[static_cast<std::size_t>(thread)] = sum;
  });
  volatile std::uint64_t sink = 0;
  for (const std::uint64_t sum : sums) sink = sink + sum;
  return seconds;
}

// ---- the dependency chain of line30 -------------------------------------------------------------

/// The operations that follow one another in an epoch of Linear(1, 1) over 17 to 32 rows, with
/// sums in 16 lanes: w*x (+ b), - y, * 2/n, two links of a lane's chain, four levels of the tree
/// (shuffle and add), * lr, the update, and the weight back in every lane. The rest of an epoch
/// can run beside these, so no order of work is faster.
double chain_seconds_per_epoch() {
  constexpr index_t kEpochs = 1 << 20;
#if defined(__x86_64__)
  if (peak_loop(active_kernels().isa) == nullptr) return std::nan("");
  const py::gil_scoped_release release;  // nothing of Python is touched below
  float w = 0.0F;
  const Clock::time_point start = Clock::now();
  for (index_t i = 0; i < kEpochs; ++i) {
    __asm__ volatile(
        "vmulss %0, %0, %0\n\t"       // w * x
        "vaddss %0, %0, %0\n\t"       // + b
        "vsubss %0, %0, %0\n\t"       // - y
        "vmulss %0, %0, %0\n\t"       // * 2 / n
        "vfmadd231ss %0, %0, %0\n\t"  // first row of a lane
        "vfmadd231ss %0, %0, %0\n\t"  // second row
        "vaddss %0, %0, %0\n\t"       // (i, i + 8): halves that are registers already
        "vmovhlps %0, %0, %0\n\t"     // (i, i + 4)
        "vaddss %0, %0, %0\n\t"
        "vmovhlps %0, %0, %0\n\t"  // (i, i + 2)
        "vaddss %0, %0, %0\n\t"
        "vshufps $0x55, %0, %0, %0\n\t"  // (i, i + 1)
        "vaddss %0, %0, %0\n\t"
        "vmulss %0, %0, %0\n\t"      // * lr
        "vsubss %0, %0, %0\n\t"      // w -=
        "vshufps $0x00, %0, %0, %0"  // back in every lane
        : "+x"(w));
  }
  return seconds_since(start) / static_cast<double>(kEpochs);
#else
  const py::gil_scoped_release release;  // nothing of Python is touched below
  volatile float source = 0.0F;          // hides the values from the optimiser
  float w = source;
  const float x = source;
  const Clock::time_point start = Clock::now();
  for (index_t i = 0; i < kEpochs; ++i) {
    float d = (w * x + x - x) * x;
    d = std::fma(d, x, std::fma(d, x, x));
    d = (((d + x) + x) + x) + x;
    w -= d * x;
  }
  const double seconds = seconds_since(start);
  source = w;
  return seconds / static_cast<double>(kEpochs);
#endif
}

double simulated_now = 0.0;

/// Which of the steps a trial shares in a run whose i-th step takes alone[i] or shared[i] seconds.
std::vector<bool> simulate_trial(std::uint64_t shape, bool shares, double estimate,
                                 const std::vector<double>& alone,
                                 const std::vector<double>& shared) {
  if (alone.size() != shared.size()) throw ValueError("alone, shared: expected as many of each");
  ThreadTrial trial(shape, shares, estimate, [] { return simulated_now; });
  const bool team = trial.begin_run(static_cast<double>(alone.size()));
  trial.begin_steps();
  std::vector<bool> was_shared;
  for (std::size_t i = 0; i < alone.size(); ++i) {
    was_shared.push_back(trial.shares());
    if (trial.shares() && !team) throw ValueError("a step was to be shared, and there is no team");
    simulated_now += trial.shares() ? shared[i] : alone[i];
    trial.end_step(1.0);
  }
  trial.end_steps();
  trial.end_run();
  return was_shared;
}

}  // namespace

void register_testing_probes(py::module_& testing) {
  py::enum_<TrialMode>(testing, "TrialMode", "How a fit chooses between one thread and a team.")
      .value("TIMED", TrialMode::kTimed, "Where the estimate is close, by timing some steps.")
      .value("NEVER", TrialMode::kNever, "By the estimate alone.")
      .value("ALTERNATING", TrialMode::kAlternating, "Every other step is shared.");
  testing.def("peak_fma", &peak_fma, py::arg("threads") = 1,
              "Float32 operations a second of multiply-adds in registers, with the instruction set "
              "in use; NaN for the scalar one.");
  testing.def("read_seconds", &read_seconds, py::arg("array"), py::arg("threads") = 1,
              "Seconds to read the array once, in order.");
  testing.def("gather_seconds", &gather_seconds, py::arg("rows"), py::arg("order"),
              py::arg("threads") = 1, "Seconds to read rows[order[0]], rows[order[1]], ... once.");
  testing.def(
      "set_work_per_thread", &set_work_per_thread, py::arg("work"),
      "Multiply-adds of a training step, or of a call, that make another thread worth having, "
      "from now on; 0: the built-in number. Returns what it was.");
  testing.def("crew_size", &crew_size, py::arg("work"), py::arg("pieces"),
              "Threads for a call of so many multiply-adds that can be cut into so many pieces.");
  testing.def("set_trial_mode", &set_trial_mode, py::arg("mode"),
              "How fits from now on find out whether to share a step. Returns what it was.");
  testing.def("simulate_trial", &simulate_trial, py::arg("shape"), py::arg("shares"),
              py::arg("estimate"), py::arg("alone"), py::arg("shared"),
              "Which steps of a run would be shared, by their seconds on one thread and shared.");
  testing.def("chain_seconds_per_epoch", &chain_seconds_per_epoch,
              "Seconds of the dependent operations of one epoch of a line through 30 points.");
}

}  // namespace schuss

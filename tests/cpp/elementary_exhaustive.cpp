// SPDX-License-Identifier: MIT
/// Checks the float32 elementary functions over all 2^32 inputs, or over a sample of them.
///
///   elementary_exhaustive [stride [stride of the others [function ...]]]
///
/// For every function: the fastest instruction set of the machine over every stride-th input (1)
/// against the double-precision C library, in units in the last place, within the bound that this
/// file states; the other instruction sets over every n-th of these blocks of inputs (64; 1 for a
/// sample), bit for bit; and a digest of the fastest one's results, the same on every machine. A
/// sample also has the three inputs around every exponent. Exits 1 when anything is off.
///
/// Why double precision is enough: the C library's functions are within 5 units in the last place
/// of a double (its manual's table; sigmoid and softplus here add two roundings), which is below
/// kReferenceError units of a float; that much is added to every error. Where so little could
/// decide between a flushed result and a kept one, long double decides.
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/dispatch.hpp"

namespace {

using schuss::Unary;

constexpr std::uint64_t kInputs = std::uint64_t{1} << 32;
constexpr std::size_t kBlock = 1 << 14;
constexpr double kReferenceError = 0x1p-25;  // 16 units of a double, in those of a float
constexpr double kMinNormal = std::numeric_limits<float>::min();

struct Function {
  /// f works on doubles and on long doubles.
  template <class F>
  Function(const char* name_, Unary kind_, double bound, F f) noexcept
      : name(name_), kind(kind_), bound_ulp(bound), reference(f), fine(f) {}

  Function&& flushing() && {
    flushes = true;
    return std::move(*this);
  }
  Function&& symmetric() && {
    odd = true;
    return std::move(*this);
  }

  const char* name;
  Unary kind;
  double bound_ulp;  // the largest error over all inputs, rounded up
  double (*reference)(double);
  long double (*fine)(long double);
  bool flushes = false;  // results below the smallest normal number are +0
  bool odd = false;      // checked bit for bit, so that the reference is for positive inputs only
};

template <class R>
R sigmoid(R x) {
  return 1 / (1 + std::exp(-x));
}
template <class R>
R softplus(R x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

const Function kFunctions[] = {
    Function("exp", Unary::kExp, 1.05, [](auto x) { return std::exp(x); }).flushing(),
    Function("expm1", Unary::kExpm1, 1.15, [](auto x) { return std::expm1(x); }),
    Function("log", Unary::kLog, 0.9, [](auto x) { return std::log(x); }),
    Function("log1p", Unary::kLog1p, 0.95, [](auto x) { return std::log1p(x); }),
    Function("tanh", Unary::kTanh, 1.4, [](auto x) { return std::tanh(x); }).symmetric(),
    Function("sigmoid", Unary::kSigmoid, 1.2, [](auto x) { return sigmoid(x); }).flushing(),
    Function("softplus", Unary::kSoftplus, 1.8, [](auto x) { return softplus(x); }).flushing(),
    Function("erf", Unary::kErf, 1.05, [](auto x) { return std::erf(x); }).symmetric(),
    Function("erfc", Unary::kErfc, 2.1, [](auto x) { return std::erfc(x); }).flushing(),
};

constexpr std::uint32_t pattern(float x) { return std::bit_cast<std::uint32_t>(x); }

/// The bits of x, every NaN as one pattern.
std::uint32_t canonical(float x) { return x != x ? 0x7fc00000U : pattern(x); }

/// |y - f(x)| in units in the last place of a float of that size, and what the reference may be
/// wrong by; infinite when y is of the wrong kind (NaN, infinity, sign of zero). 0 when y is the
/// reference rounded: then it is at most a half, which is never the worst.
double error_ulp(const Function& f, float x, float y) {
  constexpr double kWrong = std::numeric_limits<double>::infinity();
  const double exact = f.reference(static_cast<double>(x));
  if (exact != exact || y != y) return exact != exact && y != y ? 0.0 : kWrong;
  const double magnitude = std::fabs(exact);
  if (f.flushes && magnitude < kMinNormal * (1 + 0x1p-48)) {
    bool below = magnitude < kMinNormal * (1 - 0x1p-48);
    if (!below) below = f.fine(static_cast<long double>(x)) < static_cast<long double>(kMinNormal);
    if (below) return pattern(y) == 0 ? 0.0 : kWrong;
  }
  const auto rounded = static_cast<float>(exact);
  if (pattern(rounded) == pattern(y)) return 0.0;
  if (std::isinf(y) || std::isinf(rounded) || std::signbit(y) != std::signbit(exact)) return kWrong;
  const int exponent = magnitude < kMinNormal ? -126 : std::ilogb(exact);
  return std::fabs(static_cast<double>(y) - exact) / std::ldexp(1.0, exponent - 23) +
         kReferenceError;
}

/// The inputs: every stride-th pattern in blocks; after a sample, a block around every exponent.
class Inputs {
 public:
  explicit Inputs(std::uint64_t stride) : stride_(stride) {
    const std::uint64_t count = (kInputs + stride - 1) / stride;
    blocks_ = (count + kBlock - 1) / kBlock;
  }
  std::uint64_t blocks() const { return blocks_ + (stride_ > 1 ? 1 : 0); }

  std::size_t fill(std::uint64_t block, std::vector<float>& x) const {
    std::size_t count = 0;
    if (block == blocks_) {
      for (std::uint32_t edge = 0; edge < 512; ++edge) {
        for (std::uint32_t near = 0; near < 3; ++near) {
          x[count++] = std::bit_cast<float>((edge << 23) + near - 1U);
        }
      }
      return count;
    }
    for (; count < kBlock; ++count) {
      const std::uint64_t bits = (block * kBlock + count) * stride_;
      if (bits >= kInputs) break;
      x[count] = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    }
    return count;
  }

 private:
  std::uint64_t stride_;
  std::uint64_t blocks_;
};

struct Outcome {
  std::uint64_t digest = 0;  // does not depend on which thread did which block
  double worst_ulp = 0.0;
  float worst_at = 0.0F;
  std::uint64_t different = 0;  // results of other instruction sets
  std::uint64_t not_odd = 0;

  void add(const Outcome& other) {
    digest += other.digest;
    different += other.different;
    not_odd += other.not_odd;
    if (other.worst_ulp > worst_ulp) {
      worst_ulp = other.worst_ulp;
      worst_at = other.worst_at;
    }
  }
};

std::uint64_t digest_of(const std::vector<float>& y, std::size_t count, std::uint64_t block) {
  std::uint32_t lanes[8] = {1, 2, 3, 4, 5, 6, 7, 8};  // so many that the compiler can vectorise
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (std::size_t lane = 0; lane < 8; ++lane) {
      lanes[lane] = (lanes[lane] ^ canonical(y[i + lane])) * 0x01000193U;
    }
  }
  for (; i < count; ++i) lanes[0] = (lanes[0] ^ canonical(y[i])) * 0x01000193U;
  std::uint64_t digest = 0xcbf29ce484222325U ^ block;
  for (const std::uint32_t lane : lanes) digest = (digest ^ lane) * 0x100000001b3U;
  return digest ^ (digest >> 29);
}

Outcome work(const Function& f, const Inputs& inputs, std::uint64_t other_stride,
             std::atomic<std::uint64_t>& next) {
  const auto& sets = schuss::available_kernels();
  const auto kind = static_cast<int>(f.kind);
  std::vector<float> x(kBlock), y(kBlock), z(kBlock);
  Outcome outcome;
  for (std::uint64_t block = next++; block < inputs.blocks(); block = next++) {
    const std::size_t count = inputs.fill(block, x);
    const auto n = static_cast<schuss::index_t>(count);
    sets.back()->f32.unary[kind](x.data(), y.data(), n);
    outcome.digest += digest_of(y, count, block);
    for (std::size_t s = 0; block % other_stride == 0 && s + 1 < sets.size(); ++s) {
      sets[s]->f32.unary[kind](x.data(), z.data(), n);
      for (std::size_t i = 0; i < count; ++i) {
        outcome.different += canonical(z[i]) != canonical(y[i]) ? 1U : 0U;
      }
    }
    if (f.odd) {
      for (std::size_t i = 0; i < count; ++i) z[i] = -x[i];
      sets.back()->f32.unary[kind](z.data(), z.data(), n);
      for (std::size_t i = 0; i < count; ++i) {
        outcome.not_odd += canonical(-z[i]) != canonical(y[i]) ? 1U : 0U;
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (f.odd && std::signbit(x[i])) continue;
      const double ulp = error_ulp(f, x[i], y[i]);
      if (ulp > outcome.worst_ulp) {
        outcome.worst_ulp = ulp;
        outcome.worst_at = x[i];
      }
    }
  }
  return outcome;
}

Outcome run(const Function& f, const Inputs& inputs, std::uint64_t other_stride) {
  const unsigned cores = std::thread::hardware_concurrency();
  std::vector<Outcome> outcomes(cores > 0 ? cores : 1);
  std::atomic<std::uint64_t> next{0};
  std::vector<std::thread> threads;
  for (Outcome& outcome : outcomes) {
    threads.emplace_back([&] { outcome = work(f, inputs, other_stride, next); });
  }
  for (std::thread& thread : threads) thread.join();
  Outcome whole;
  for (const Outcome& outcome : outcomes) whole.add(outcome);
  return whole;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t stride = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  const std::uint64_t others =
      argc > 2 ? std::strtoull(argv[2], nullptr, 10) : (stride == 1 ? 64 : 1);
  if (stride == 0 || others == 0) {
    std::fprintf(stderr, "stride: got \"%s\"; expected a positive integer\n",
                 argv[stride == 0 ? 1 : 2]);
    return 2;
  }
  const std::vector<std::string> wanted(argv + (argc > 3 ? 3 : argc), argv + argc);
  const Inputs inputs(stride);
  bool passed = true;
  std::printf("%s, every %llu inputs\n", schuss::available_kernels().back()->isa,
              static_cast<unsigned long long>(stride));
  for (const Function& f : kFunctions) {
    bool chosen = wanted.empty();
    for (const std::string& name : wanted) chosen = chosen || name == f.name;
    if (!chosen) continue;
    const Outcome outcome = run(f, inputs, others);
    const bool within = outcome.worst_ulp <= f.bound_ulp;
    const bool same = outcome.different == 0 && outcome.not_odd == 0;
    passed = passed && within && same;
    std::printf("%-9s %016llx  %.4f ulp at %a (bound %.4f)%s", f.name,
                static_cast<unsigned long long>(outcome.digest), outcome.worst_ulp,
                static_cast<double>(outcome.worst_at), f.bound_ulp, within ? "" : "  TOO LARGE");
    if (!same) {
      std::printf("  %llu results differ on other instruction sets, %llu are not odd",
                  static_cast<unsigned long long>(outcome.different),
                  static_cast<unsigned long long>(outcome.not_odd));
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  return passed ? 0 : 1;
}

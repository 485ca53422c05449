// SPDX-License-Identifier: MIT
/// Checks the float32 elementary functions over all 2^32 inputs, or every stride-th.
///
///   elementary_exhaustive [stride] [function ...]
///
/// For every instruction set of the machine and every function: a hash of all results, which has to
/// be the same on each. For the fastest set: the largest error against the double-precision C
/// library, in units in the last place, which has to stay within the bound that this file states.
/// Exits 1 when either fails. By hand:
///
/// (each command on one line)
///
///   for isa in "scalar" "avx2 -mavx2 -mfma" "avx512 -mavx2 -mfma -mavx512f -mavx512dq"; do
///     set -- $isa; name=$1; shift
///     g++ -std=c++20 -O3 -ffp-contract=off -fno-fast-math -fno-math-errno -fno-trapping-math
///       "$@" -Icpp -c cpp/kernels/isa/$name.cpp -o $name.o
///   done
///   g++ -std=c++20 -O2 -ffp-contract=off -Icpp tests/cpp/elementary_exhaustive.cpp
///     cpp/kernels/dispatch.cpp scalar.o avx2.o avx512.o -o elementary_exhaustive
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "kernels/dispatch.hpp"

namespace {

using schuss::Unary;

constexpr std::uint64_t kInputs = std::uint64_t{1} << 32;
constexpr std::uint64_t kBlock = 1 << 14;

struct Function {
  const char* name;
  Unary kind;
  double (*reference)(double);
  double bound_ulp;  // the largest error measured over all inputs, rounded up
  bool flushes;      // results below the smallest normal number are +0
};

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double softplus(double x) {
  return x > 0.0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

const Function kFunctions[] = {
    {"exp", Unary::kExp, [](double x) { return std::exp(x); }, 1.05, true},
    {"expm1", Unary::kExpm1, [](double x) { return std::expm1(x); }, 1.15, false},
    {"log", Unary::kLog, [](double x) { return std::log(x); }, 0.9, false},
    {"log1p", Unary::kLog1p, [](double x) { return std::log1p(x); }, 0.95, false},
    {"tanh", Unary::kTanh, [](double x) { return std::tanh(x); }, 1.4, false},
    {"sigmoid", Unary::kSigmoid, sigmoid, 1.2, true},
    {"softplus", Unary::kSoftplus, softplus, 1.8, true},
    {"erf", Unary::kErf, [](double x) { return std::erf(x); }, 1.05, false},
    {"erfc", Unary::kErfc, [](double x) { return std::erfc(x); }, 2.1, true},
};

/// |y - exact| in units in the last place of a float of that size; infinite when y is of the wrong
/// kind (NaN, infinity, sign of zero).
double error_ulp(float y, double exact, bool flushes) {
  constexpr double kWrong = std::numeric_limits<double>::infinity();
  constexpr double kMinNormal = std::numeric_limits<float>::min();
  if (std::isnan(exact) || std::isnan(y)) return std::isnan(exact) && std::isnan(y) ? 0.0 : kWrong;
  const auto rounded = static_cast<float>(exact);
  if (flushes && std::fabs(exact) < kMinNormal) {
    return std::bit_cast<std::uint32_t>(y) == 0 ? 0.0 : kWrong;
  }
  // Correctly rounded: at most a half, which is never the worst.
  if (std::bit_cast<std::uint32_t>(rounded) == std::bit_cast<std::uint32_t>(y)) return 0.0;
  if (std::isinf(y) || std::isinf(rounded) || std::signbit(y) != std::signbit(exact)) return kWrong;
  const int exponent = std::fabs(exact) < kMinNormal ? -126 : std::ilogb(exact);
  return std::fabs(static_cast<double>(y) - exact) / std::ldexp(1.0, exponent - 23);
}

struct Outcome {
  std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a, a word at a time, every NaN as one pattern
  double worst_ulp = 0.0;
  float worst_at = 0.0F;
};

Outcome run(const schuss::KernelSet& set, const Function& function, std::uint64_t stride,
            bool compare) {
  const auto kernel = set.f32.unary[static_cast<int>(function.kind)];
  std::vector<float> x(kBlock);
  std::vector<float> y(kBlock);
  Outcome outcome;
  for (std::uint64_t start = 0; start < kInputs; start += kBlock * stride) {
    std::size_t count = 0;
    for (; count < kBlock; ++count) {
      const std::uint64_t bits = start + count * stride;
      if (bits >= kInputs) break;
      x[count] = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    }
    kernel(x.data(), y.data(), static_cast<schuss::index_t>(count));
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t word =
          std::isnan(y[i]) ? 0x7fc00000U : std::bit_cast<std::uint32_t>(y[i]);
      outcome.hash = (outcome.hash ^ word) * 0x100000001b3U;
    }
    if (!compare) continue;
    for (std::size_t i = 0; i < count; ++i) {
      const double exact = function.reference(static_cast<double>(x[i]));
      const double ulp = error_ulp(y[i], exact, function.flushes);
      if (ulp > outcome.worst_ulp) {
        outcome.worst_ulp = ulp;
        outcome.worst_at = x[i];
      }
    }
  }
  return outcome;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t stride = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  if (stride == 0) {
    std::fprintf(stderr, "stride: got \"%s\"; expected a positive integer\n", argv[1]);
    return 2;
  }
  const std::vector<std::string> wanted(argv + (argc > 2 ? 2 : argc), argv + argc);
  bool passed = true;
  for (const Function& function : kFunctions) {
    bool chosen = wanted.empty();
    for (const std::string& name : wanted) chosen = chosen || name == function.name;
    if (!chosen) continue;
    const auto& sets = schuss::available_kernels();
    std::uint64_t hash = 0;
    for (auto set = sets.rbegin(); set != sets.rend(); ++set) {  // the fastest first
      const bool fastest = set == sets.rbegin();
      const Outcome outcome = run(**set, function, stride, fastest);
      std::printf("%-9s %-7s %016llx", function.name, (*set)->isa,
                  static_cast<unsigned long long>(outcome.hash));
      if (fastest) {
        hash = outcome.hash;
        const bool within = outcome.worst_ulp <= function.bound_ulp;
        passed = passed && within;
        std::printf("  %.4f ulp at %a (bound %.4f)%s", outcome.worst_ulp,
                    static_cast<double>(outcome.worst_at), function.bound_ulp,
                    within ? "" : "  TOO LARGE");
      } else if (outcome.hash != hash) {
        passed = false;
        std::printf("  DIFFERS");
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
  return passed ? 0 : 1;
}

// SPDX-License-Identifier: MIT
/// Compares every instruction set of the machine with the scalar kernels, bit for bit: each kernel,
/// at every width of its tails and every shape of its tiles, on rows that are not aligned. Needs no
/// Python, so that it runs where nothing but an emulated processor is.
///
///   kernels_agree
///
/// What a kernel writes stands in a frame of canaries, compared with it; every NaN is as good as
/// another. Ends with 1 when a bit differs.
#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels/dispatch.hpp"

namespace {

using schuss::Finish;
using schuss::index_t;
using schuss::Kernels;
using schuss::KernelSet;
using schuss::kLanes;
using schuss::Product;
using schuss::Start;

template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

/// Counts comparisons, and says which came out different.
struct Tally {
  const char* isa = "";
  long compared = 0;
  long different = 0;

  void add(bool same, const char* what, index_t a, index_t b, index_t c) {
    ++compared;
    if (same) return;
    if (++different <= 20) {
      std::printf("%s differs: %s (%td, %td, %td)\n", isa, what, a, b, c);
    }
  }
};

/// Numbers of a few bits with signs and zeros, and of sizes from 2^-3 to 2^3, by place.
template <class T>
T ordinary(std::uint64_t place) {
  std::uint64_t z = (place + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z ^= z >> 29;
  if (z % 29 == 0) return T(z % 2 == 0 ? 0.0 : -0.0);
  const auto k = static_cast<T>(static_cast<std::int64_t>(z >> 44) - (std::int64_t{1} << 19));
  return k / static_cast<T>(std::int64_t{1} << (17 + z % 5));
}

/// n elements at an odd place of a cache line, between canaries.
template <class T>
class Array {
 public:
  explicit Array(index_t n, std::uint64_t seed = 0) : all_(static_cast<std::size_t>(n) + 48) {
    const auto address = reinterpret_cast<std::uintptr_t>(all_.data());
    const std::size_t to_line = (64 - address % 64) % 64 / sizeof(T);
    first_ = to_line + 1 + seed % 13;
    for (std::size_t i = 0; i < all_.size(); ++i) all_[i] = T(77);
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      all_[first_ + i] = ordinary<T>(seed * 1000003 + i);
    }
  }
  Array(const Array& other) : Array(other.size(), 0) { assign(other); }
  Array& operator=(const Array&) = delete;

  T* data() { return all_.data() + first_; }
  const T* data() const { return all_.data() + first_; }
  T& operator[](index_t i) { return data()[i]; }
  index_t size() const { return static_cast<index_t>(all_.size()) - 48; }

  /// The same elements and canaries, NaN or not.
  bool same(const Array& other) const {
    const index_t before = 1;
    for (index_t i = -before; i < size() + 17; ++i) {
      const T a = data()[i];
      const T b = other.data()[i];
      if (a != a && b != b) continue;
      if (std::bit_cast<Bits<T>>(a) != std::bit_cast<Bits<T>>(b)) return false;
    }
    return true;
  }

 private:
  void assign(const Array& other) {
    for (index_t i = 0; i < size(); ++i) data()[i] = other.data()[i];
  }
  std::vector<T> all_;
  std::size_t first_ = 0;
};

/// Around every exponent, both signs: zeros, subnormal numbers, infinities and NaN among them.
template <class T>
Array<T> edges() {
  constexpr int kFraction = std::numeric_limits<T>::digits - 1;
  constexpr int kStride = sizeof(T) == 4 ? 1 : 5;
  constexpr std::uint32_t kExponents = 1U << (sizeof(T) * 8 - kFraction);
  std::vector<T> values;
  for (std::uint32_t e = 0; e < kExponents; e += kStride) {
    for (Bits<T> near = 0; near < 3; ++near) {
      values.push_back(std::bit_cast<T>((Bits<T>{e} << kFraction) + near - 1U));
    }
  }
  Array<T> array(static_cast<index_t>(values.size()), 3);
  for (index_t i = 0; i < array.size(); ++i) array[i] = values[static_cast<std::size_t>(i)];
  return array;
}

/// Runs the kernels of an instruction set and the scalar ones, and compares all that they write.
template <class T>
class Checks {
 public:
  Checks(const KernelSet& set, Tally& tally)
      : other_(set.table<T>()),
        scalar_(schuss::available_kernels().front()->table<T>()),
        tally_(tally),
        edges_(edges<T>()) {}

  void run() {
    products();
    narrow_and_few();
    elementwise();
    losses();
    updates();
    sums();
  }

 private:
  static constexpr index_t kWidest = 2 * kLanes<T> + 3;  // every tail, after none, one, two lines

  template <class F>
  void compare(const char* what, index_t a, index_t b, index_t c,
               const std::vector<Array<T>>& written, F f) {
    std::vector<Array<T>> expected(written);
    std::vector<Array<T>> found(written);
    f(scalar_, expected);
    f(other_, found);
    bool same = true;
    for (std::size_t i = 0; i < found.size(); ++i) same = same && expected[i].same(found[i]);
    tally_.add(same, what, a, b, c);
  }

  void product(index_t m, index_t n, index_t k, bool along, bool packed, int way) {
    const Array<T> a(along ? m * (k + 3) : k * (m + 2), 1);
    const Array<T> b(k * (n + 1), 2);
    const Array<T> bias(n, 4);
    const Array<T> gate(m * (n + 2), 5);
    Product<T> p;
    p.a = a.data();
    p.a_row = along ? k + 3 : 1;
    p.a_depth = along ? 1 : m + 2;
    p.ldc = n + 5;
    p.m = m;
    p.n = n;
    p.k = k;
    p.start = static_cast<Start>(way % 3);
    p.finish = static_cast<Finish>(way / 3 % 4);
    p.bias = bias.data();
    p.gate = gate.data();
    p.ldgate = n + 2;
    compare(packed ? "packed product" : "product", m, n, k, {Array<T>(m * (n + 5), 6)},
            [&](const Kernels<T>& kernels, std::vector<Array<T>>& out) {
              Product<T> q = p;
              std::vector<T> copy;
              q.b = b.data();
              q.ldb = n + 1;
              if (packed) {
                copy.resize(static_cast<std::size_t>(kernels.packed_size(k, n)));
                kernels.pack(b.data(), n + 1, 1, k, n, copy.data());
                q.b = copy.data();
                q.packed = true;
              }
              q.c = out[0].data();
              kernels.product(q);
            });
  }

  /// Every tile of up to 24 rows and 8 registers, whole and in part; then depths and sizes at which
  /// operands are cut, or copied first.
  void products() {
    int way = 0;
    for (index_t m = 1; m <= 25; ++m) {
      for (const index_t n : {1,  4,  7,  8,  9,  15, 16, 17,  24,  31,  32,  33, 40,
                              47, 48, 49, 63, 64, 65, 97, 113, 127, 128, 129, 145}) {
        for (int form = 0; form < 4; ++form, way += 5) {
          product(m, n, way % 11, form % 2 == 0, form / 2 == 0, way);
        }
      }
    }
    for (int form = 0; form < 4; ++form) {
      product(33, 50, 517, form % 2 == 0, form / 2 == 0, form);
      product(99, 240, 260, form % 2 == 0, form / 2 == 0, 5 * form + 1);
    }
  }

  void narrow_and_few() {
    constexpr index_t kLine = kLanes<T>;
    for (index_t n_out = 1; n_out <= 4; ++n_out) {
      for (index_t n_in = 1; n_in <= 3 * kLine + 2; ++n_in) {
        for (const index_t rows : {1, 2, 7, 19}) narrow(rows, n_in, n_out);
      }
      for (index_t rows = 1; rows <= 3 * kLine + 2; ++rows) {
        for (index_t n_in = 0; n_in <= 4; ++n_in) small(rows, n_in, n_out);
      }
    }
    for (index_t n_out = 1; n_out <= kLine; ++n_out) {
      for (const index_t n_in : {1, 5, 15, 16, 17, 31, 33, 70}) {
        for (index_t rows = 1; rows <= 26; ++rows) few(rows, n_in, n_out);
      }
    }
  }

  static Array<T> padded(index_t rows, index_t columns, index_t ld, std::uint64_t seed) {
    Array<T> array(rows * ld, seed);
    for (index_t i = 0; i < array.size(); ++i) {
      if (i % ld >= columns) array[i] = T(0);
    }
    return array;
  }

  void narrow(index_t rows, index_t n_in, index_t n_out) {
    const index_t ldw = (n_in + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
    const Array<T> x(rows * (n_in + 1), 1);
    const Array<T> weight = padded(n_out, n_in, ldw, 2);
    const Array<T> bias(n_out, 3);
    const Array<T> target(rows * n_out, 4);
    compare("narrow_forward", rows, n_in, n_out, {Array<T>(rows * (n_out + 1), 5)},
            [&](const Kernels<T>& kernels, std::vector<Array<T>>& out) {
              kernels.narrow_forward({x.data(), n_in + 1, weight.data(), ldw, bias.data(),
                                      out[0].data(), n_out + 1, rows, n_in, n_out, rows == 2});
            });
    compare("narrow_pass", rows, n_in, n_out,
            {Array<T>(rows * n_out, 6), Array<T>(n_out * ldw, 7), Array<T>(rows, 8)},
            [&](const Kernels<T>& kernels, std::vector<Array<T>>& out) {
              schuss::NarrowPass<T> pass;
              pass.x = x.data();
              pass.ldx = n_in + 1;
              pass.rows = rows;
              pass.n_in = n_in;
              pass.n_out = n_out;
              pass.weight = weight.data();
              pass.ldw = ldw;
              pass.bias = bias.data();
              pass.loss = kernels.loss[0];
              pass.block.target = target.data();
              pass.block.ld_target = n_out;
              pass.block.rows = rows;
              pass.block.cols = n_out;
              pass.block.row_loss = out[2].data();
              pass.d = out[0].data();
              pass.d_weight = out[1].data();
              pass.start = rows == 7 ? Start::kResume : Start::kZero;
              kernels.narrow_pass(pass);
            });
  }

  void small(index_t rows, index_t n_in, index_t n_out) {
    const Array<T> x(rows * (n_in + 1), 1);
    const Array<T> d(rows * (n_out + 1), 2);
    compare("small_gradient", rows, n_in, n_out, {Array<T>(n_out * 16, 3), Array<T>(n_out, 4)},
            [&](const Kernels<T>& kernels, std::vector<Array<T>>& out) {
              kernels.small_gradient({x.data(), n_in + 1, d.data(), n_out + 1, rows, n_in, n_out,
                                      out[0].data(), 16, out[1].data(), rows % 2 == 0});
            });
  }

  void few(index_t rows, index_t n_in, index_t n_out) {
    constexpr index_t kLine = kLanes<T>;
    const Array<T> x(rows * (n_in + 1), 1);
    const Array<T> weight = padded(n_in, n_out, kLine, 2);
    const Array<T> bias = padded(1, n_out, kLine, 3);
    const Array<T> d = padded(rows, n_out, kLine, 4);
    std::vector<index_t> list;
    for (index_t r = 0; r < rows; ++r) list.push_back((r * 7 + 3) % rows);
    compare("few_forward", rows, n_in, n_out, {Array<T>(rows * kLine, 5)},
            [&](const Kernels<T>& kernels, std::vector<Array<T>>& out) {
              kernels.few_forward({x.data(), n_in + 1, rows % 2 == 0 ? list.data() : nullptr, rows,
                                   rows, n_in, weight.data(), bias.data(), out[0].data()});
            });
    compare("few_gradient", rows, n_in, n_out, {Array<T>(n_in * kLine, 6)},
            [&](const Kernels<T>& kernels, std::vector<Array<T>>& out) {
              kernels.few_gradient({x.data(), n_in + 1, rows % 2 == 0 ? list.data() : nullptr, rows,
                                    n_in, n_out, d.data(), out[0].data(), rows % 3 == 0});
            });
  }

  /// Elementwise kernels: every tail on ordinary numbers, then all edges at once.
  void elementwise() {
    for (index_t n = 0; n <= kWidest; ++n) elementwise(Array<T>(n, 1), Array<T>(n, 2));
    Array<T> partners(edges_.size(), 3);
    for (index_t i = 0; i < edges_.size(); ++i) partners[i] = edges_[i * 389 % edges_.size()];
    elementwise(edges_, partners);
  }

  void elementwise(const Array<T>& x, const Array<T>& z) {
    const index_t n = x.size();
    const Array<T> d(n, 4);
    for (int kind = 0; kind < schuss::kUnaryCount; ++kind) {
      compare("unary", kind, n, 0, {Array<T>(n)},
              [&](const Kernels<T>& k, auto& out) { k.unary[kind](x.data(), out[0].data(), n); });
    }
    for (int kind = 0; kind < schuss::kActivationCount; ++kind) {
      const schuss::ActivationOptions options{0.3, 1.5, 2.0};
      const index_t rows = n > kWidest || n % 2 != 0 ? 1 : 2;
      const index_t cols = n / rows;
      compare("activation", kind, rows, cols, {Array<T>(n)}, [&](const Kernels<T>& k, auto& out) {
        k.activation[kind](x.data(), cols, out[0].data(), cols, rows, cols, options);
      });
      compare("activation backward", kind, rows, cols, {d}, [&](const Kernels<T>& k, auto& out) {
        k.activation_backward[kind](x.data(), cols, z.data(), cols, out[0].data(), cols, rows, cols,
                                    options);
      });
    }
    for (int kind = 0; kind < schuss::kMapCount; ++kind) {
      for (const double exponent : {-0.7, 3.0}) {
        const schuss::MapOptions options{exponent, 0.9};
        compare("map", kind, n, 0, {Array<T>(n)}, [&](const Kernels<T>& k, auto& out) {
          k.map[kind](x.data(), out[0].data(), n, options);
        });
        compare("map backward", kind, n, 0, {Array<T>(n)}, [&](const Kernels<T>& k, auto& out) {
          k.map_backward[kind](x.data(), z.data(), d.data(), out[0].data(), n, options);
        });
      }
    }
    for (int kind = 0; kind < schuss::kPairCount; ++kind) {
      for (const index_t step : {0, 1}) {
        const schuss::Run<T> a{x.data(), 1};
        const schuss::Run<T> b{z.data(), step};
        compare("pair", kind, n, step, {Array<T>(n)},
                [&](const Kernels<T>& k, auto& out) { k.pair[kind](a, b, out[0].data(), n); });
        compare("pair backward", kind, n, step, {Array<T>(n), Array<T>(n)},
                [&](const Kernels<T>& k, auto& out) {
                  k.pair_backward[kind](a, b, z.data(), d.data(), out[0].data(), out[1].data(), n);
                });
      }
    }
  }

  void losses() {
    for (int kind = 0; kind < schuss::kLossCount; ++kind) {
      for (index_t cols = 1; cols <= kWidest; ++cols) {
        for (const index_t rows : {1, 5, 16, 37}) loss(kind, rows, cols);
      }
    }
  }

  void loss(int kind, index_t rows, index_t cols) {
    const bool shares = static_cast<schuss::LossKind>(kind) == schuss::LossKind::kBCE;
    Array<T> prediction(rows * (cols + 1), 1);
    if (shares) {
      for (index_t i = 0; i < prediction.size(); ++i) prediction[i] = static_cast<T>(i % 9) / T(8);
    }
    const Array<T> target(rows * cols, 2);
    const Array<T> weight(cols, 3);
    std::vector<std::int64_t> labels;
    for (index_t r = 0; r < rows; ++r) labels.push_back(r % 7 == 3 ? -100 : r * 5 % cols);
    compare("loss", kind, rows, cols,
            {Array<T>(rows, 4), Array<T>(rows * (cols + 2), 5), Array<T>(rows * cols, 6)},
            [&](const Kernels<T>& kernels, std::vector<Array<T>>& out) {
              schuss::LossBlock<T> block;
              block.prediction = prediction.data();
              block.ld_prediction = cols + 1;
              block.target = target.data();
              block.ld_target = cols;
              block.labels = labels.data();
              block.weight = rows == 5 ? weight.data() : nullptr;
              block.pos_weight = rows == 37 ? weight.data() : nullptr;
              block.rows = rows;
              block.cols = cols;
              block.a = 0.5;
              block.label_smoothing = rows == 16 ? 0.1 : 0.0;
              block.scale = 0.3;
              block.row_loss = out[0].data();
              block.d_prediction = out[1].data();
              block.ld_d_prediction = cols + 2;
              if (!schuss::is_row_loss(static_cast<schuss::LossKind>(kind))) {
                block.element_loss = out[2].data();
                block.ld_element = cols;
              }
              kernels.loss[kind](block);
            });
  }

  void updates() {
    for (index_t n = 0; n <= 4 * kWidest; ++n) {
      const Array<T> g(n, 1);
      Array<T> v(n, 2);
      for (index_t i = 0; i < n; ++i) v[i] = v[i] < T(0) ? -v[i] : v[i];
      for (unsigned flags = 0; flags < 16; ++flags) {
        const bool one = (flags & 1U) != 0;
        const bool two = (flags & 2U) != 0;
        const double decay = (flags & 4U) != 0 ? 0.01 : 0.0;
        const bool four = (flags & 8U) != 0;
        const schuss::SgdStep sgd{
            0.1, four ? 0.9 : 0.0, one && !two ? 0.2 : 0.0, decay, one && two, two, one};
        compare("sgd", n, flags, 0, {Array<T>(n, 3), Array<T>(n, 4)},
                [&](const Kernels<T>& k, auto& out) {
                  k.sgd(out[0].data(), g.data(), out[1].data(), n, sgd);
                });
        const schuss::AdamStep adam{0.1, 0.9, 0.999, 1e-8, decay, 0.1, 0.03, one, two, four};
        compare("adam", n, flags, 0, {Array<T>(n, 5), Array<T>(n, 6), v, v},
                [&](const Kernels<T>& k, auto& out) {
                  k.adam(out[0].data(), g.data(), out[1].data(), out[2].data(), out[3].data(), n,
                         adam);
                });
      }
    }
    for (index_t rows = 1; rows <= 3 * kLanes<T> + 1; ++rows) line(rows);
  }

  void line(index_t rows) {
    constexpr index_t kSteps = 20;
    const Array<T> x(rows, 1);
    const Array<T> target(rows, 2);
    compare("line", rows, kSteps, 0, {Array<T>(4, 3), Array<T>(kSteps, 4)},
            [&](const Kernels<T>& k, std::vector<Array<T>>& out) {
              std::array<double, kSteps> losses{};
              schuss::LineRun<T> run;
              run.x = x.data();
              run.target = target.data();
              run.rows = rows;
              run.weight = out[0].data();
              run.bias = rows % 3 == 0 ? nullptr : out[0].data() + 1;
              run.lr = 0.01;
              run.divisor = static_cast<double>(rows);
              run.steps = kSteps;
              run.losses = losses.data();
              out[0][2] = static_cast<T>(k.line(run));
              out[0][3] = run.previous_weight;
              for (index_t i = 0; i < kSteps; ++i) {
                out[1][i] = static_cast<T>(losses[static_cast<std::size_t>(i)]);
              }
            });
  }

  void sums() {
    for (index_t n = 0; n <= 4 * kWidest; ++n) {
      const Array<T> x(5 * (n + 1), 1);
      compare("add", n, 0, 0, {Array<T>(n, 2)},
              [&](const Kernels<T>& k, auto& out) { k.add(x.data(), out[0].data(), n); });
      compare("column_sums", n, 0, 0, {Array<T>(n, 3)}, [&](const Kernels<T>& k, auto& out) {
        k.column_sums(x.data(), n + 1, 5, n, out[0].data(), Start::kResume, Finish::kAdd);
      });
      double sum[2] = {scalar_.sum_f64(x.data(), n), other_.sum_f64(x.data(), n)};
      tally_.add(std::memcmp(&sum[0], &sum[1], sizeof(double)) == 0, "sum_f64", n, 0, 0);
      Array<T> bad(n, 4);
      for (index_t at = 0; at < n; ++at) {
        bad[at] = std::numeric_limits<T>::infinity();
        tally_.add(!other_.all_finite(bad.data(), n), "all_finite", n, at, 0);
        bad[at] = T(1);
      }
      tally_.add(other_.all_finite(bad.data(), n), "all_finite", n, n, 0);
    }
  }

  const Kernels<T>& other_;
  const Kernels<T>& scalar_;
  Tally& tally_;
  Array<T> edges_;
};

}  // namespace

int main() {
  long different = 0;
  for (const KernelSet* set : schuss::available_kernels()) {
    if (set == schuss::available_kernels().front()) continue;
    Tally tally{set->isa};
    Checks<float>(*set, tally).run();
    Checks<double>(*set, tally).run();
    std::printf("%s: %ld comparisons with %s, %ld differ\n", tally.isa, tally.compared,
                schuss::available_kernels().front()->isa, tally.different);
    different += tally.different;
  }
  return different == 0 ? 0 : 1;
}

// SPDX-License-Identifier: MIT
/// What RowOrder gives, however it is asked, against the permutation one number at a time. Silent
/// where they agree; else one line on the first difference, and 1.
#include "train/row_order.hpp"

#include <algorithm>
#include <cstdio>

namespace {

using schuss::index_t;
using schuss::Permutation;
using schuss::RowOrder;

/// Whether known numbers from `position` on are the permutation's and end where the epoch does.
bool agree(const char* what, const Permutation& permutation, RowOrder::Numbers numbers,
           index_t position, index_t at_least) {
  const auto n = static_cast<index_t>(permutation.size());
  if (numbers.known < at_least || position + numbers.known > n) {
    std::printf("%s: n %td, position %td: %td known, of at least %td and at most %td\n", what, n,
                position, numbers.known, at_least, n - position);
    return false;
  }
  for (index_t i = 0; i < numbers.known; ++i) {
    const auto expected =
        static_cast<index_t>(permutation(static_cast<std::uint64_t>(position + i)));
    if (numbers.at[i] == expected) continue;
    std::printf("%s: n %td, position %td: row %td; expected %td\n", what, n, position + i,
                numbers.at[i], expected);
    return false;
  }
  return true;
}

/// Batches in a row through `one`, some ahead; `shared` takes every other and looks at the one after.
bool check(index_t n, index_t batch, index_t ahead) {
  const Permutation permutation(static_cast<std::uint64_t>(n), 5, 2);
  RowOrder one(batch, ahead);
  RowOrder shared(batch, 0, ahead);
  one.set(permutation);
  shared.set(permutation);
  const auto within = [n](index_t count, index_t position) {
    return std::max<index_t>(std::min(count, n - position), 0);
  };
  for (index_t at = 0; at < n; at += batch) {
    const index_t count = within(batch, at);
    if (!agree("ahead", permutation, one.take(at, count), at, within(count + ahead, at))) {
      return false;
    }
    if (at / batch % 2 != 0) continue;
    const RowOrder::Numbers taken = shared.take(at, count);
    const index_t next = at + 2 * batch;
    const RowOrder::Numbers seen = shared.look(next);
    if (!agree("taken", permutation, taken, at, count)) return false;
    if (next >= n ? seen.known != 0
                  : seen.known != within(ahead, next) ||
                        !agree("seen", permutation, seen, next, seen.known)) {
      std::printf("look: n %td, at %td: %td known\n", n, next, seen.known);
      return false;
    }
  }
  return true;
}

}  // namespace

int main() {
  // Below and above the size from which halves take 32 bits, and around blocks of numbers.
  for (const index_t n : {1, 2, 33, 63, 64, 65, 500, 1023, 4097, 300000}) {
    for (const index_t batch : {1, 7, 32, 64, 256}) {
      for (const index_t ahead : {1, 24, 64}) {
        if (n > 5000 && batch < 32) continue;
        if (!check(n, batch, ahead)) return 1;
      }
    }
  }
  // Halves of 32 bits, at the epoch's end.
  const index_t n = (index_t{1} << 28) + 12345;
  const Permutation permutation(static_cast<std::uint64_t>(n), 1, 0);
  RowOrder order(256, 0, 64);
  order.set(permutation);
  for (const index_t at : {n - 400, n - 256, n - 10}) {
    const RowOrder::Numbers seen = order.look(at);
    if (seen.known != std::min<index_t>(64, n - at)) return 1;
    if (!agree("end", permutation, seen, at, seen.known)) return 1;
  }
  return 0;
}

// SPDX-License-Identifier: MIT
/// What every instruction set's vocabulary shares.
///
/// A `vec_<isa>.hpp` specialises `Simd<float>` and `Simd<double>`. Bodies are written against these
/// names alone, so a new instruction set is one header and one translation unit.
#pragma once

namespace schuss {
namespace {

/// V register of lanes, M mask, I integer lanes of the same width, P prefix of lanes.
/// `fma(a,b,c)` = a*b+c and `fnma(a,b,c)` = c-a*b, each rounded once.
/// `tree(v)` adds the lanes of one register: (i, i+W/2), (i, i+W/4), ..., (0, 1); W = 1 gives v.
/// `tree_everywhere(v)` is that sum in every lane.
/// `transpose(rows)` exchanges rows and lanes of W registers.
/// `greatest(v)` is the largest lane of a v without NaN; of zeros, either.
/// Absent lanes of a partial load are +0. Comparisons are false on NaN but for `unordered`.
template <class T>
struct Simd;

}  // namespace
}  // namespace schuss

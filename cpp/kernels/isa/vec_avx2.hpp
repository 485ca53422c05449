// SPDX-License-Identifier: MIT
/// The AVX2+FMA vocabulary: 8 float or 4 double lanes in a register.
///
/// Included by exactly one translation unit, inside no namespace. Everything has internal linkage:
/// no symbol of this header may leave its object file.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/isa/vec_width.hpp"

namespace schuss {
namespace {

/// First `n` of 8 lanes (n in 0..8), as a mask for vmaskmov.
inline __m256i first_lanes_epi32(std::ptrdiff_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}

/// First `n` of 4 lanes (n in 0..4).
inline __m256i first_lanes_epi64(std::ptrdiff_t n) {
  const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), lane);
}

/// a < b ? b : a, a lane each.
inline __m128 larger(__m128 a, __m128 b) { return _mm_blendv_ps(a, b, _mm_cmplt_ps(a, b)); }
inline __m128d larger(__m128d a, __m128d b) { return _mm_blendv_pd(a, b, _mm_cmplt_pd(a, b)); }

/// The first `n` lanes of a register. Loads go by the mask; stores by the count, because a masked
/// store costs tens of cycles on some processors.
struct Prefix {
  __m256i mask;
  int n;
};

template <>
struct Simd<float> {
  using Scalar = float;
  using V = __m256;   // floats
  using I = __m256i;  // int32 lanes
  using M = __m256;   // all-ones or all-zeros lanes
  using P = Prefix;   // a prefix of lanes, for partial loads and stores
  static constexpr int kWidth = 8;
  static constexpr int kRegisters = 16;

  static V load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, V a) { _mm256_storeu_ps(p, a); }
  static P prefix(std::ptrdiff_t n) { return {first_lanes_epi32(n), static_cast<int>(n)}; }
  static V load(const float* p, P first) { return _mm256_maskload_ps(p, first.mask); }
  static void store(float* p, P first, V a) {
    if (first.n >= kWidth) return store(p, a);
    __m128 rest = _mm256_castps256_ps128(a);
    if ((first.n & 4) != 0) {
      _mm_storeu_ps(p, rest);
      rest = _mm256_extractf128_ps(a, 1);
      p += 4;
    }
    if ((first.n & 2) != 0) {
      _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
      rest = _mm_movehl_ps(rest, rest);
      p += 2;
    }
    if ((first.n & 1) != 0) _mm_store_ss(p, rest);
  }
  static V keep(P first, V a) { return _mm256_and_ps(_mm256_castsi256_ps(first.mask), a); }

  /// sum = a * b + sum, in place: left to choose among the three forms of the instruction, compilers
  /// copy and spill the accumulators of long loops.
  static void accumulate(V& sum, V a, V b) {
    asm("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
  }

  static V zero() { return _mm256_setzero_ps(); }
  static V set1(float a) { return _mm256_set1_ps(a); }
  static V broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static V add(V a, V b) { return _mm256_add_ps(a, b); }
  static V sub(V a, V b) { return _mm256_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm256_mul_ps(a, b); }
  static V div(V a, V b) { return _mm256_div_ps(a, b); }
  static V sqrt(V a) { return _mm256_sqrt_ps(a); }
  static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  static V fnma(V a, V b, V c) { return _mm256_fnmadd_ps(a, b, c); }

  static M lt(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  static M le(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
  static M eq(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
  static M unordered(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_UNORD_Q); }
  static M mask_and(M a, M b) { return _mm256_and_ps(a, b); }
  static M mask_or(M a, M b) { return _mm256_or_ps(a, b); }
  static bool any(M a) { return _mm256_movemask_ps(a) != 0; }
  static V select(M m, V yes, V no) { return _mm256_blendv_ps(no, yes, m); }

  static I bits(V a) { return _mm256_castps_si256(a); }
  static V from_bits(I a) { return _mm256_castsi256_ps(a); }
  static I iset1(std::int32_t a) { return _mm256_set1_epi32(a); }
  static I iadd(I a, I b) { return _mm256_add_epi32(a, b); }
  static I isub(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I iand(I a, I b) { return _mm256_and_si256(a, b); }
  static I ior(I a, I b) { return _mm256_or_si256(a, b); }
  static I ixor(I a, I b) { return _mm256_xor_si256(a, b); }
  template <int kBits>
  static I shift_left(I a) {
    return _mm256_slli_epi32(a, kBits);
  }
  template <int kBits>
  static I shift_right(I a) {
    return _mm256_srli_epi32(a, kBits);
  }
  template <int kBits>
  static I shift_right_signed(I a) {
    return _mm256_srai_epi32(a, kBits);
  }
  static V from_int(I a) { return _mm256_cvtepi32_ps(a); }

  /// The lanes of one register, added in the tree (i, i+4), (i, i+2), (i, i+1).
  static float tree(V a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static V tree_everywhere(V a) {
    const V four = _mm256_add_ps(a, _mm256_permute2f128_ps(a, a, 0x01));
    const V two = _mm256_add_ps(four, _mm256_permute_ps(four, 0x4e));  // (2, 3, 0, 1)
    return _mm256_add_ps(two, _mm256_permute_ps(two, 0xb1));           // (1, 0, 3, 2)
  }

  static void transpose(V (&rows)[kWidth]) {
    // Pairs, then fours of rows, a 4x4 block in each half; then the halves.
    V four[kWidth];
    for (int g = 0; g < kWidth; g += 4) {
      const V low01 = _mm256_unpacklo_ps(rows[g], rows[g + 1]);
      const V high01 = _mm256_unpackhi_ps(rows[g], rows[g + 1]);
      const V low23 = _mm256_unpacklo_ps(rows[g + 2], rows[g + 3]);
      const V high23 = _mm256_unpackhi_ps(rows[g + 2], rows[g + 3]);
      four[g] = _mm256_shuffle_ps(low01, low23, 0x44);
      four[g + 1] = _mm256_shuffle_ps(low01, low23, 0xee);
      four[g + 2] = _mm256_shuffle_ps(high01, high23, 0x44);
      four[g + 3] = _mm256_shuffle_ps(high01, high23, 0xee);
    }
    for (int j = 0; j < 4; ++j) {
      rows[j] = _mm256_permute2f128_ps(four[j], four[j + 4], 0x20);
      rows[j + 4] = _mm256_permute2f128_ps(four[j], four[j + 4], 0x31);
    }
  }

  static float greatest(V a) {
    const __m128 four = larger(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = larger(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(larger(two, _mm_movehdup_ps(two)));
  }
};

template <>
struct Simd<double> {
  using Scalar = double;
  using V = __m256d;
  using I = __m256i;  // int64 lanes
  using M = __m256d;
  using P = Prefix;
  static constexpr int kWidth = 4;
  static constexpr int kRegisters = 16;

  static V load(const double* p) { return _mm256_loadu_pd(p); }
  static void store(double* p, V a) { _mm256_storeu_pd(p, a); }
  static P prefix(std::ptrdiff_t n) { return {first_lanes_epi64(n), static_cast<int>(n)}; }
  static V load(const double* p, P first) { return _mm256_maskload_pd(p, first.mask); }
  static void store(double* p, P first, V a) {
    if (first.n >= kWidth) return store(p, a);
    __m128d rest = _mm256_castpd256_pd128(a);
    if ((first.n & 2) != 0) {
      _mm_storeu_pd(p, rest);
      rest = _mm256_extractf128_pd(a, 1);
      p += 2;
    }
    if ((first.n & 1) != 0) _mm_store_sd(p, rest);
  }
  static V keep(P first, V a) { return _mm256_and_pd(_mm256_castsi256_pd(first.mask), a); }

  static void accumulate(V& sum, V a, V b) {
    asm("vfmadd231pd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
  }

  static V zero() { return _mm256_setzero_pd(); }
  static V set1(double a) { return _mm256_set1_pd(a); }
  static V broadcast(const double* p) { return _mm256_broadcast_sd(p); }
  static V add(V a, V b) { return _mm256_add_pd(a, b); }
  static V sub(V a, V b) { return _mm256_sub_pd(a, b); }
  static V mul(V a, V b) { return _mm256_mul_pd(a, b); }
  static V div(V a, V b) { return _mm256_div_pd(a, b); }
  static V sqrt(V a) { return _mm256_sqrt_pd(a); }
  static V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
  static V fnma(V a, V b, V c) { return _mm256_fnmadd_pd(a, b, c); }

  static M lt(V a, V b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
  static M le(V a, V b) { return _mm256_cmp_pd(a, b, _CMP_LE_OQ); }
  static M eq(V a, V b) { return _mm256_cmp_pd(a, b, _CMP_EQ_OQ); }
  static M unordered(V a, V b) { return _mm256_cmp_pd(a, b, _CMP_UNORD_Q); }
  static M mask_and(M a, M b) { return _mm256_and_pd(a, b); }
  static M mask_or(M a, M b) { return _mm256_or_pd(a, b); }
  static bool any(M a) { return _mm256_movemask_pd(a) != 0; }
  static V select(M m, V yes, V no) { return _mm256_blendv_pd(no, yes, m); }

  static I bits(V a) { return _mm256_castpd_si256(a); }
  static V from_bits(I a) { return _mm256_castsi256_pd(a); }
  static I iset1(std::int64_t a) { return _mm256_set1_epi64x(a); }
  static I iadd(I a, I b) { return _mm256_add_epi64(a, b); }
  static I isub(I a, I b) { return _mm256_sub_epi64(a, b); }
  static I iand(I a, I b) { return _mm256_and_si256(a, b); }
  static I ior(I a, I b) { return _mm256_or_si256(a, b); }
  static I ixor(I a, I b) { return _mm256_xor_si256(a, b); }
  template <int kBits>
  static I shift_left(I a) {
    return _mm256_slli_epi64(a, kBits);
  }
  template <int kBits>
  static I shift_right(I a) {
    return _mm256_srli_epi64(a, kBits);
  }

  /// The lanes of one register, added in the tree (i, i+2), (i, i+1).
  static double tree(V a) {
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
  static V tree_everywhere(V a) {
    const V two = _mm256_add_pd(a, _mm256_permute2f128_pd(a, a, 0x01));
    return _mm256_add_pd(two, _mm256_permute_pd(two, 0x5));
  }

  static void transpose(V (&rows)[kWidth]) {
    const V low01 = _mm256_unpacklo_pd(rows[0], rows[1]);
    const V high01 = _mm256_unpackhi_pd(rows[0], rows[1]);
    const V low23 = _mm256_unpacklo_pd(rows[2], rows[3]);
    const V high23 = _mm256_unpackhi_pd(rows[2], rows[3]);
    rows[0] = _mm256_permute2f128_pd(low01, low23, 0x20);
    rows[1] = _mm256_permute2f128_pd(high01, high23, 0x20);
    rows[2] = _mm256_permute2f128_pd(low01, low23, 0x31);
    rows[3] = _mm256_permute2f128_pd(high01, high23, 0x31);
  }

  static double greatest(V a) {
    const __m128d two = larger(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(larger(two, _mm_unpackhi_pd(two, two)));
  }
};

/// Eight floats to two registers of doubles (exact), low half first.
inline void widen(__m256 a, __m256d out[2]) {
  out[0] = _mm256_cvtps_pd(_mm256_castps256_ps128(a));
  out[1] = _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
}

}  // namespace
}  // namespace schuss

// SPDX-License-Identifier: MIT
/// The AVX-512 vocabulary: 16 float or 8 double lanes in a register. Needs F and DQ, and the AVX2
/// and FMA that every such processor has.
///
/// Included by exactly one translation unit, inside no namespace. Everything has internal linkage:
/// no symbol of this header may leave its object file.
#pragma once

// GCC's own definition of _mm512_undefined_* is `__Y = __Y`, which GCC 11 and 12 report wherever an
// intrinsic that uses it is inlined (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/body/unroll.inl"
#include "kernels/isa/vec_width.hpp"

namespace schuss {
namespace {

/// Lanes 8..15.
inline __m256 upper_half(__m512 a) {
  return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
}

/// a < b ? b : a, a lane each.
inline __m128 larger(__m128 a, __m128 b) { return _mm_blendv_ps(a, b, _mm_cmplt_ps(a, b)); }
inline __m128d larger(__m128d a, __m128d b) { return _mm_blendv_pd(a, b, _mm_cmplt_pd(a, b)); }

template <>
struct Simd<float> {
  using Scalar = float;
  using V = __m512;
  using I = __m512i;  // int32 lanes
  using M = __mmask16;
  using P = __mmask16;
  static constexpr int kWidth = 16;
  static constexpr int kRegisters = 32;

  static V load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, V a) { _mm512_storeu_ps(p, a); }
  static P prefix(std::ptrdiff_t n) { return static_cast<P>((1U << n) - 1U); }
  static V load(const float* p, P first) { return _mm512_maskz_loadu_ps(first, p); }
  static void store(float* p, P first, V a) { _mm512_mask_storeu_ps(p, first, a); }
  static V keep(P first, V a) { return _mm512_maskz_mov_ps(first, a); }

  /// sum = a * b + sum, in place.
  static void accumulate(V& sum, V a, V b) { sum = _mm512_fmadd_ps(a, b, sum); }
  static V zero() { return _mm512_setzero_ps(); }
  static V set1(float a) { return _mm512_set1_ps(a); }
  static V broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V div(V a, V b) { return _mm512_div_ps(a, b); }
  static V sqrt(V a) { return _mm512_sqrt_ps(a); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V fnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }

  static M lt(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static M le(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
  static M eq(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static M unordered(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); }
  static M mask_and(M a, M b) { return static_cast<M>(a & b); }
  static M mask_or(M a, M b) { return static_cast<M>(a | b); }
  static bool any(M a) { return a != 0; }
  static V select(M m, V yes, V no) { return _mm512_mask_blend_ps(m, no, yes); }

  static I bits(V a) { return _mm512_castps_si512(a); }
  static V from_bits(I a) { return _mm512_castsi512_ps(a); }
  static I iset1(std::int32_t a) { return _mm512_set1_epi32(a); }
  static I iadd(I a, I b) { return _mm512_add_epi32(a, b); }
  static I isub(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I iand(I a, I b) { return _mm512_and_si512(a, b); }
  static I ior(I a, I b) { return _mm512_or_si512(a, b); }
  static I ixor(I a, I b) { return _mm512_xor_si512(a, b); }
  template <int kBits>
  static I shift_left(I a) {
    return _mm512_slli_epi32(a, kBits);
  }
  template <int kBits>
  static I shift_right(I a) {
    return _mm512_srli_epi32(a, kBits);
  }
  template <int kBits>
  static I shift_right_signed(I a) {
    return _mm512_srai_epi32(a, kBits);
  }
  static V from_int(I a) { return _mm512_cvtepi32_ps(a); }

  /// The lanes of one register, added in the tree (i, i+8), (i, i+4), (i, i+2), (i, i+1).
  static float tree(V a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), upper_half(a));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static V tree_everywhere(V a) {
    const V eight = _mm512_add_ps(a, _mm512_shuffle_f32x4(a, a, 0x4e));  // quarters 2, 3, 0, 1
    const V four = _mm512_add_ps(eight, _mm512_shuffle_f32x4(eight, eight, 0xb1));
    const V two = _mm512_add_ps(four, _mm512_permute_ps(four, 0x4e));
    return _mm512_add_ps(two, _mm512_permute_ps(two, 0xb1));
  }

  static void transpose(V (&rows)[kWidth]) {
    // Pairs, then fours of rows, a 4x4 block in each quarter; then the quarters.
    V four[kWidth];
    unroll<4>([&](auto group) __attribute__((always_inline)) {
      constexpr int g = 4 * group;
      const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(rows[g], rows[g + 1]));
      const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(rows[g], rows[g + 1]));
      const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(rows[g + 2], rows[g + 3]));
      const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(rows[g + 2], rows[g + 3]));
      four[g] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
      four[g + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
      four[g + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
      four[g + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
    });
    unroll<4>([&](auto j) __attribute__((always_inline)) {
      const V low01 = _mm512_shuffle_f32x4(four[j], four[j + 4], 0x44);
      const V high01 = _mm512_shuffle_f32x4(four[j], four[j + 4], 0xee);
      const V low23 = _mm512_shuffle_f32x4(four[j + 8], four[j + 12], 0x44);
      const V high23 = _mm512_shuffle_f32x4(four[j + 8], four[j + 12], 0xee);
      rows[j] = _mm512_shuffle_f32x4(low01, low23, 0x88);
      rows[j + 4] = _mm512_shuffle_f32x4(low01, low23, 0xdd);
      rows[j + 8] = _mm512_shuffle_f32x4(high01, high23, 0x88);
      rows[j + 12] = _mm512_shuffle_f32x4(high01, high23, 0xdd);
    });
  }

  static float greatest(V a) {
    const __m256 low = _mm512_castps512_ps256(a);
    const __m256 high = upper_half(a);
    const __m256 eight = _mm256_blendv_ps(low, high, _mm256_cmp_ps(low, high, _CMP_LT_OQ));
    const __m128 four = larger(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = larger(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(larger(two, _mm_movehdup_ps(two)));
  }
};

template <>
struct Simd<double> {
  using Scalar = double;
  using V = __m512d;
  using I = __m512i;  // int64 lanes
  using M = __mmask8;
  using P = __mmask8;
  static constexpr int kWidth = 8;
  static constexpr int kRegisters = 32;

  static V load(const double* p) { return _mm512_loadu_pd(p); }
  static void store(double* p, V a) { _mm512_storeu_pd(p, a); }
  static P prefix(std::ptrdiff_t n) { return static_cast<P>((1U << n) - 1U); }
  static V load(const double* p, P first) { return _mm512_maskz_loadu_pd(first, p); }
  static void store(double* p, P first, V a) { _mm512_mask_storeu_pd(p, first, a); }
  static V keep(P first, V a) { return _mm512_maskz_mov_pd(first, a); }

  static void accumulate(V& sum, V a, V b) { sum = _mm512_fmadd_pd(a, b, sum); }
  static V zero() { return _mm512_setzero_pd(); }
  static V set1(double a) { return _mm512_set1_pd(a); }
  static V broadcast(const double* p) { return _mm512_set1_pd(*p); }
  static V add(V a, V b) { return _mm512_add_pd(a, b); }
  static V sub(V a, V b) { return _mm512_sub_pd(a, b); }
  static V mul(V a, V b) { return _mm512_mul_pd(a, b); }
  static V div(V a, V b) { return _mm512_div_pd(a, b); }
  static V sqrt(V a) { return _mm512_sqrt_pd(a); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
  static V fnma(V a, V b, V c) { return _mm512_fnmadd_pd(a, b, c); }

  static M lt(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
  static M le(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ); }
  static M eq(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
  static M unordered(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_UNORD_Q); }
  static M mask_and(M a, M b) { return static_cast<M>(a & b); }
  static M mask_or(M a, M b) { return static_cast<M>(a | b); }
  static bool any(M a) { return a != 0; }
  static V select(M m, V yes, V no) { return _mm512_mask_blend_pd(m, no, yes); }

  static I bits(V a) { return _mm512_castpd_si512(a); }
  static V from_bits(I a) { return _mm512_castsi512_pd(a); }
  static I iset1(std::int64_t a) { return _mm512_set1_epi64(a); }
  static I iadd(I a, I b) { return _mm512_add_epi64(a, b); }
  static I isub(I a, I b) { return _mm512_sub_epi64(a, b); }
  static I iand(I a, I b) { return _mm512_and_si512(a, b); }
  static I ior(I a, I b) { return _mm512_or_si512(a, b); }
  static I ixor(I a, I b) { return _mm512_xor_si512(a, b); }
  template <int kBits>
  static I shift_left(I a) {
    return _mm512_slli_epi64(a, kBits);
  }
  template <int kBits>
  static I shift_right(I a) {
    return _mm512_srli_epi64(a, kBits);
  }

  /// The lanes of one register, added in the tree (i, i+4), (i, i+2), (i, i+1).
  static double tree(V a) {
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
  static V tree_everywhere(V a) {
    const V four = _mm512_add_pd(a, _mm512_shuffle_f64x2(a, a, 0x4e));
    const V two = _mm512_add_pd(four, _mm512_shuffle_f64x2(four, four, 0xb1));
    return _mm512_add_pd(two, _mm512_permute_pd(two, 0x55));
  }

  static void transpose(V (&rows)[kWidth]) {
    V two[kWidth];
    unroll<4>([&](auto group) __attribute__((always_inline)) {
      constexpr int g = 2 * group;
      two[g] = _mm512_unpacklo_pd(rows[g], rows[g + 1]);
      two[g + 1] = _mm512_unpackhi_pd(rows[g], rows[g + 1]);
    });
    unroll<2>([&](auto j) __attribute__((always_inline)) {
      const V low01 = _mm512_shuffle_f64x2(two[j], two[j + 2], 0x44);
      const V high01 = _mm512_shuffle_f64x2(two[j], two[j + 2], 0xee);
      const V low23 = _mm512_shuffle_f64x2(two[j + 4], two[j + 6], 0x44);
      const V high23 = _mm512_shuffle_f64x2(two[j + 4], two[j + 6], 0xee);
      rows[j] = _mm512_shuffle_f64x2(low01, low23, 0x88);
      rows[j + 2] = _mm512_shuffle_f64x2(low01, low23, 0xdd);
      rows[j + 4] = _mm512_shuffle_f64x2(high01, high23, 0x88);
      rows[j + 6] = _mm512_shuffle_f64x2(high01, high23, 0xdd);
    });
  }

  static double greatest(V a) {
    const __m256d low = _mm512_castpd512_pd256(a);
    const __m256d high = _mm512_extractf64x4_pd(a, 1);
    const __m256d four = _mm256_blendv_pd(low, high, _mm256_cmp_pd(low, high, _CMP_LT_OQ));
    const __m128d two = larger(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(larger(two, _mm_unpackhi_pd(two, two)));
  }
};

/// Sixteen floats to two registers of doubles (exact), low half first.
inline void widen(__m512 a, __m512d out[2]) {
  out[0] = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
  out[1] = _mm512_cvtps_pd(upper_half(a));
}

}  // namespace
}  // namespace schuss

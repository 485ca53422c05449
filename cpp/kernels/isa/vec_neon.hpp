// SPDX-License-Identifier: MIT
/// The NEON vocabulary of aarch64: 4 float or 2 double lanes in a register.
///
/// Included by exactly one translation unit, inside no namespace. Everything has internal linkage:
/// no symbol of this header may leave its object file.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/isa/vec_width.hpp"

namespace schuss {
namespace {

/// NEON has no masked memory access: partial loads and stores go through the stack.
struct LanePrefix {
  std::ptrdiff_t count;
};

template <>
struct Simd<float> {
  using Scalar = float;
  using V = float32x4_t;
  using I = uint32x4_t;
  using M = uint32x4_t;  // all-ones or all-zeros lanes
  using P = LanePrefix;
  static constexpr int kWidth = 4;
  static constexpr int kRegisters = 32;

  static V load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, V a) { vst1q_f32(p, a); }
  static P prefix(std::ptrdiff_t n) { return {n}; }
  static V load(const float* p, P first) {
    float lanes[kWidth] = {};
    for (std::ptrdiff_t i = 0; i < first.count; ++i) lanes[i] = p[i];
    return vld1q_f32(lanes);
  }
  static void store(float* p, P first, V a) {
    float lanes[kWidth];
    vst1q_f32(lanes, a);
    for (std::ptrdiff_t i = 0; i < first.count; ++i) p[i] = lanes[i];
  }
  static V keep(P first, V a) {
    float lanes[kWidth];
    vst1q_f32(lanes, a);
    return load(lanes, first);
  }

  static V zero() { return vdupq_n_f32(float{0}); }
  static V set1(float a) { return vdupq_n_f32(a); }
  static V broadcast(const float* p) { return vld1q_dup_f32(p); }
  static V add(V a, V b) { return vaddq_f32(a, b); }
  static V sub(V a, V b) { return vsubq_f32(a, b); }
  static V mul(V a, V b) { return vmulq_f32(a, b); }
  static V div(V a, V b) { return vdivq_f32(a, b); }
  static V sqrt(V a) { return vsqrtq_f32(a); }
  static V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
  static void accumulate(V& sum, V a, V b) { sum = vfmaq_f32(sum, a, b); }
  static V fnma(V a, V b, V c) { return vfmsq_f32(c, a, b); }

  static M lt(V a, V b) { return vcltq_f32(a, b); }
  static M le(V a, V b) { return vcleq_f32(a, b); }
  static M eq(V a, V b) { return vceqq_f32(a, b); }
  static M unordered(V a, V b) {
    const M ordered = vandq_u32(vceqq_f32(a, a), vceqq_f32(b, b));
    return veorq_u32(ordered, vdupq_n_u32(static_cast<std::uint32_t>(-1)));
  }
  static M mask_and(M a, M b) { return vandq_u32(a, b); }
  static M mask_or(M a, M b) { return vorrq_u32(a, b); }
  static bool any(M a) { return vmaxvq_u32(a) != 0; }
  static V select(M m, V yes, V no) { return vbslq_f32(m, yes, no); }

  static I bits(V a) { return vreinterpretq_u32_f32(a); }
  static V from_bits(I a) { return vreinterpretq_f32_u32(a); }
  static I iset1(std::int32_t a) { return vdupq_n_u32(static_cast<std::uint32_t>(a)); }
  static I iadd(I a, I b) { return vaddq_u32(a, b); }
  static I isub(I a, I b) { return vsubq_u32(a, b); }
  static I iand(I a, I b) { return vandq_u32(a, b); }
  static I ior(I a, I b) { return vorrq_u32(a, b); }
  static I ixor(I a, I b) { return veorq_u32(a, b); }
  template <int kBits>
  static I shift_left(I a) {
    return vshlq_n_u32(a, kBits);
  }
  template <int kBits>
  static I shift_right(I a) {
    return vshrq_n_u32(a, kBits);
  }
  template <int kBits>
  static I shift_right_signed(I a) {
    return vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(a), kBits));
  }
  static V from_int(I a) { return vcvtq_f32_s32(vreinterpretq_s32_u32(a)); }

  /// The lanes of one register, added in the tree (i, i+2), (i, i+1).
  static float tree(V a) {
    const float32x2_t two = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
  }
  static V tree_everywhere(V a) {
    const V two = vaddq_f32(a, vextq_f32(a, a, 2));
    return vaddq_f32(two, vrev64q_f32(two));
  }

  static void transpose(V (&rows)[kWidth]) {
    const auto wide = [](V v) { return vreinterpretq_f64_f32(v); };
    const auto even01 = wide(vtrn1q_f32(rows[0], rows[1]));
    const auto odd01 = wide(vtrn2q_f32(rows[0], rows[1]));
    const auto even23 = wide(vtrn1q_f32(rows[2], rows[3]));
    const auto odd23 = wide(vtrn2q_f32(rows[2], rows[3]));
    rows[0] = vreinterpretq_f32_f64(vtrn1q_f64(even01, even23));
    rows[1] = vreinterpretq_f32_f64(vtrn1q_f64(odd01, odd23));
    rows[2] = vreinterpretq_f32_f64(vtrn2q_f64(even01, even23));
    rows[3] = vreinterpretq_f32_f64(vtrn2q_f64(odd01, odd23));
  }

  static float greatest(V a) {
    const float32x2_t low = vget_low_f32(a);
    const float32x2_t high = vget_high_f32(a);
    const float32x2_t two = vbsl_f32(vclt_f32(low, high), high, low);
    const float first = vget_lane_f32(two, 0);
    const float second = vget_lane_f32(two, 1);
    return first < second ? second : first;
  }
};

template <>
struct Simd<double> {
  using Scalar = double;
  using V = float64x2_t;
  using I = uint64x2_t;
  using M = uint64x2_t;  // all-ones or all-zeros lanes
  using P = LanePrefix;
  static constexpr int kWidth = 2;
  static constexpr int kRegisters = 32;

  static V load(const double* p) { return vld1q_f64(p); }
  static void store(double* p, V a) { vst1q_f64(p, a); }
  static P prefix(std::ptrdiff_t n) { return {n}; }
  static V load(const double* p, P first) {
    double lanes[kWidth] = {};
    for (std::ptrdiff_t i = 0; i < first.count; ++i) lanes[i] = p[i];
    return vld1q_f64(lanes);
  }
  static void store(double* p, P first, V a) {
    double lanes[kWidth];
    vst1q_f64(lanes, a);
    for (std::ptrdiff_t i = 0; i < first.count; ++i) p[i] = lanes[i];
  }
  static V keep(P first, V a) {
    double lanes[kWidth];
    vst1q_f64(lanes, a);
    return load(lanes, first);
  }

  static V zero() { return vdupq_n_f64(double{0}); }
  static V set1(double a) { return vdupq_n_f64(a); }
  static V broadcast(const double* p) { return vld1q_dup_f64(p); }
  static V add(V a, V b) { return vaddq_f64(a, b); }
  static V sub(V a, V b) { return vsubq_f64(a, b); }
  static V mul(V a, V b) { return vmulq_f64(a, b); }
  static V div(V a, V b) { return vdivq_f64(a, b); }
  static V sqrt(V a) { return vsqrtq_f64(a); }
  static V fma(V a, V b, V c) { return vfmaq_f64(c, a, b); }
  static void accumulate(V& sum, V a, V b) { sum = vfmaq_f64(sum, a, b); }
  static V fnma(V a, V b, V c) { return vfmsq_f64(c, a, b); }

  static M lt(V a, V b) { return vcltq_f64(a, b); }
  static M le(V a, V b) { return vcleq_f64(a, b); }
  static M eq(V a, V b) { return vceqq_f64(a, b); }
  static M unordered(V a, V b) {
    const M ordered = vandq_u64(vceqq_f64(a, a), vceqq_f64(b, b));
    return veorq_u64(ordered, vdupq_n_u64(static_cast<std::uint64_t>(-1)));
  }
  static M mask_and(M a, M b) { return vandq_u64(a, b); }
  static M mask_or(M a, M b) { return vorrq_u64(a, b); }
  static bool any(M a) { return (vgetq_lane_u64(a, 0) | vgetq_lane_u64(a, 1)) != 0; }
  static V select(M m, V yes, V no) { return vbslq_f64(m, yes, no); }

  static I bits(V a) { return vreinterpretq_u64_f64(a); }
  static V from_bits(I a) { return vreinterpretq_f64_u64(a); }
  static I iset1(std::int64_t a) { return vdupq_n_u64(static_cast<std::uint64_t>(a)); }
  static I iadd(I a, I b) { return vaddq_u64(a, b); }
  static I isub(I a, I b) { return vsubq_u64(a, b); }
  static I iand(I a, I b) { return vandq_u64(a, b); }
  static I ior(I a, I b) { return vorrq_u64(a, b); }
  static I ixor(I a, I b) { return veorq_u64(a, b); }
  template <int kBits>
  static I shift_left(I a) {
    return vshlq_n_u64(a, kBits);
  }
  template <int kBits>
  static I shift_right(I a) {
    return vshrq_n_u64(a, kBits);
  }

  /// The two lanes of one register, added.
  static double tree(V a) { return vgetq_lane_f64(a, 0) + vgetq_lane_f64(a, 1); }
  static V tree_everywhere(V a) { return vaddq_f64(a, vextq_f64(a, a, 1)); }

  static void transpose(V (&rows)[kWidth]) {
    const V first = vtrn1q_f64(rows[0], rows[1]);
    rows[1] = vtrn2q_f64(rows[0], rows[1]);
    rows[0] = first;
  }

  static double greatest(V a) {
    const double first = vgetq_lane_f64(a, 0);
    const double second = vgetq_lane_f64(a, 1);
    return first < second ? second : first;
  }
};

/// Four floats to two registers of doubles (exact), low half first.
inline void widen(float32x4_t a, float64x2_t out[2]) {
  out[0] = vcvt_f64_f32(vget_low_f32(a));
  out[1] = vcvt_high_f64_f32(a);
}

}  // namespace
}  // namespace schuss

// SPDX-License-Identifier: MIT
/// Constants of the elementary functions.
///
/// The polynomials are minimax: a Remez exchange in 45-digit arithmetic (mpmath) on Chebyshev
/// points, weighted for the relative error of the function; the lowest coefficients (seven of
/// kErfcx, three of the others) were rounded to the dtype one at a time and the rest fitted again.
/// They approximate, lowest power first:
///   kExp     (e^r - 1 - r) / r^2            |r| <= ln(2)/2
///   kLog     (2 atanh(s)/s - 2) / s^2       in s^2, s <= 3 - 2 sqrt(2)
///   kTanh    (tanh(x)/x - 1) / x^2          in x^2, x <= 0.607
///   kErf     erf(x)/x - 1                   in x^2, x <= 1
///   kLnErfc  ln erfc(1 + t)                 0 <= t <= kErfOne - 1, weighted for erf
///   kErfcx   (1 + 2x) e^(x^2) erfc(x)       in (x - c)/(x + c), c = kErfcCentre,
///                                           kErfcSmall <= x <= kErfcMax
#pragma once

#include <cstdint>

namespace schuss {
namespace {

template <class T>
struct ElementaryConstants;

template <>
struct ElementaryConstants<float> {
  static constexpr int kMantissaBits = 23;
  static constexpr std::int32_t kOneBits = 0x3f800000;
  static constexpr std::int32_t kSqrtHalfBits = 0x3f3504f3;
  static constexpr std::int32_t kMantissaMask = 0x007fffff;
  static constexpr std::int32_t kMagnitudeMask = 0x7fffffff;
  static constexpr float kMax = 0x1.fffffep127F;
  static constexpr float kMinNormal = 0x1p-126F;
  static constexpr float kRounder = 0x1.8p23F;     // adding it rounds to an integer
  static constexpr float kExponentBase = 0x1p23F;  // its bits | e is the number kExponentBase + e
  static constexpr float kExponentBias = 127.0F;
  static constexpr float kSubnormalScale = 0x1p25F;
  static constexpr float kSubnormalShift = 25.0F;
  static constexpr float kLog2E = 0x1.715476p+0F;
  static constexpr float kLn2Hi = 0x1.62e4p-1F;  // ln 2 cut to 15 bits: exact times any exponent
  static constexpr float kLn2Lo = 0x1.7f7d1cp-20F;
  static constexpr float kExpMax = 0x1.62e42ep+6F;   // the largest x whose exp is finite
  static constexpr float kExpMin = -0x1.5d589ep+6F;  // the smallest x whose exp is normal
  static constexpr float kExpm1Min = -20.0F;         // below, expm1 rounds to -1
  static constexpr float kExpm1Max = 40.0F;          // above, expm1 and exp round alike
  static constexpr float kTanhSmall = 0.6F;
  static constexpr float kTanhOne = 10.0F;  // above, tanh rounds to 1
  static constexpr float kErfOne = 3.95F;   // above, erf rounds to 1
  static constexpr float kErfcSmall = 0.45F;
  static constexpr float kErfcCentre = 2.0F;
  static constexpr float kErfcMax = 9.2F;  // above, erfc is below the smallest normal number

  static constexpr float kExp[] = {0x1.fffffcp-2F, 0x1.55548cp-3F, 0x1.555862p-5F, 0x1.123dd4p-7F,
                                   0x1.6ab8f2p-10F};
  static constexpr float kLog[] = {0x1.55557ap-1F, 0x1.995eccp-2F, 0x1.31e23ep-2F};
  static constexpr float kTanh[] = {-0x1.55553ap-2F, 0x1.1108cep-3F, -0x1.b878b4p-5F,
                                    0x1.53d2c2p-6F, -0x1.7df532p-8F};
  static constexpr float kErf[] = {0x1.06eba8p-3F,  -0x1.81273ep-2F, 0x1.ce2ce6p-4F,
                                   -0x1.b7f71ap-6F, 0x1.53f22ep-8F,  -0x1.a351cap-11F,
                                   0x1.477386p-14F};
  static constexpr float kLnErfc[] = {-0x1.d97fcp+0F,  -0x1.51c988p+1F, -0x1.afb44ap-1F,
                                      -0x1.520a06p-5F, 0x1.36204p-7F,   -0x1.8853b2p-10F,
                                      0x1.90bbdcp-14F};
  static constexpr float kErfcx[] = {0x1.46e80ep+0F,   -0x1.7bf5e8p-4F, -0x1.54073ep-3F,
                                     0x1.4ff9bap-3F,   -0x1.bc50f2p-5F, -0x1.06eeeep-7F,
                                     0x1.219772p-7F,   0x1.3eb80ap-10F, -0x1.ccdb56p-10F,
                                     -0x1.46d702p-12F, 0x1.f68c0ep-12F};
};

template <>
struct ElementaryConstants<double> {
  static constexpr int kMantissaBits = 52;
  static constexpr std::int64_t kOneBits = 0x3ff0000000000000;
  static constexpr std::int64_t kSqrtHalfBits = 0x3fe6a09e667f3bcd;
  static constexpr std::int64_t kMantissaMask = 0x000fffffffffffff;
  static constexpr std::int64_t kMagnitudeMask = 0x7fffffffffffffff;
  static constexpr double kMax = 0x1.fffffffffffffp1023;
  static constexpr double kMinNormal = 0x1p-1022;
  static constexpr double kRounder = 0x1.8p52;     // adding it rounds to an integer
  static constexpr double kExponentBase = 0x1p52;  // its bits | e is the number kExponentBase + e
  static constexpr double kExponentBias = 1023.0;
  static constexpr double kSubnormalScale = 0x1p54;
  static constexpr double kSubnormalShift = 54.0;
  static constexpr double kLog2E = 0x1.71547652b82fep+0;
  static constexpr double kLn2Hi =
      0x1.62e42fefa3p-1;  // ln 2 cut to 41 bits: exact times any exponent
  static constexpr double kLn2Lo = 0x1.3de6af278ece6p-42;
  static constexpr double kExpMax = 0x1.62e42fefa39efp+9;   // the largest x whose exp is finite
  static constexpr double kExpMin = -0x1.6232bdd7abcd2p+9;  // the smallest x whose exp is normal
  static constexpr double kExpm1Min = -40.0;                // below, expm1 rounds to -1
  static constexpr double kExpm1Max = 80.0;                 // above, expm1 and exp round alike
  static constexpr double kTanhSmall = 0.6;
  static constexpr double kTanhOne = 20.0;  // above, tanh rounds to 1
  static constexpr double kErfOne = 5.95;   // above, erf rounds to 1
  static constexpr double kErfcSmall = 0.45;
  static constexpr double kErfcCentre = 4.0;
  static constexpr double kErfcMax = 26.55;  // above, erfc is below the smallest normal number

  static constexpr double kExp[] = {
      0x1.000000000000ap-1,  0x1.5555555555502p-3,  0x1.5555555550604p-5,  0x1.111111112525bp-7,
      0x1.6c16c184b6afap-10, 0x1.a01a013b4f8f1p-13, 0x1.a0199886b02abp-16, 0x1.71def8f7167c1p-19,
      0x1.28aee3293be61p-22, 0x1.adcfc5cc5ce88p-26};
  static constexpr double kLog[] = {
      0x1.5555555555593p-1, 0x1.999999997f9f7p-2, 0x1.249249422886p-2, 0x1.c71c51db8d0bfp-3,
      0x1.7466485ccaf4p-3,  0x1.39a0c6625de32p-3, 0x1.2f0f04acf321dp-3};
  static constexpr double kTanh[] = {
      -0x1.5555555555525p-2,  0x1.111111110d585p-3,  -0x1.ba1ba1b6e9de7p-5, 0x1.664f47d35062dp-6,
      -0x1.226e1f6e91925p-7,  0x1.d6d059ef3fa9fp-9,  -0x1.7d75363cd262p-10, 0x1.33ba984daba3ep-11,
      -0x1.e213dd56a51d4p-13, 0x1.49fc762eb9714p-14, -0x1.1a95c37b8dadep-16};
  static constexpr double kErf[] = {
      0x1.06eba8214db68p-3,  -0x1.812746b03799dp-2,  0x1.ce2f21a03f8b2p-4,  -0x1.b82ce311a93cbp-6,
      0x1.565bcceecc4dcp-8,  -0x1.c02daeb3f1bf1p-11, 0x1.f9a2964f9a0dcp-14, -0x1.f4c8270e04281p-17,
      0x1.b96af36ba06d4p-20, -0x1.5b89725a681afp-23, 0x1.d3c484dc64fd1p-27, -0x1.a1e3f06e48a31p-31};
  static constexpr double kLnErfc[] = {
      -0x1.d97fbf27aa2a1p+0,  -0x1.51c9b0006c22cp+1,  -0x1.afabc11a2a519p-1,
      -0x1.5477f09a6b9c2p-5,  0x1.48c9d39989969p-7,   -0x1.033f5c5146276p-9,
      0x1.f1b0cdc021bc8p-13,  0x1.b92389be649f3p-16,  -0x1.c8403f18fca16p-16,
      0x1.4454b56a49a19p-17,  -0x1.1d6f726c2af1ap-19, 0x1.afe9282d40468p-23,
      0x1.0141bcbe8f70fp-24,  -0x1.24cdb3b1f4ab5p-25, 0x1.2ae08c7241167p-27,
      -0x1.730d934a380e7p-30, 0x1.0d4a724e10be6p-33,  -0x1.606ca0a5e3826p-38};
  static constexpr double kErfcx[] = {
      0x1.3ba5916e9fd7fp+0,  -0x1.1df1ad154a268p-3,  0x1.f7f5df66fb095p-7,
      0x1.16ecefcfa2e6ep-4,  -0x1.9ddb23c3d6405p-4,  0x1.7fee004e67d33p-4,
      -0x1.0fb06e000777p-4,  0x1.3079edeb21a1ep-5,   -0x1.0962383138c21p-6,
      0x1.49c675e2fc4f4p-8,  -0x1.8d4ae257034dfp-11, -0x1.a1e18f431ecf8p-13,
      0x1.3be5047243a67p-13, -0x1.991309bb5105cp-16, -0x1.794e1063e4d64p-17,
      0x1.7c9ba026c7a82p-18, 0x1.625d0896c8955p-22,  -0x1.9d80d89fa0fep-21,
      0x1.615e177ee0c59p-25, 0x1.13a149139746ap-24,  -0x1.8c63cdbd4df86p-29,
      0x1.fb0548b1d68e8p-29};
};

}  // namespace
}  // namespace schuss

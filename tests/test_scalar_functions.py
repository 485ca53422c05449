# SPDX-License-Identifier: MIT
"""Float64 functions of one number: sine and cosine, powers for schedules, the normal quantile."""

from __future__ import annotations

import itertools
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schuss import _schuss

mpmath = pytest.importorskip("mpmath", reason="mpmath is the reference")

testing: Any = _schuss.testing
RNG = np.random.default_rng(5)
INF, NAN = math.inf, math.nan
MULTIPLES = np.concatenate([np.arange(200), RNG.integers(0, 2**29, 400)])


def ulps(got: float, want: Any) -> float:
    unit = mpmath.ldexp(1, max(mpmath.frexp(want)[1] - 53, -1074))
    return float(abs(mpmath.mpf(got) - want) / unit)


def multiples_of(angle: Any) -> np.ndarray:
    with mpmath.workprec(120):
        return np.array([float(angle * int(n)) for n in MULTIPLES])


@pytest.mark.parametrize(
    "x",
    [
        RNG.uniform(-4.0, 4.0, 2000),
        RNG.uniform(-(2.0**20), 2.0**20, 1000),
        RNG.uniform(-(2.0**30), 2.0**30, 1000),
        10.0 ** RNG.uniform(-320, 0, 200),
        multiples_of(mpmath.pi / 2),  # where the cosine or the reduced angle is near zero
        multiples_of(mpmath.pi / 2) * (1 + 2.0**-52),
        (np.arange(400) + 0.5) * math.pi / 2,  # where one series gives way to the other
        2.0 ** RNG.uniform(30, 1024, 1000) * RNG.choice([-1.0, 1.0], 1000),
        np.array([float.fromhex("0x1.6ac5b262ca1ffp+849"), 2.0**1023, -1.7976931348623157e308]),
        np.array([0.0, -0.0, 5e-324, math.pi, -math.pi, 2.0**20, 2.0**30, -(2.0**30)]),
    ],
    ids=[
        "period",
        "2^20",
        "2^30",
        "small",
        "multiples",
        "next",
        "halves",
        "far",
        "worst",
        "special",
    ],
)
@pytest.mark.parametrize("name", ["cos", "sin"])
def test_sine_and_cosine_against_mpmath_are_within_their_bound(name: str, x: np.ndarray) -> None:
    ours = getattr(testing, f"scalar_{name}")(x).tolist()
    # 1024 bits of the argument before the point, 62 cancelled, 53 of the result, to spare.
    with mpmath.workprec(1300):
        for given, got in zip(x.tolist(), ours, strict=True):
            assert ulps(got, getattr(mpmath, name)(mpmath.mpf(given))) <= 0.8, given.hex()


def test_sine_and_cosine_of_special_values() -> None:
    for function in (testing.scalar_cos, testing.scalar_sin):
        assert np.isnan(function([INF, -INF, NAN])).all()
    assert np.signbit(testing.scalar_sin([0.0, -0.0, -5e-324])).tolist() == [False, True, True]


POW_POINTS = {
    "middle": (RNG.uniform(0, 2, 1000), RNG.uniform(-50, 50, 1000)),
    "near one": (RNG.uniform(0.99, 1.01, 1000), RNG.uniform(-7e4, 7e4, 1000)),
    "neighbours of one": (1 + np.arange(-50, 50) * 2.0**-52, np.full(100, 1e15)),
    "wide": (10.0 ** RNG.uniform(-300, 300, 1000), RNG.uniform(-3, 3, 1000)),
    "subnormal bases": (10.0 ** RNG.uniform(-323, -308, 300), RNG.uniform(-1, 1, 300)),
    "integers": (RNG.integers(2, 60, 300).astype(float), RNG.integers(-180, 180, 300) * 1.0),
}


@pytest.mark.parametrize("case", POW_POINTS)
def test_pow_against_mpmath_is_within_its_bound(case: str) -> None:
    x, y = POW_POINTS[case]
    with mpmath.workprec(250):
        for base, power, got in zip(
            x.tolist(), y.tolist(), testing.scalar_pow(x, y).tolist(), strict=True
        ):
            want = mpmath.mpf(base) ** mpmath.mpf(power)
            if want >= mpmath.mpf(2) ** 1024 - mpmath.mpf(2) ** 970:
                assert got == INF, (base, power)
            else:
                assert ulps(got, want) <= 0.501, (base, power)


@pytest.mark.parametrize("bits", [(-1076, -1020), (1020, 1025)], ids=["subnormal", "overflow"])
def test_pow_at_the_ends_of_the_range_is_within_its_bound(bits: tuple[int, int]) -> None:
    x = RNG.uniform(0.1, 0.9, 1500)
    y = RNG.uniform(*bits, 1500) / np.log2(x)
    got = testing.scalar_pow(x, y)
    assert (got < 2.0**-1022).any() or np.isinf(got).any()  # the ends were met
    with mpmath.workprec(250):
        for base, power, value in zip(x.tolist(), y.tolist(), got.tolist(), strict=True):
            want = mpmath.mpf(base) ** mpmath.mpf(power)
            if math.isinf(value):
                assert want >= mpmath.mpf(2) ** 1024 - mpmath.mpf(2) ** 970
            else:
                assert ulps(value, want) <= 0.501, (base, power)


def special_power(x: float, y: float) -> float:
    """C99's table, F.9.4.4, where the result is exact."""
    if y == 0 or x == 1:
        return 1.0
    if math.isnan(x) or math.isnan(y):
        return NAN
    odd = not math.isinf(y) and y == math.floor(y) and math.fmod(y, 2.0) != 0
    if math.isinf(y):
        if abs(x) == 1:
            return 1.0
        return INF if (abs(x) > 1) == (y > 0) else 0.0
    if x == 0 or math.isinf(x):
        size = INF if (x != 0) == (y > 0) else 0.0
        return math.copysign(size, x) if odd else size
    if x < 0 and y != math.floor(y):
        return NAN
    return math.copysign(abs(x) ** y, x if odd else 1.0)


def test_pow_at_special_values_is_as_c99_says() -> None:
    # Powers of two: what is not in the table is exact.
    numbers = [0.0, 1.0, 0.5, 2.0, 3.0, 4.0, 16.0, 2.0**53, 2.0**60, INF]
    bases = [s * v for v in numbers if v != 3.0 for s in (1, -1)] + [NAN]
    powers = [s * v for v in numbers if v < 2.0**50 or v == INF for s in (1, -1)] + [NAN]
    for x, y in itertools.product(bases, powers):
        got, want = float(testing.scalar_pow([x], [y])[0]), special_power(x, y)
        if math.isnan(want):
            assert math.isnan(got), (x, y)
        else:
            assert (got, math.copysign(1, got)) == (want, math.copysign(1, want)), (x, y)
    big = 2.0**53
    assert testing.scalar_pow([-1.0] * 3, [big, big - 1, 0.5]).tolist()[:2] == [1.0, -1.0]
    assert testing.scalar_pow([2.0, -2.0, 2.0], [1e300, 2e15 + 1, -1e300]).tolist() == [
        INF,
        -INF,
        0.0,
    ]


def test_pow_of_one_is_the_number_itself() -> None:
    x = RNG.integers(1, 2**63 - 2**52, 1000, dtype=np.uint64).view(np.float64)
    x = x[np.isfinite(x)]
    np.testing.assert_array_equal(testing.scalar_pow(x, np.ones_like(x)), x)


@pytest.mark.no_sanitizer
@pytest.mark.parametrize("flags", [["-O0"], ["-O3", "-mavx2", "-mfma"]], ids=["plain", "avx2"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_scalar_functions_have_the_same_bits_however_compiled(
    compiler: str, flags: list[str], tmp_path: Path
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    if "-mavx2" in flags and "avx2" not in testing.isas():
        pytest.skip("this machine has no AVX2")
    source = tmp_path / "functions.cpp"
    source.write_text(
        '#include <cstdio>\n#include "base/scalar_trig.hpp"\n#include "base/scalar_pow.hpp"\n'
        '#include "base/normal_quantile.hpp"\n'
        "int main() {\n  double x = 0, y = 0;\n"
        '  while (std::scanf("%la %la", &x, &y) == 2)\n'
        '    std::printf("%a %a %a %a\\n", schuss::scalar_cos(y), schuss::scalar_pow(x, y),\n'
        "                schuss::normal_quantile(x), schuss::scalar_sin(1e30 * y));\n}\n"
    )
    program = tmp_path / "functions"
    root = Path(__file__).resolve().parent.parent
    command = [compiler, "-std=c++20", "-ffp-contract=off", *flags, f"-I{root / 'cpp'}"]
    subprocess.run([*command, str(source), "-o", str(program)], check=True)
    x, y = RNG.uniform(0, 1, 3000), RNG.uniform(-200, 200, 3000)
    given = "\n".join(f"{a.hex()} {b.hex()}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    done = subprocess.run([program], input=given, capture_output=True, text=True, check=True)
    found = np.array([float.fromhex(v) for v in done.stdout.split()]).reshape(-1, 4)
    ours = [testing.scalar_cos(y), testing.scalar_pow(x, y), testing.normal_quantile(x)]
    ours.append(testing.scalar_sin(1e30 * y))
    np.testing.assert_array_equal(found, np.stack(ours, axis=1))


def test_normal_quantile_on_dense_and_special_points_is_accurate() -> None:
    # Where one approximation gives way to another: |p - 1/2| = 0.425, and sqrt(-ln p) = 5.
    seams = [0.075, 0.925, math.exp(-25.0), 1.0 - math.exp(-25.0)]
    near = [math.nextafter(p, up) for p in seams for up in (0.0, 1.0)]
    ends = [5e-324, 2.0**-1022, 2.0**-64, 2.0**-53, 1.0 - 2.0**-53, 0.5 - 2.0**-54, 0.5 + 2.0**-53]
    p = np.concatenate(
        [RNG.uniform(0, 1, 1500), 10.0 ** RNG.uniform(-320, 0, 500), seams, near, ends]
    )
    with mpmath.workdps(40):
        for v, got in zip(p.tolist(), testing.normal_quantile(p).tolist(), strict=True):
            # A Newton step from `got` is its error, but where the tail is a subnormal number.
            density = mpmath.npdf(got)
            tail = mpmath.erfc(-mpmath.mpf(got) / mpmath.sqrt(2)) / 2
            error = (tail - mpmath.mpf(v)) / density
            # AS 241 to 1e-16, and 16 roundings of 1.1e-16.
            assert abs(error) <= 2e-15 * max(abs(got), 1e-3), v

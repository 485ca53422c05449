# SPDX-License-Identifier: MIT
"""Elementary functions and activations: accuracy, limits, gradients, equal bits everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from schuss import _schuss

mpmath = pytest.importorskip("mpmath", reason="mpmath is the reference for float64")

testing: Any = _schuss.testing
ISAS: list[str] = list(testing.isas())
FASTEST = ISAS[-1]
Array = npt.NDArray[Any]

# Bounds on the error in units in the last place. float64: the worst of 16,500 random points (log:
# 9,750), plus about a quarter. float32: the bounds of the C++ checker, over all inputs.
ULP64 = {
    "exp": 1.25,
    "expm1": 1.25,
    "log": 1.0,
    "log1p": 1.0,
    "tanh": 1.5,
    "sigmoid": 1.3,
    "softplus": 1.7,
    "erf": 1.25,
    "erfc": 2.2,
}
ULP32 = {
    "exp": 1.05,
    "expm1": 1.15,
    "log": 0.9,
    "log1p": 0.95,
    "tanh": 1.4,
    "sigmoid": 1.2,
    "softplus": 1.8,
    "erf": 1.05,
    "erfc": 2.1,
}
FUNCTIONS = list(ULP64)
FLUSHED = ("exp", "sigmoid", "softplus", "erfc")  # no subnormal results
SIZES = (0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 64, 65)

DENSE = {
    "exp": (-708.0, 709.0),
    "expm1": (-45.0, 709.0),
    "log": (0.0, 20.0),
    "log1p": (-1.0, 20.0),
    "tanh": (-22.0, 22.0),
    "sigmoid": (-708.0, 40.0),
    "softplus": (-708.0, 40.0),
    "erf": (-6.2, 6.2),
    "erfc": (-6.2, 26.5),
}


def unary(isa: str, name: str, x: Array) -> Array:
    y: Array = testing.unary(isa, name, np.ascontiguousarray(x))
    return y


def exact(name: str, x: float) -> Any:
    value = mpmath.mpf(x)
    if name == "sigmoid":
        return 1 / (1 + mpmath.exp(-value))
    if name == "softplus":
        return mpmath.log1p(mpmath.exp(value))
    return getattr(mpmath, name)(value)


def bits(x: Array) -> Array:
    """The bits of x, with every NaN as one pattern: payloads are outside the promise."""
    x = np.where(np.isnan(x), x.dtype.type("nan"), x)
    return x.view(np.uint32 if x.dtype == np.float32 else np.uint64)


def float32_inputs(stride: int) -> Array:
    """Every stride-th of all 2^32 patterns, and three patterns around every exponent."""
    edges = np.arange(0, 2**32, 2**23, dtype=np.int64)
    near = np.concatenate([edges - 1, edges, edges + 1]) % 2**32
    patterns = np.concatenate([np.arange(0, 2**32, stride, dtype=np.int64), near])
    return patterns.astype(np.uint32).view(np.float32)


# Where one formula gives way to another, or a reduced argument changes sign.
HALF_LN2 = math.log(2) / 2
SEAMS = {
    "exp": HALF_LN2 * np.arange(-2043, 2046, 2),
    "expm1": np.append(HALF_LN2 * np.arange(-107, 2046, 2), [-40.0, 80.0]),
    "log": math.sqrt(0.5) * 2.0 ** np.arange(-1022, 1023, 3),
    "log1p": np.append(math.sqrt(0.5) * 2.0 ** np.arange(-2, 1023, 3) - 1, [2.0**-53, -(2.0**-54)]),
    "tanh": np.append(HALF_LN2 * np.arange(-31, 32) / 2, [-0.6, 0.6, -20.0, 20.0]),
    "sigmoid": HALF_LN2 * np.arange(-2043, 60, 2),
    "softplus": HALF_LN2 * np.arange(-2043, 60, 2),
    "erf": np.array([-5.95, -1.0, 1.0, 5.95]),
    "erfc": np.append(np.sqrt(HALF_LN2 * np.arange(1, 2043, 2)), [-0.45, 0.45, 4.0, 26.5]),
}


def float64_seams(name: str) -> Array:
    """The seams and their neighbours on both sides."""
    seams = SEAMS[name]
    x = np.concatenate([seams + step * np.spacing(seams) for step in range(-2, 3)])
    low, high = DENSE[name]
    return x[(x > low) & (x < high)] if name != "log" else x


def float64_points(name: str) -> Array:
    rng = np.random.default_rng(20)
    low, high = DENSE[name]
    close = rng.uniform(max(low, -1.5), min(high, 1.5), 500)
    tiny = 10.0 ** rng.uniform(-307, -1, 60)
    both = tiny if name == "log" else np.concatenate([tiny, -tiny])
    dense = [rng.uniform(low, high, 300), close, both]
    return np.concatenate([*dense, float64_seams(name)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_function_against_mpmath_is_within_its_bound(name: str) -> None:
    x = float64_points(name)
    y = unary(FASTEST, name, x)
    with mpmath.workprec(160):  # three times the significand: cancellation in the reference is none
        for given, got in zip(x.tolist(), y.tolist(), strict=True):
            want = exact(name, given)
            if name in FLUSHED and want < 2.0**-1022:
                assert got == 0.0
                continue
            ulp = mpmath.ldexp(1, max(mpmath.frexp(want)[1] - 53, -1074))
            assert abs(mpmath.mpf(got) - want) <= ULP64[name] * ulp, (name, given, got)


def reference64(name: str, x: Array) -> Array:
    """In float64, a billion times finer than the float32 results it judges."""
    elementwise: dict[str, Callable[[Array], Array]] = {
        "exp": np.exp,
        "expm1": np.expm1,
        "log": np.log,
        "log1p": np.log1p,
        "tanh": np.tanh,
        "sigmoid": lambda v: 1.0 / (1.0 + np.exp(-v)),
        "softplus": lambda v: np.logaddexp(0.0, v),
        "erf": np.vectorize(math.erf, otypes=[np.float64]),
        "erfc": np.vectorize(math.erfc, otypes=[np.float64]),
    }
    with np.errstate(all="ignore"):
        return elementwise[name](x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_function_over_a_stride_of_all_inputs_is_within_its_bound(name: str) -> None:
    x = float32_inputs(19937)
    y = unary(FASTEST, name, x)
    with np.errstate(invalid="ignore", over="ignore"):  # signalling NaN among x; exp overflows
        want = reference64(name, x.astype(np.float64))
        rounded = want.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(want))
    overflows = np.isinf(rounded)
    np.testing.assert_array_equal(y[overflows], rounded[overflows])
    small = np.abs(want) < 2.0**-126
    if name in FLUSHED:
        assert not bits(y[small]).any()  # +0, not -0 and not a subnormal
        small_is_done = small
    else:
        small_is_done = np.zeros_like(small)
    rest = ~(np.isnan(want) | overflows | small_is_done)
    exponent = np.maximum(np.frexp(want[rest])[1] - 24, -149)
    error = np.abs(y[rest].astype(np.float64) - want[rest]) / np.ldexp(1.0, exponent)
    assert error.max() <= ULP32[name]
    assert (np.signbit(y[rest]) == np.signbit(want[rest])).all()


SPECIAL: dict[str, list[tuple[float, float]]] = {
    "exp": [(-math.inf, 0.0), (math.inf, math.inf), (0.0, 1.0), (-0.0, 1.0), (-1e4, 0.0)],
    "expm1": [(-math.inf, -1.0), (math.inf, math.inf), (0.0, 0.0), (-0.0, -0.0), (1e4, math.inf)],
    "log": [
        (0.0, -math.inf),
        (-0.0, -math.inf),
        (math.inf, math.inf),
        (1.0, 0.0),
        (-1.0, math.nan),
    ],
    "log1p": [(-1.0, -math.inf), (math.inf, math.inf), (0.0, 0.0), (-0.0, -0.0), (-2.0, math.nan)],
    "tanh": [(-math.inf, -1.0), (math.inf, 1.0), (0.0, 0.0), (-0.0, -0.0), (1e30, 1.0)],
    "sigmoid": [(-math.inf, 0.0), (math.inf, 1.0), (0.0, 0.5), (-0.0, 0.5), (-1e4, 0.0)],
    "softplus": [(-math.inf, 0.0), (math.inf, math.inf), (1e4, 1e4), (-1e4, 0.0)],
    "erf": [(-math.inf, -1.0), (math.inf, 1.0), (0.0, 0.0), (-0.0, -0.0), (-9.0, -1.0)],
    "erfc": [(-math.inf, 2.0), (math.inf, 0.0), (0.0, 1.0), (-0.0, 1.0), (50.0, 0.0)],
    "sqrt": [(-0.0, -0.0), (math.inf, math.inf), (4.0, 2.0), (-1.0, math.nan)],
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SPECIAL)
def test_function_at_special_values_gives_its_limits(isa: str, dtype: Any, name: str) -> None:
    points = [*SPECIAL[name], (math.nan, math.nan)]
    x = np.array([p[0] for p in points], dtype)
    want = np.array([p[1] for p in points], dtype)
    np.testing.assert_array_equal(bits(unary(isa, name, x)), bits(want))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["tanh", "expm1", "log1p"])
def test_function_of_a_subnormal_is_the_subnormal(isa: str, name: str) -> None:
    # x - x^3/3 and x -+ x^2/2 are x to rounding here.
    x = np.array([5e-324, -5e-324, 1e-310, -1e-310])
    np.testing.assert_array_equal(bits(unary(isa, name, x)), bits(x))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_and_sigmoid_around_the_smallest_normal_number_give_no_subnormal(
    isa: str, dtype: Any
) -> None:
    smallest = np.finfo(dtype).tiny
    threshold = dtype(np.log(float(smallest)))
    x = threshold + np.arange(-50, 50, dtype=dtype) * np.spacing(threshold)
    for name in ("exp", "sigmoid"):
        y = unary(isa, name, x)
        assert ((y == 0) | (y >= smallest)).all()
        assert y[0] > 0 or y[-1] > 0  # both sides of the edge were met
        assert y.min() == 0


@pytest.mark.parametrize("isa", ISAS[1:])
@pytest.mark.parametrize("name", [*FUNCTIONS, "sqrt"])
def test_instruction_sets_give_equal_bits(isa: str, name: str) -> None:
    single = float32_inputs(99991)
    np.testing.assert_array_equal(
        bits(unary(isa, name, single)), bits(unary("scalar", name, single))
    )
    rng = np.random.default_rng(7)
    patterns = rng.integers(0, 2**64, 20_000, dtype=np.uint64).view(np.float64)
    double = np.concatenate([patterns, rng.normal(scale=8.0, size=20_000)])
    np.testing.assert_array_equal(
        bits(unary(isa, name, double)), bits(unary("scalar", name, double))
    )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_function_of_a_prefix_is_the_prefix_of_the_function(isa: str, dtype: Any) -> None:
    x = np.linspace(-4.0, 4.0, 65, dtype=dtype)
    for name in FUNCTIONS:
        whole = unary(isa, name, x)
        for size in SIZES:
            np.testing.assert_array_equal(bits(unary(isa, name, x[:size])), bits(whole[:size]))


# ---- activations ---------------------------------------------------------------------------------

A, BETA, THRESHOLD = 0.3, 1.5, 4.0
ERF = np.vectorize(math.erf, otypes=[np.float64])


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


FORMULAS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.where(x > 0, x, 0.0),
    "leaky_relu": lambda x: np.where(x > 0, x, A * x),
    "elu": lambda x: np.where(x > 0, x, A * np.expm1(x)),
    "gelu": lambda x: x * 0.5 * (1 + ERF(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.where(BETA * x > THRESHOLD, x, np.log1p(np.exp(BETA * x)) / BETA),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "step": lambda x: np.where(x > 0, 1.0, 0.0),
    "softmax": softmax,
    "log_softmax": lambda x: np.log(softmax(x)),
}


def forward(isa: str, name: str, x: Array) -> Array:
    y: Array = testing.activation(isa, name, x, A, BETA, THRESHOLD)
    return y


def backward(isa: str, name: str, x: Array, y: Array, d: Array) -> Array:
    d_x: Array = testing.activation_backward(isa, name, x, y, d, A, BETA, THRESHOLD)
    return d_x


def block(rows: int, cols: int, dtype: Any = np.float64) -> Array:
    return (
        np.random.default_rng(rows * 100 + cols).normal(scale=2.5, size=(rows, cols)).astype(dtype)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FORMULAS)
def test_activation_follows_its_formula(name: str, dtype: Any) -> None:
    x = block(37, 29, dtype)
    wide = x.astype(np.float64)
    # A formula is at most ten roundings of terms no larger than max(1, |x|); a softmax divides by a
    # sum of 29 terms in 16 or 8 lanes (8 roundings more), and its log is at most max - x + ln 29.
    span = 1 if "softmax" not in name else np.ptp(wide, axis=1, keepdims=True)
    tolerance = 20 * np.finfo(dtype).eps * np.maximum(1.0, np.maximum(np.abs(wide), span))
    assert (np.abs(forward(FASTEST, name, x) - FORMULAS[name](wide)) <= tolerance).all()


@pytest.mark.parametrize("name", [name for name in FORMULAS if name != "step"])
def test_activation_gradient_is_the_finite_difference(name: str) -> None:
    x = block(5, 11)
    d = np.random.default_rng(1).normal(size=x.shape)
    h = 6e-6  # the cube root of eps, where rounding / h and curvature * h^2 balance
    assert np.abs(x).min() > 2 * h  # no kink between the two points
    assert np.abs(BETA * x - THRESHOLD).min() > 2 * h
    got = backward(FASTEST, name, x, forward(FASTEST, name, x), d)
    want = np.empty_like(x)
    for column in range(x.shape[1]):
        step = np.zeros_like(x)
        step[:, column] = h
        difference = forward(FASTEST, name, x + step) - forward(FASTEST, name, x - step)
        want[:, column] = (difference * d).sum(axis=1) / (2 * h)
    # Rounding: 4 eps |y| |d| / 2h over 11 columns, |y| <= 8, |d| <= 4, is 2.6e-8; the curvature
    # term h^2/6 |y'''| |d| is below 1e-9.
    np.testing.assert_allclose(got, want, rtol=0, atol=2.7e-8)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activation_gradient_at_zero_follows_the_convention(isa: str, dtype: Any) -> None:
    x = np.array([[0.0, -0.0]], dtype)
    d = np.array([[2.0, 2.0]], dtype)
    slope = dtype(A) * dtype(2)
    for name, want in (("relu", 0.0), ("leaky_relu", slope), ("elu", slope), ("step", 0.0)):
        y = forward(isa, name, x)
        np.testing.assert_array_equal(
            bits(backward(isa, name, x, y, d)), bits(np.full_like(x, want))
        )
    np.testing.assert_array_equal(bits(forward(isa, "relu", x)), bits(np.zeros_like(x)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", FORMULAS)
def test_activation_of_nan_is_nan(isa: str, name: str) -> None:
    x = np.full((1, 9), 0.5, np.float32)
    x[0, 4] = np.nan
    y = forward(isa, name, x)
    assert np.isnan(y[0, 4])
    assert np.isnan(y).all() == ("softmax" in name)


@pytest.mark.parametrize("isa", ISAS)
def test_softmax_at_extreme_logits_is_stable(isa: str) -> None:
    x = np.array([[1e4, -1e4, 1e4], [-1e4, -1e4, -np.inf]], np.float32)
    np.testing.assert_array_equal(
        forward(isa, "softmax", x), np.array([[0.5, 0, 0.5], [0.5, 0.5, 0]], np.float32)
    )
    half = np.float32(-math.log(2))
    y = forward(isa, "log_softmax", x)
    np.testing.assert_array_equal(y[0, [0, 2]], [half, half])
    assert y[0, 1] == np.float32(-2e4 - math.log(2))
    np.testing.assert_array_equal(y[1], [half, half, -np.inf])


@pytest.mark.parametrize("isa", ISAS)
def test_softplus_past_its_threshold_is_the_identity(isa: str) -> None:
    x = np.array([[THRESHOLD / BETA + 0.01, 1e4]], np.float32)
    np.testing.assert_array_equal(forward(isa, "softplus", x), x)
    d = np.array([[0.3, 0.7]], np.float32)
    np.testing.assert_array_equal(backward(isa, "softplus", x, x, d), d)


@pytest.mark.parametrize("isa", ISAS[1:])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FORMULAS)
def test_activation_on_every_instruction_set_gives_equal_bits(
    isa: str, dtype: Any, name: str
) -> None:
    for cols in SIZES[1:]:
        x = block(3, cols, dtype)
        x[1, 0] = -0.0
        d = block(3, cols + 200, dtype)[:, :cols].copy()
        y = forward("scalar", name, x)
        np.testing.assert_array_equal(bits(forward(isa, name, x)), bits(y))
        np.testing.assert_array_equal(
            bits(backward(isa, name, x, y, d)), bits(backward("scalar", name, x, y, d))
        )

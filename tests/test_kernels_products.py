# SPDX-License-Identifier: MIT
"""Products and sums of every instruction set against the order of operations that is promised.

The references do each operation in the promised order and round it once, as an fma does, so results
are compared bit for bit and there is no tolerance. Inputs stand in frames of NaN, outputs in frames
of canaries, at every misalignment: whatever reads or writes past an edge shows.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from schuss import _schuss

testing = _schuss.testing

ISAS = testing.isas()
DTYPES = [np.float32, np.float64]
SIZES = [0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 64, 65]
STARTS = ["zero", "bias", "resume"]
FINISHES = ["store", "add", "relu", "relu_mask"]
WAYS = list(itertools.product(STARTS, FINISHES))
CANARY = 77.0
LINE = 64  # bytes


# ---- references ----------------------------------------------------------------------------------


def to_odd(total, error):
    """total + error, inexact results rounded to the neighbour whose last bit is set."""
    even = total.view(np.int64) & 1 == 0
    away = np.where(error > 0, np.inf, -np.inf)
    return np.where((error != 0) & even, np.nextafter(total, away), total)


def two_sum(a, b):
    """a + b, and what its rounding lost."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def fma32(a, b, c):
    """The product is exact in float64, the sum is rounded to odd, and then to float32."""
    product = a.astype(np.float64) * b.astype(np.float64)
    total, error = two_sum(product, np.broadcast_to(c.astype(np.float64), product.shape))
    return to_odd(total, error).astype(np.float32)


def split(a):
    high = a * 134217729.0  # 2^27 + 1
    high = high - (high - a)
    return high, a - high


def fma64(a, b, c):
    """Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = split(a), split(b)
    lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    low, lowest = two_sum(np.broadcast_to(c, product.shape), lost)
    high, middle = two_sum(product, low)
    result = high + to_odd(*two_sum(lowest, middle))
    return np.where(result == 0.0, a * b + c, result)  # an exact zero: its sign


def fma(a, b, c):
    a, b, c = np.asarray(a), np.asarray(b), np.asarray(c)
    return fma32(a, b, c) if c.dtype == np.float32 else fma64(a, b, c)


def relu(x):
    return np.where(x <= 0, x.dtype.type(0), x)


def tree(lanes):
    """Lanes (i, i + half) for half = 8 (float64: 4), 4, 2, 1; lanes are the first axis."""
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    return lanes[0]


def in_lanes(a, b=None):
    """Sum over the first axis of a*b (b None: of a) in lanes and their tree."""
    n_lanes = LINE // a.dtype.itemsize
    acc = np.zeros((n_lanes, *a.shape[1:]), a.dtype)
    for i in range(0, len(a), n_lanes):
        part = a[i : i + n_lanes]
        n = len(part)
        acc[:n] = acc[:n] + part if b is None else fma(part, b[i : i + n_lanes], acc[:n])
    return tree(acc)


def product_reference(a, b, c, start, finish, bias, gate):
    if start == "zero":
        acc = np.zeros_like(c)
    else:
        acc = np.array(np.broadcast_to(bias, c.shape) if start == "bias" else c)
    for depth in range(a.shape[1]):
        acc = fma(a[:, depth, None], b[None, depth, :], acc)
    if finish == "add":
        return c + acc
    if finish == "relu":
        return relu(acc)
    if finish == "relu_mask":
        return np.where(gate <= 0, c.dtype.type(0), acc)
    return acc


# ---- arrays in frames ----------------------------------------------------------------------------


def framed(values, offset=0, pad=0, fill=np.nan):
    """(view with these values, its whole buffer): rows `pad` longer, `offset` past a cache line."""
    rows, cols = values.shape
    ld = cols + pad
    line = LINE // values.itemsize
    buffer = np.full(3 * line + rows * ld + offset, fill, values.dtype)
    start = -buffer.ctypes.data % LINE // values.itemsize + offset
    view = buffer[start : start + rows * ld].reshape(rows, ld)[:, :cols]
    view[...] = values
    return view, buffer


def framed_row(values, offset=0, fill=np.nan):
    view, buffer = framed(values[None, :], offset, 0, fill)
    return view[0], buffer


def assert_wrote_only(view, buffer, expected):
    """The view holds `expected`, bit for bit, and everything around it is as it was."""
    assert view.tobytes() == np.ascontiguousarray(expected).tobytes()
    view[...] = CANARY
    assert (buffer == CANARY).all()


def numbers(rng, shape, dtype, integers):
    """Small integers, whose sums of products are exact, or normals."""
    if integers:
        return rng.integers(-4, 5, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


class ProductCase:
    def __init__(self, shape, dtype, seed, integers=False, transposed=False):
        self.shape = m, n, k = shape
        rng = np.random.default_rng([seed, m, n, k])
        make = lambda *s: numbers(rng, s, dtype, integers)  # noqa: E731
        self.a, self.b, self.c, self.gate = make(m, k), make(k, n), make(m, n), make(m, n)
        self.bias = make(n)
        self.transposed = transposed

    def expected(self, start, finish):
        return product_reference(self.a, self.b, self.c, start, finish, self.bias, self.gate)

    def run(self, isa, start, finish, packed, offset=0, pad=0):
        """The view that the kernel wrote and its buffer."""
        if self.transposed:
            a = framed(self.a.T, offset, pad)[0].T
        else:
            a = framed(self.a, offset, pad)[0]
        b = framed(self.b, offset + 1, pad)[0]
        gate = framed(self.gate, offset + 2, pad + 1)[0]
        bias = framed_row(self.bias, offset)[0]
        c, buffer = framed(self.c, offset + 3, pad + 2, CANARY)
        testing.product(isa, a, b, c, start, finish, bias, gate, packed)
        return c, buffer


# ---- the references themselves -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_reference_fma_rounds_once(dtype):
    """Against exact fractions, where a product and a sum rounded apart (or twice) are wrong."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 400)).astype(dtype)
    c = (-(a * b) * (1 + rng.choice([0, 1, 2.0**-20, 2.0**-40], 400))).astype(dtype)
    got = fma(a, b, c)
    for x, y, z, found in zip(a, b, c, got, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        near = [np.nextafter(found, dtype(s)) for s in (-np.inf, np.inf)]
        error = abs(Fraction(float(found)) - exact)
        assert all(error <= abs(Fraction(float(other)) - exact) for other in near)
    assert (got != a * b + c).any()


# ---- product -------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
def test_product_of_small_integers_is_exact_at_every_size(isa, dtype, packed):
    """Every pair of m and n; depths, ways and misalignments take turns that never line up."""
    depths, ways = itertools.cycle([*SIZES, 257]), itertools.cycle([*WAYS, WAYS[0]])
    for turn, (m, n) in enumerate(itertools.product(SIZES, SIZES)):
        k, (start, finish) = next(depths), next(ways)
        case = ProductCase((m, n, k), dtype, turn, integers=True)
        chain = case.a @ case.b + {"zero": 0, "bias": case.bias, "resume": case.c}[start]
        expected = {
            "store": chain,
            "add": case.c + chain,
            "relu": np.maximum(chain, 0),
            "relu_mask": np.where(case.gate <= 0, 0, chain),
        }[finish].astype(dtype)
        c, buffer = case.run(isa, start, finish, packed, offset=turn % 5, pad=turn % 3)
        np.testing.assert_array_equal(c, expected, err_msg=f"{(m, n, k)} {start} {finish}")
        c[...] = CANARY
        assert (buffer == CANARY).all(), (m, n, k)


# (m, n, k): one row, few rows, more than a tile of rows; partial vectors and panels; more depth
# than a block of 256, and just as much; depths up to 6, whose b stays in registers, and 7;
# rows that fill registers better than columns do.
SHAPES = [
    (1, 1, 1), (1, 200, 33), (2, 65, 300), (3, 47, 256), (5, 10, 784), (7, 33, 9), (13, 17, 31),
    (25, 49, 64), (32, 6, 257), (9, 3, 513), (48, 1, 16), (4, 130, 0), (4, 24, 2), (8, 64, 4),
    (33, 79, 6), (21, 48, 5), (17, 200, 3), (12, 32, 7), (64, 10, 33), (135, 9, 16), (70, 6, 40),
    (131, 12, 64), (33, 5, 64),
]  # fmt: skip


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_product_is_one_chain_of_fmas_in_order_of_depth(shape, dtype, transposed):
    case = ProductCase(shape, dtype, 2, transposed=transposed)
    for start, finish in WAYS if shape[2] < 300 else [("bias", "store"), ("zero", "add")]:
        expected = case.expected(start, finish)
        for isa, packed in itertools.product(ISAS, [False, True]):
            c, buffer = case.run(isa, start, finish, packed, offset=3, pad=1)
            assert_wrote_only(c, buffer, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_product_has_the_same_bits_on_every_instruction_set(dtype):
    """Instruction sets, packing, alignment and row lengths: of normals at every m and n."""
    depths = itertools.cycle([17, 64, 9, 300])
    for m, n in itertools.product(SIZES, SIZES):
        case = ProductCase((m, n, next(depths)), dtype, 3)
        expected = case.run("scalar", "bias", "store", packed=False)[0].tobytes()
        for isa, (packed, offset, pad) in itertools.product(
            ISAS, [(False, 0, 0), (False, 1, 2), (True, 5, 7)]
        ):
            got = case.run(isa, "bias", "store", packed, offset, pad)[0]
            assert got.tobytes() == expected, (isa, m, n, packed, offset)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("packed", [False, True])
def test_product_cut_in_two_and_resumed_keeps_its_bits(isa, dtype, packed):
    case = ProductCase((6, 21, 90), dtype, 4)
    whole = case.run(isa, "bias", "relu", packed)[0]
    c = np.zeros((6, 21), dtype)
    head, tail = np.ascontiguousarray(case.a[:, :37]), np.ascontiguousarray(case.a[:, 37:])
    testing.product(isa, head, case.b[:37], c, "bias", "store", case.bias, packed=packed)
    testing.product(isa, tail, case.b[37:], c, "resume", "relu", packed=packed)
    assert c.tobytes() == whole.tobytes()


@pytest.mark.parametrize("repeats", [1, 7])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_product_relu_gives_plus_zero_and_passes_nan(isa, dtype, repeats):
    """Repeated, the columns fill registers."""
    a = np.array([[1.0], [-1.0], [np.nan], [np.inf]], dtype)
    b = np.tile(np.array([[-0.0, 0.0, -3.0, 3.0, np.nan]], dtype), repeats)
    zero, nan, inf = 0.0, np.nan, np.inf
    expected = [
        [zero, zero, zero, 3.0, nan],
        [zero, zero, 3.0, zero, nan],
        [nan] * 5,
        [nan, nan, zero, inf, nan],
    ]
    c = np.full((4, 5 * repeats), CANARY, dtype)
    with np.errstate(invalid="ignore"):
        testing.product(isa, a, b, c, "zero", "relu")
    np.testing.assert_array_equal(c, np.tile(np.array(expected, dtype), repeats))
    assert not np.signbit(c[c == 0]).any()
    # The mask of a NaN gate keeps the gradient: NaN <= 0 is false.
    gate = np.tile(np.array([[nan, -0.0, 1.0, -1.0, inf]], dtype), (4, repeats))
    ones = np.ones((4, 1), dtype)
    row = np.tile(np.array([[-5.0, -6.0, -7.0, -8.0, -9.0]], dtype), repeats)
    c = np.full((4, 5 * repeats), CANARY, dtype)
    testing.product(isa, ones, row, c, "zero", "relu_mask", gate=gate)
    kept = np.array([-5.0, 0.0, -7.0, 0.0, -9.0], dtype)
    assert c.tobytes() == np.tile(kept, (4, repeats)).tobytes()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (70, 144, 64), (96, 192, 200)], ids=str)
def test_product_that_descends_takes_the_chain_from_c_and_from_its_packed_copy(
    shape, dtype, transposed
):
    """c - rate * chain, one fma; the copy is what packing the new c gives, padding included."""
    case = ProductCase(shape, dtype, 5, transposed=transposed)
    rate = dtype(0.37)
    chain = case.expected("zero", "store")
    expected = fma(np.full_like(case.c, -rate), chain, case.c)
    for isa, with_copy in itertools.product(ISAS, [False, True]):
        a = framed(case.a.T, 3, 1)[0].T if transposed else framed(case.a, 3, 1)[0]
        b = framed(case.b, 4, 1)[0]
        c, buffer = framed(case.c, 6, 3, CANARY)
        copy, copy_buffer = framed_row(testing.packed(isa, case.c), 0, CANARY)
        testing.product(isa, a, b, c, finish="descend", rate=rate, copy=copy if with_copy else None)
        moved = expected if with_copy else case.c
        assert_wrote_only(c, buffer, expected)
        assert_wrote_only(copy, copy_buffer, testing.packed(isa, np.ascontiguousarray(moved)))


# ---- sums in lanes -------------------------------------------------------------------------------


def padded_weight(rng, n_out, n_in, dtype, integers):
    """Rows of weights, +0 up to whole cache lines."""
    line = LINE // np.dtype(dtype).itemsize
    weight = np.zeros((n_out, -(-n_in // line) * line), dtype)
    weight[:, :n_in] = numbers(rng, (n_out, n_in), dtype, integers)
    return framed(weight)[0]


@pytest.mark.parametrize("with_relu", [False, True])
@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("n_out", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_narrow_forward_sums_in_lanes_and_their_tree(dtype, n_out, integers, with_relu):
    for turn, n_in in enumerate([*SIZES, 300]):
        rng = np.random.default_rng([n_in, n_out])
        weight = padded_weight(rng, n_out, n_in, dtype, integers)
        rows = SIZES[(5 * turn + 4) % len(SIZES)]
        values = numbers(rng, (rows, n_in), dtype, integers)
        bias = None if turn % 3 == 0 else numbers(rng, n_out, dtype, integers)
        expected = np.zeros((rows, n_out), dtype)
        for o in range(n_out):
            total = in_lanes(values.T, np.broadcast_to(weight[o, :n_in, None], (n_in, rows)))
            expected[:, o] = total if bias is None else total + bias[o]
        expected = relu(expected) if with_relu else expected
        if integers:
            plain = values @ weight[:, :n_in].T + (0 if bias is None else bias)
            np.testing.assert_array_equal(expected, relu(plain) if with_relu else plain)
        for isa, (offset, pad) in itertools.product(ISAS, [(0, 0), (1, 1), (5, 3)]):
            x = framed(values, offset, pad)[0]
            y, buffer = framed(np.full((rows, n_out), 5, dtype), offset + 1, pad, CANARY)
            testing.narrow_forward(isa, x, weight, bias, y, with_relu)
            assert_wrote_only(y, buffer, expected)


@pytest.mark.parametrize("rows", [*SIZES, 255, 256])
@pytest.mark.parametrize("dtype", DTYPES)
def test_small_gradient_sums_rows_in_lanes_and_their_tree(dtype, rows):
    for n_in, n_out, integers in itertools.product([0, 1, 2, 4], [1, 3, 4], [False, True]):
        rng = np.random.default_rng([rows, n_in, n_out])
        values = numbers(rng, (rows, n_in), dtype, integers)
        d_values = numbers(rng, (rows, n_out), dtype, integers)
        before = numbers(rng, (n_out, n_in), dtype, integers)
        bias_before = numbers(rng, n_out, dtype, integers)
        d_weight = np.zeros((n_out, n_in), dtype)
        for o, i in np.ndindex(n_out, n_in):
            d_weight[o, i] = in_lanes(values[:, i], d_values[:, o])
        d_bias = in_lanes(d_values)
        if integers:
            np.testing.assert_array_equal(d_weight, d_values.T @ values)
            np.testing.assert_array_equal(d_bias, d_values.sum(axis=0))
        for isa, (offset, pad), add in itertools.product(ISAS, [(0, 0), (3, 2)], [False, True]):
            x, d = framed(values, offset, pad)[0], framed(d_values, offset, pad)[0]
            w, w_buffer = framed(before, offset, pad, CANARY)
            b, b_buffer = framed_row(bias_before, offset, CANARY)
            testing.small_gradient(isa, x, d, w, b, add)
            assert_wrote_only(w, w_buffer, before + d_weight if add else d_weight)
            assert_wrote_only(b, b_buffer, bias_before + d_bias if add else d_bias)


@pytest.mark.parametrize("cols", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_column_sums_are_chains_over_rows(dtype, cols):
    for rows, (resume, add) in itertools.product(
        [0, 1, 3, 17, 65], [(False, False), (True, False), (False, True)]
    ):
        rng = np.random.default_rng([rows, cols])
        values = rng.standard_normal((rows, cols)).astype(dtype)
        before = rng.standard_normal(cols).astype(dtype)
        expected = before.copy() if resume else np.zeros(cols, dtype)
        for row in values:
            expected = expected + row
        expected = before + expected if add else expected
        for isa, (offset, pad) in itertools.product(ISAS, [(0, 0), (1, 3)]):
            x = framed(values, offset, pad)[0]
            sums, buffer = framed_row(before, offset, CANARY)
            testing.column_sums(isa, x, sums, resume, add)
            assert_wrote_only(sums, buffer, expected)


@pytest.mark.parametrize("n", [*SIZES, 255, 256])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_f64_is_eight_float64_lanes_and_their_tree(dtype, n):
    values = np.random.default_rng(n).standard_normal(n).astype(dtype)
    expected = float(in_lanes(values.astype(np.float64)))
    for isa, offset in itertools.product(ISAS, [0, 1, 5]):
        assert testing.sum_f64(isa, framed_row(values, offset)[0]) == expected


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_all_finite_looks_at_every_element_and_no_other(isa, dtype, bad):
    for n in SIZES:
        x = framed_row(np.full(n, np.finfo(dtype).max, dtype), 1, bad)[0]
        assert testing.all_finite(isa, x)
        for i in range(n):
            x[i], kept = bad, x[i]
            assert not testing.all_finite(isa, x), i
            x[i] = kept

# SPDX-License-Identifier: MIT
"""Random numbers by address: Philox, uniforms, normals, and the order of a shuffled epoch."""

import math

import mpmath
import numpy as np
import pytest

from schuss import _schuss

testing = _schuss.testing

FROZEN_10 = [3, 5, 4, 9, 0, 7, 8, 1, 2, 6]
FROZEN_MILLION = [488631, 994108, 378676, 864620]
SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 97, 100, 1000, 1009, 65536, 99999]


# Known answers published with Random123 (D. E. Shaw Research), file kat_vectors, philox4x32 10.
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (
            [0xFFFFFFFF] * 4,
            [0xFFFFFFFF] * 2,
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_matches_published_known_answers(counter, key, expected):
    assert testing.philox(counter, key) == expected


def test_random_bits_differ_by_every_part_of_their_address():
    base = (5, 1, 7, 11)
    addresses = {base, (6, 1, 7, 11), (5, 2, 7, 11), (5, 1, 8, 11), (5, 1, 7, 10), (5, 1, 7, 12)}
    addresses |= {(5 + 2**32, 1, 7, 11), (5, 1, 7 + 2**32, 11), (5, 1, 7, 11 + 2**33)}
    assert len({testing.random_bits(*address) for address in addresses}) == len(addresses)


def test_uniform_is_a_multiple_of_its_grid_inside_the_unit_interval():
    top = 2**64 - 1
    assert testing.uniform_float64(0) == 0.0
    assert testing.uniform_float64(top) == 1.0 - 2.0**-53
    assert testing.uniform_float64(1 << 11) == 2.0**-53
    assert testing.uniform_float32(0) == 0.0
    assert testing.uniform_float32(2**32 - 1) == 1.0 - 2.0**-24
    assert testing.uniform_float32(1 << 8) == 2.0**-24


@pytest.mark.parametrize("n", SIZES)
def test_permutation_visits_every_row_once(n):
    for epoch in range(3):
        order = testing.permutation(n, 7, epoch)
        np.testing.assert_array_equal(np.sort(order), np.arange(n))


@pytest.mark.parametrize("n", [1, 5, 30, 97, 1009, 99999])
def test_permutation_of_a_part_is_that_part_of_the_whole(n):
    order = testing.permutation(n, 3, 4)
    for first in sorted({0, 1, n // 3, n - 1}):
        for count in (0, 1, 15, 17, 63, 64, 65, 130):
            part = order[first : first + count]
            got = testing.permutation(n, 3, 4, first, min(count, n - first))
            np.testing.assert_array_equal(got, part)
        if first < n:
            assert testing.permutation_at(n, 3, 4, first) == order[first]


@pytest.mark.parametrize("n", [2**28 - 5, 2**28 + 5, 2**40 - 3, 2**40])
def test_permutation_of_a_large_set_stays_inside_and_repeats_nothing(n):
    """Around the switch from 16-bit to 32-bit halves (columns of 2^14), and at the largest size."""
    order = np.concatenate([testing.permutation(n, 1, 2, f, 5000) for f in (0, n // 2, n - 5000)])
    assert order.min() >= 0
    assert order.max() < n
    assert len(np.unique(order)) == len(order)
    assert testing.permutation_at(n, 1, 2, n // 2) == order[5000]
    # 15000 uniform draws have a mean within 5 standard errors of the middle, but for one in 10^6.
    assert abs(order.mean() / n - 0.5) < 5 / math.sqrt(12 * len(order))


def test_permutation_depends_on_seed_and_epoch():
    orders = {
        tuple(testing.permutation(100, seed, epoch))
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (2**32, 0), (0, 2**32)]
    }
    assert len(orders) == 5


def chi_square_z(counts, expected, freedom=None):
    """How many standard deviations the chi-square statistic is off its mean."""
    freedom = freedom or counts.size - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return (statistic - freedom) / math.sqrt(2 * freedom)


# In the tests below |z| < 6 fails by chance less than once in 10^7 runs, and the keys are fixed.


@pytest.mark.parametrize("n", [3, 5, 12, 30, 101])
def test_permutation_puts_each_row_at_each_position_equally_often(n):
    epochs = 20_000
    counts = np.zeros((n, n))
    for epoch in range(epochs):
        counts[np.arange(n), testing.permutation(n, 99, epoch)] += 1
    # Each permutation adds a matrix with row and column sums of 1: (n-1)/n times the statistic is
    # chi-square with (n-1)^2 degrees of freedom.
    shrink = (n - 1) / n
    z = chi_square_z(counts * shrink, epochs / n * shrink, (n - 1) ** 2)
    assert abs(z) < 6


@pytest.mark.parametrize(("n", "i", "j"), [(12, 0, 1), (12, 3, 11), (30, 7, 8), (101, 0, 50)])
def test_permutation_puts_pairs_of_rows_anywhere_equally_often(n, i, j):
    epochs = 400 * n * n if n < 20 else 100_000
    cells = np.zeros((n, n))
    for epoch in range(epochs):
        order = testing.permutation(n, 5, epoch)
        cells[order[i], order[j]] += 1
    off_diagonal = cells[~np.eye(n, dtype=bool)]
    assert np.trace(cells) == 0
    assert abs(chi_square_z(off_diagonal, epochs / (n * (n - 1)))) < 6


@pytest.mark.parametrize("n", [10_000, 99_999, 1_000_000])
def test_permutation_of_one_epoch_looks_drawn(n):
    """Neighbours, distances and the make-up of batches within an epoch."""
    order = testing.permutation(n, 123, 0)
    bins = 20
    cell = order * bins // n
    for lag in (1, 2, 316, 1000):
        pairs = np.zeros((bins, bins))
        np.add.at(pairs, (cell[:-lag], cell[lag:]), 1)
        assert abs(chi_square_z(pairs, (n - lag) / bins**2)) < 6
        assert abs(np.corrcoef(order[:-lag], order[lag:])[0, 1]) < 6 / math.sqrt(n)
    steps = (order[1:] - order[:-1]) % n * 100 // n
    assert abs(chi_square_z(np.bincount(steps, minlength=100), (n - 1) / 100)) < 6
    # Rows of the first half in a batch of 32: binomial, to within the draw without replacement.
    batches = (cell[: n // 32 * 32] < bins // 2).reshape(-1, 32).sum(axis=1)
    weights = np.array([math.comb(32, k) for k in range(33)]) / 2.0**32
    inside = weights * len(batches) > 5
    observed = np.bincount(batches, minlength=33)[inside]
    expected = weights[inside] * len(batches)
    freedom = inside.sum() - 1
    statistic = ((observed - expected) ** 2 / expected).sum()
    assert abs(statistic - freedom) / math.sqrt(2 * freedom) < 6


@pytest.mark.parametrize("n", [1000, 65536])
def test_permutation_has_as_many_cycles_and_fixed_points_as_a_drawn_one(n):
    """Fixed points are Poisson(1): the sum over 400 epochs is 400 +- 20."""
    fixed = sum(
        int((testing.permutation(n, 8, epoch) == np.arange(n)).sum()) for epoch in range(400)
    )
    assert abs(fixed - 400) < 6 * 20


def test_permutation_values_are_frozen():
    """The bits of a shuffled run hang on these: a change raises the arithmetic version."""
    assert testing.permutation(10, 0, 0).tolist() == FROZEN_10
    assert testing.permutation(10**6, 42, 3, 500_000, 4).tolist() == FROZEN_MILLION


def ulps(got, exact):
    """Distance in units in the last place of the exact value."""
    if exact == 0:
        return 0.0 if got == 0 else math.inf
    return float(abs(mpmath.mpf(got) - exact) / mpmath.mpf(math.ulp(float(exact))))


def test_scalar_log_is_within_one_ulp():
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            np.exp(rng.uniform(-700, 700, 2000)),
            rng.uniform(0.5, 2.0, 2000),
            1.0 + rng.uniform(-1e-8, 1e-8, 200),
            [5e-324, 1e-310, 2.0**-1022, math.sqrt(0.5), math.sqrt(2.0), 1.0, 2.0, 1.7e308],
        ]
    )
    with mpmath.workdps(50):
        worst = max(
            ulps(got, mpmath.log(mpmath.mpf(v)))
            for v, got in zip(x.tolist(), testing.scalar_log(x).tolist(), strict=True)
        )
    assert worst <= 1.0


def test_scalar_log_at_its_edges():
    got = testing.scalar_log([0.0, -0.0, math.inf, 1.0, -1.0, math.nan, -math.inf])
    assert got[:4].tolist() == [-math.inf, -math.inf, math.inf, 0.0]
    assert np.isnan(got[4:]).all()


def test_normal_quantile_is_accurate_to_its_last_digits():
    """AS 241 is good to 1e-16 in exact arithmetic; 16 roundings of 1.1e-16 give 2e-15."""
    p = np.concatenate(
        [10.0 ** np.arange(-300, 0, 7), np.linspace(0.001, 0.999, 997), [1e-16, 0.075, 0.925]]
    )
    with mpmath.workdps(40):
        for v, got in zip(p.tolist(), testing.normal_quantile(p).tolist(), strict=True):
            # A Newton step from `got` is its error: (F(got) - p) / density(got).
            density = mpmath.npdf(got)
            error = (mpmath.ncdf(got) - mpmath.mpf(v)) / density
            # p itself stands for an interval of half an ulp only where the tail is 1 - p, which is
            # exact, so no allowance for it.
            assert abs(error) <= 2e-15 * max(abs(got), 1e-3), v


def test_normal_quantile_is_odd_and_infinite_at_the_ends():
    p = np.array([0.25, 0.4375, 2.0**-20])
    np.testing.assert_array_equal(testing.normal_quantile(p), -testing.normal_quantile(1.0 - p))
    assert testing.normal_quantile([0.0, 0.5, 1.0]).tolist() == [-math.inf, 0.0, math.inf]
    assert np.isnan(testing.normal_quantile([-0.1, 1.1, math.nan])).all()


@pytest.mark.parametrize("base", [0.9, 0.999, 0.5, 1.0, 0.0])
def test_exact_pow_int_stays_within_its_bound(base):
    for exponent in (0, 1, 2, 3, 10, 1000, 12345):
        exact = mpmath.mpf(base) ** exponent
        got = testing.exact_pow_int(base, exponent)
        if abs(exact) < 2.0**-1000:
            assert got <= 2.0**-1000
        else:
            # Squares double a relative error and products add them: at most `exponent` roundings.
            assert abs(got - exact) <= exact * max(exponent, 1) * 2.0**-53

# SPDX-License-Identifier: MIT
"""The data that ships: its values, its terms, and the rows held out of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import schuss.datasets
from schuss.datasets import load_auto_mpg, load_digits, stratified_holdout

FOLDER = Path(schuss.datasets.__file__).parent


def test_load_digits_gives_the_published_images():
    digits = load_digits()
    assert digits.data.shape == (1797, 64)
    assert digits.data.dtype == np.float64
    assert digits.target.dtype == np.int64
    assert np.bincount(digits.target).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180
    ]  # fmt: skip
    assert (digits.data.min(), digits.data.max()) == (0.0, 16.0)
    assert digits.data[0, :8].tolist() == [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0]
    assert len(digits.feature_names) == 64
    assert digits.target_names == tuple("0123456789")


def test_load_digits_equals_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets", reason="compares with scikit-learn's copy")
    X, y = load_digits(return_X_y=True)
    expected_X, expected_y = datasets.load_digits(return_X_y=True)
    np.testing.assert_array_equal(X, expected_X)
    np.testing.assert_array_equal(y, expected_y)


def test_load_auto_mpg_gives_the_complete_rows():
    cars = load_auto_mpg()
    assert cars.data.shape == (392, 7)
    assert cars.target.shape == (392,)
    assert np.isfinite(cars.data).all()
    assert cars.feature_names == (
        "cylinders", "displacement", "horsepower", "weight", "acceleration", "model_year", "origin"
    )  # fmt: skip
    # Counts of the three origins among the complete rows, and the means that textbooks print.
    assert np.unique(cars.data[:, 6], return_counts=True)[1].tolist() == [245, 68, 79]
    assert cars.target.mean() == pytest.approx(23.445918, abs=5e-7)
    assert cars.data[:, 2].mean() == pytest.approx(104.469388, abs=5e-7)
    assert cars.data[-1].tolist() == [4.0, 119.0, 82.0, 2720.0, 19.4, 82.0, 1.0]


@pytest.mark.parametrize("load", [load_digits, load_auto_mpg])
def test_load_return_X_y_gives_the_same_arrays_anew(load):
    X, y = load(return_X_y=True)
    X[:] = -1.0
    y[:] = -1
    again = load()
    assert again.data.min() >= 0.0
    assert again.target.min() >= 0
    assert again.data.flags.c_contiguous
    assert "CC BY 4.0" in again.source
    assert repr(again).startswith("Dataset(data=(")


def test_data_files_are_small_and_name_source_and_licence():
    terms = (FOLDER / "SOURCES.txt").read_text(encoding="utf-8")
    for name in ("digits.npz", "auto_mpg.csv"):
        assert (FOLDER / name).stat().st_size < 80_000
        section = terms.split(name)[1].split("\n\n\n")[0]
        assert "doi.org/10.24432/" in section
        assert "creativecommons.org/licenses/by/4.0/" in section
    data_files = {path.name for path in FOLDER.iterdir() if path.suffix in {".npz", ".csv"}}
    assert data_files == {"digits.npz", "auto_mpg.csv"}


def test_stratified_holdout_takes_its_share_of_every_class():
    y = load_digits(return_X_y=True)[1]
    out = stratified_holdout(y)
    # Groups of five ranks cross the border of two classes, so a class can be off by one either way.
    np.testing.assert_allclose(np.bincount(y[out]), np.bincount(y) / 5.0, rtol=0, atol=1.0)
    np.testing.assert_array_equal(out, stratified_holdout(y))


def test_stratified_holdout_spreads_over_a_regression_target():
    y = load_auto_mpg(return_X_y=True)[1]
    out = stratified_holdout(y, every=4)
    ranks = np.empty(len(y), dtype=np.int64)
    ranks[np.argsort(y, kind="stable")] = np.arange(len(y))
    assert np.sort(ranks[out]).tolist() == list(range(2, len(y), 4))


@pytest.mark.parametrize(
    ("y", "every", "message"),
    [
        (np.arange(10), 1, "every: got 1; expected 2 or more"),
        (np.arange(4), 5, r"y: got shape \(4,\)"),
        (np.zeros((10, 2)), 5, r"y: got shape \(10, 2\)"),
    ],
)
def test_stratified_holdout_bad_input_raises(y, every, message):
    with pytest.raises(ValueError, match=message):
        stratified_holdout(y, every=every)

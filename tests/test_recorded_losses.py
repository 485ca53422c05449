# SPDX-License-Identifier: MIT
"""Losses written as expressions: recorded, they have the bits of the expression."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from recorded_losses import (
    LOSSES,
    by_hand,
    data,
    eager,
    made,
    native,
    quantile,
    same_bits,
    squared,
)

import schuss
from schuss import _schuss, nn, optim
from schuss._steps import StepLoop

NAMES = sorted(LOSSES)


# ---- against the expression ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_bits_are_those_of_the_expression(name: str, dtype: str) -> None:
    function = LOSSES[name][0]
    for rows in (6, 7, 255, 256, 257, 1000):
        prediction, target = data(name, rows, dtype)
        value, gradient = native(function, prediction, target)
        wanted, wanted_gradient = eager(function, prediction, target)
        assert same_bits(value, wanted), rows
        assert same_bits(gradient, wanted_gradient), rows


def test_bits_over_more_than_one_level_of_the_tree() -> None:
    prediction, target = data("quantile", 64 * 256 + 300, "float32")
    value, gradient = native(quantile, prediction, target)
    wanted, wanted_gradient = eager(quantile, prediction, target)
    assert same_bits(value, wanted)
    assert same_bits(gradient, wanted_gradient)


def same_values(one: Any, other: Any) -> bool:
    """Whether all bits are the same but those of NaNs."""
    a, b = np.asarray(one), np.asarray(other)
    signs = (np.signbit(a) == np.signbit(b)) | np.isnan(a)
    return bool(np.array_equal(a, b, equal_nan=True) and signs.all())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["flat", "weighted_huber", "quantile", "squared", "extremes"])
def test_special_values_have_the_bits_of_the_expression(name: str, dtype: str) -> None:
    # One pair at a time: a NaN would hide the others in the sum.
    function, columns, _ = LOSSES[name]
    loss = schuss.compile(function, data(name, 6, dtype))._loss
    assert loss is not None
    tiny = np.finfo(dtype).smallest_subnormal
    numbers = [0.0, -0.0, tiny, -tiny, 1.0, -0.5, np.inf, -np.inf, np.nan, np.finfo(dtype).max]
    for p, y in itertools.product(numbers, numbers):
        prediction = np.full((2, columns), p, dtype)
        target = np.full((2, columns), y, dtype)
        value, gradient = loss.value_and_grad(prediction, target)
        wanted, wanted_gradient = eager(function, prediction, target)
        assert same_values(value, wanted), (p, y)
        assert same_values(gradient, wanted_gradient), (p, y)


@pytest.mark.parametrize("name", NAMES)
def test_one_row_at_a_time_is_the_row_of_many(name: str) -> None:
    function = LOSSES[name][0]
    prediction, target = data(name, 40, "float32", seed=2)
    loss = schuss.compile(function, (prediction, target))._loss
    assert loss is not None
    for row in range(3):
        part = slice(row, row + 1)
        value, gradient = loss.value_and_grad(prediction[part], target[part])
        wanted, wanted_gradient = eager(function, prediction[part], target[part])
        assert same_bits(value, wanted)
        assert same_bits(gradient, wanted_gradient)


# Not those with kinks wherever the data is, nor the one whose detach() hides a part.
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("extremes", "margin", "centred")])
def test_gradients_agree_with_differences(name: str) -> None:
    # Central differences of step h are off by h^2 times third derivatives and eps/h times the
    # value: with h = 1e-5 about 1e-10 and 1e-11. The data keeps clear of the kinks.
    function = LOSSES[name][0]
    generator = np.random.default_rng(3)
    prediction, target = data(name, 6, "float64", seed=3)
    prediction = generator.uniform(0.11, 0.39, prediction.shape)
    if target.dtype.kind == "f":
        target = np.round(target) + 0.04
    loss = schuss.compile(function, (prediction, target))._loss
    assert loss is not None
    _, gradient = loss.value_and_grad(prediction, target)
    step = 1e-5
    for at in np.ndindex(prediction.shape):
        ahead, behind = prediction.copy(), prediction.copy()
        ahead[at] += step
        behind[at] -= step
        high, low = loss.value_and_grad(ahead, target)[0], loss.value_and_grad(behind, target)[0]
        assert gradient[at] == pytest.approx((high - low) / (2 * step), rel=1e-6, abs=1e-7)


# ---- in fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_fit_has_the_bits_of_the_loop_by_hand(name: str, dtype: str) -> None:
    function, columns, _ = LOSSES[name]
    X = np.random.default_rng(4).normal(size=(610, 9)).astype(dtype)
    _, y = data(name, len(X), dtype)
    model, optimizer = made(columns, dtype)
    wanted = by_hand(model, function, optimizer, X, y, 300, 2)
    parameters = [p.numpy().copy() for p in model.parameters()]
    for threads in (1, 2):
        model, optimizer = made(columns, dtype)
        before = _schuss.testing.set_work_per_thread(1.0) if threads > 1 else None
        try:
            history = schuss.fit(
                model,
                function,
                optimizer,
                X,
                y,
                epochs=2,
                batch_size=300,
                seed=5,
                num_threads=threads,
            )
        finally:
            if before is not None:
                _schuss.testing.set_work_per_thread(before)
        assert same_bits(history.loss, wanted)
        for parameter, value in zip(model.parameters(), parameters, strict=True):
            assert same_bits(parameter.numpy(), value)


@pytest.mark.parametrize("name", NAMES)
def test_fit_is_native(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = StepLoop._step

    def only_looks(self: StepLoop) -> bool:
        assert not step(self), "step by step"
        return False

    monkeypatch.setattr(StepLoop, "_step", only_looks)
    function, columns, _ = LOSSES[name]
    X = np.random.default_rng(4).normal(size=(50, 9)).astype("float32")
    model, optimizer = made(columns, "float32")
    schuss.fit(model, function, optimizer, X, data(name, len(X), "float32")[1], epochs=1)


@pytest.mark.parametrize("name", NAMES)
def test_evaluate_has_the_bits_of_the_expression(name: str) -> None:
    function, columns, _ = LOSSES[name]
    X = np.random.default_rng(4).normal(size=(600, 9)).astype("float32")
    _, y = data(name, len(X), "float32")
    model, _ = made(columns, "float32")
    with schuss.no_grad():
        wanted = function(model(X), schuss.tensor(y)).item()
    assert schuss.evaluate(model, function, X, y)["loss"] == wanted


def test_squared_is_close_to_the_built_in_loss() -> None:
    # Row sums in another order: 10 terms, so within 10 roundings of each other.
    prediction, target = data("squared", 999, "float32")
    value, gradient = native(squared, prediction, target)
    wanted, wanted_gradient = nn.MSELoss().value_and_grad(prediction, target)
    assert value == pytest.approx(wanted, rel=10 * 2**-24)
    assert gradient == pytest.approx(wanted_gradient, rel=4 * 2**-24)


def test_targets_of_one_output_have_its_shape() -> None:
    X = np.linspace(-1, 1, 40).reshape(-1, 1)
    results = []
    for y in (2 * X[:, 0] + 1, 2 * X + 1):
        schuss.manual_seed(0)
        model = nn.Linear(1, 1)
        history = schuss.fit(model, squared, optim.SGD(model.parameters(), lr=0.1), X, y, seed=0)
        results.append(history.loss[-1])
    assert results[0] == results[1]


def test_integer_targets_of_one_output_are_numbers() -> None:
    X = np.linspace(-1, 1, 40).reshape(-1, 1)
    model = nn.Linear(1, 1)
    history = schuss.fit(
        model, quantile, optim.SGD(model.parameters(), lr=0.1), X, np.arange(40), seed=0
    )
    assert np.isfinite(history.loss).all()


def test_compiled_loss_in_fit_and_called() -> None:
    prediction, target = data("quantile", 30, "float32")
    criterion = schuss.compile(quantile, (prediction, target))
    assert criterion(schuss.tensor(prediction), schuss.tensor(target)).item() == (
        quantile(schuss.tensor(prediction), schuss.tensor(target)).item()
    )
    X = np.random.default_rng(4).normal(size=(50, 9))
    outcomes = []
    for loss in (criterion, quantile):
        model, optimizer = made(1, "float64")
        history = schuss.fit(model, loss, optimizer, X, X[:, 0], epochs=2, seed=3)
        outcomes.append(history.loss)
    assert same_bits(*outcomes)

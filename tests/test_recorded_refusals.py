# SPDX-License-Identifier: MIT
"""Functions that cannot be recorded are refused with their line, and train all the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable
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
    same_bits,
    squared,
    weighted_huber,
)

import schuss
from schuss import _recording, nn

# ---- what cannot be recorded -----------------------------------------------------------------


def branches(p: Any, y: Any) -> Any:
    e = p - y
    if e.mean() > 0:  # HERE
        return (e * e).mean()
    return e.abs().mean()


def takes_item(p: Any, y: Any) -> Any:
    e = p - y
    return (e / e.abs().sum().item()).mean()  # HERE


def takes_float(p: Any, y: Any) -> Any:
    return (p - y).mean() * float(y.sum())  # HERE


def takes_numpy(p: Any, y: Any) -> Any:
    weights = np.abs(y.numpy())  # HERE
    return ((p - y) * schuss.tensor(weights)).mean()


def takes_list(p: Any, y: Any) -> Any:
    return (p * y.tolist()[0][0]).mean()  # HERE


def takes_argmax(p: Any, y: Any) -> Any:
    return (p - p.argmax(1, keepdim=True).float() * y).mean()  # HERE


def over_rows(p: Any, y: Any) -> Any:
    return (p - p.mean(dim=0)).square().mean() + 0.0 * y.mean()  # HERE


def takes_rows(p: Any, y: Any) -> Any:
    return (p[1:] - p[:-1] + y[1:]).square().mean()  # HERE


def takes_sine(p: Any, y: Any) -> Any:
    return (p.sin() - y).square().mean()  # HERE


def takes_remainder(p: Any, y: Any) -> Any:
    return ((p - y) % 2.0).mean()  # HERE


def takes_running(p: Any, y: Any) -> Any:
    return (p.cumsum(1) - y).square().mean()  # HERE


def in_place(p: Any, y: Any) -> Any:
    e = p - y
    e *= 2.0
    return e.square().mean()  # HERE


def not_affine(p: Any, y: Any) -> Any:
    return (p - y).square().mean().sqrt()  # HERE


def two_sums(p: Any, y: Any) -> Any:
    return (p - y).mean() + (p * y).mean()  # HERE


def nn_loss(p: Any, y: Any) -> Any:
    return nn.MSELoss()(p, y) * 2.0  # HERE


def parameter(p: Any, y: Any) -> Any:
    return ((p - y) * WEIGHT).mean()  # HERE


WEIGHT = schuss.ones(1, requires_grad=True)

REFUSED = {
    branches: "bool()",
    takes_item: "item()",
    takes_float: "float()",
    takes_numpy: "numpy()",
    takes_list: "tolist()",
    takes_argmax: "argmax",
    over_rows: "dim=1",
    takes_rows: "picks rows",
    takes_sine: "sin, cos, rounding",
    takes_remainder: "not recorded in a loss",
    takes_running: "cumsum",
    in_place: "in place",
    not_affine: "one sum or mean",
    two_sums: "one sum or mean",
    nn_loss: "a loss of nn",
    parameter: "requires a gradient",
}


@pytest.mark.parametrize("function", REFUSED, ids=lambda f: f.__name__)
def test_refusals_name_the_line(function: Callable[..., Any]) -> None:
    lines, first = inspect.getsourcelines(function)
    line = first + next(i for i, text in enumerate(lines) if "HERE" in text)
    prediction, target = data("cross_entropy", 8, "float32")
    with pytest.raises(schuss.RecordingError, match="test_recorded_refusals") as error:
        schuss.compile(function, (prediction, target))
    assert f"test_recorded_refusals.py:{line}: " in str(error.value)
    assert REFUSED[function] in str(error.value)


def random_numbers(p: Any, y: Any) -> Any:
    return ((p - y) * schuss.rand(p.shape[1])).mean()


def counts_calls(p: Any, y: Any) -> Any:
    CALLS.append(0)
    return (p - y).mean() * len(CALLS)


def depends_on_rows(p: Any, y: Any) -> Any:
    e = p - y
    return e.square().mean() if len(p) % 2 else e.abs().mean()


def leaves_rows(p: Any, y: Any) -> Any:
    return (p - y).square()


def writes_outside(p: Any, y: Any) -> Any:
    y *= 1.0
    return (p * 1.0).mean()


def constant(p: Any, y: Any) -> Any:
    return y.mean()


CALLS: list[int] = []


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (random_numbers, "a tensor made inside"),
        (counts_calls, "a number"),
        (depends_on_rows, "their operations"),
        (leaves_rows, "end in .mean() or .sum()"),
        (writes_outside, "writes to its arguments"),
        (constant, "does not depend on the prediction"),
    ],
)
def test_impure_functions_are_refused(function: Callable[..., Any], text: str) -> None:
    prediction, target = data("cross_entropy", 8, "float32")
    with pytest.raises(schuss.RecordingError) as error:
        schuss.compile(function, (prediction, target))
    assert text in str(error.value)


def test_compile_says_what_it_takes() -> None:
    example = np.zeros((4, 1))
    with pytest.raises(TypeError, match="expected a function"):
        schuss.compile(3, (example, example))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the pair"):
        schuss.compile(squared, example)
    with pytest.raises(ValueError, match="as many of each"):
        schuss.compile(squared, (example, example[:3]))
    with pytest.raises(ValueError, match="2 or more"):
        schuss.compile(squared, (example[:1], example[:1]))
    with pytest.raises(TypeError, match="as they are"):
        schuss.compile(nn.MSELoss(), (example, example))
    with pytest.raises(schuss.RecordingError, match="returned float"):
        schuss.compile(lambda p, y: 1.0, (example, example))


# ---- where it is not recorded, fit still trains ------------------------------------------------


@pytest.mark.parametrize("function", [branches, takes_item, not_affine, two_sums, nn_loss])
def test_fit_trains_step_by_step_with_the_same_result(function: Callable[..., Any]) -> None:
    X = np.random.default_rng(4).normal(size=(70, 9)).astype("float32")
    _, y = data("gaussian", len(X), "float32")
    model, optimizer = made(1, "float32")
    wanted = by_hand(model, function, optimizer, X, y, 32, 2)
    model, optimizer = made(1, "float32")
    history = schuss.fit(model, function, optimizer, X, y, epochs=2, seed=5)
    assert same_bits(history.loss, wanted)
    assert np.isfinite(schuss.evaluate(model, function, X, y)["loss"])


def test_fit_refuses_where_compile_was_asked_for() -> None:
    criterion = schuss.compile(LOSSES["by_columns"][0], data("by_columns", 8, "float32"))
    model, optimizer = made(2, "float32")
    with pytest.raises(ValueError, match="do not broadcast"):
        schuss.fit(model, criterion, optimizer, np.zeros((8, 9)), np.zeros((8, 2)))


def test_functions_of_arrays_are_called_once_a_step_and_never_besides() -> None:
    calls: list[int] = []

    def loss(prediction: Any, target: Any) -> tuple[float, np.ndarray]:
        assert isinstance(prediction, np.ndarray)
        calls.append(len(prediction))
        error = prediction - target
        return float((error**2).sum()) / error.size, 2 * error / error.size

    model, optimizer = made(1, "float32")
    X = np.random.default_rng(4).normal(size=(70, 9))
    for _ in range(2):
        calls.clear()
        schuss.fit(model, loss, optimizer, X, X[:, :1], epochs=2, batch_size=35, seed=0)
        assert calls == [35] * 4
    calls.clear()
    schuss.fit(
        model, loss, optimizer, X, X[:, :1], validation_data=(X, X[:, :1]), batch_size=70, seed=0
    )
    assert calls == [70] * 3  # validation before and after the epoch
    calls.clear()
    schuss.evaluate(model, loss, X, X[:, :1])
    assert calls == [70]


def test_value_alone_is_enough_to_evaluate_but_not_to_fit() -> None:
    calls: list[int] = []

    def loss(prediction: Any, target: Any) -> float:
        calls.append(len(prediction))
        return float(np.abs(prediction - target).sum())

    model, optimizer = made(1, "float64")
    X = np.random.default_rng(4).normal(size=(20, 9))
    wanted = float(np.abs(schuss.predict(model, X) - X[:, :1]).sum())
    assert schuss.evaluate(model, loss, X, X[:, 0])["loss"] == wanted
    assert calls == [20]
    with pytest.raises(TypeError, match="returned float; expected"):
        schuss.fit(model, loss, optimizer, X, X[:, 0])


def test_function_of_tensors_is_recorded_whatever_called_it_first() -> None:
    X = np.random.default_rng(4).normal(size=(70, 9))
    y = X[:, 0]

    def fresh() -> Callable[..., Any]:
        return lambda p, t: (p - t).square().mean()

    outcomes = []
    for before in (False, True):
        function = fresh()
        model, optimizer = made(1, "float64")
        if before:
            schuss.evaluate(model, function, X, y)
        history = schuss.fit(
            model, function, optimizer, X, y, epochs=3, seed=0, validation_data=(X, y)
        )
        with schuss.no_grad():
            cost = function(model(X), schuss.tensor(y).reshape(-1, 1)).item()
        assert history.val_loss[-1] == cost
        outcomes.append(history.loss)
    assert same_bits(*outcomes)


def test_loss_functions_are_the_losses_of_nn() -> None:
    found = _recording.as_criterion(nn.functional.cross_entropy)
    assert isinstance(found, nn.CrossEntropyLoss)


def test_errors_in_a_function_are_its_own() -> None:
    def broken(p: Any, y: Any) -> Any:
        return p.no_such_thing(y)

    model, optimizer = made(1, "float32")
    with pytest.raises(AttributeError, match="no_such_thing"):
        schuss.fit(model, broken, optimizer, np.zeros((8, 9)), np.zeros(8))


def test_a_wide_program_goes_by_single_rows() -> None:
    generator = np.random.default_rng(0)
    prediction, target = generator.normal(size=(2, 9, 160))
    value, gradient = native(weighted_huber, prediction, target)
    wanted, wanted_gradient = eager(weighted_huber, prediction, target)
    assert same_bits(value, wanted)
    assert same_bits(gradient, wanted_gradient)


def test_too_wide_a_program_is_refused() -> None:
    example = np.ones((4, 3000))
    with pytest.raises(schuss.RecordingError, match="too many"):
        schuss.compile(weighted_huber, (example, example))

# SPDX-License-Identifier: MIT
"""Every analytic gradient against differences: each layer with each loss and each option.

``gradcheck`` allows 1e-6 relative to ``1 + |difference|``; at losses of the order of 1 to 10 and
``eps = 1e-5`` the differences themselves are good to about 1e-9 (its docstring derives it). Inputs
are random, so none lies within ``eps`` of a kink.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn

ROWS = 6
WIDTHS = {  # n_in, hidden, n_out: each way that a layer's gradient is formed
    "wide": (4, 7, 5),
    "narrow": (9, 3, 2),
    "small": (3, 2, 2),
}
ACTIVATIONS: dict[str, Any] = {
    "none": None,
    "Identity": nn.Identity,
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "LeakyReLU(0.3)": lambda: nn.LeakyReLU(0.3),
    "LeakyReLU(-0.5)": lambda: nn.LeakyReLU(-0.5),
    "ELU": nn.ELU,
    "ELU(0.4)": lambda: nn.ELU(0.4),
    "GELU": nn.GELU,
    "GELU(tanh)": lambda: nn.GELU(approximate="tanh"),
    "SiLU": nn.SiLU,
    "Softplus": nn.Softplus,
    "Softplus(2, 1)": lambda: nn.Softplus(beta=2.0, threshold=1.0),
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
    "Step": nn.Step,
    "Softmax": nn.Softmax,
    "LogSoftmax": nn.LogSoftmax,
}
REDUCTIONS = ["mean", "sum"]


def column_weights(n: int) -> np.ndarray:
    return np.linspace(0.5, 2.0, n)


# Losses by name: what to put after the model, the loss for so many columns, the kind of target.
LOSSES: dict[str, tuple[Any, Any, str]] = {
    "MSELoss": (None, lambda n, r: nn.MSELoss(reduction=r), "number"),
    "L1Loss": (None, lambda n, r: nn.L1Loss(reduction=r), "number"),
    "HuberLoss": (None, lambda n, r: nn.HuberLoss(reduction=r), "number"),
    "HuberLoss(0.4)": (None, lambda n, r: nn.HuberLoss(reduction=r, delta=0.4), "number"),
    "SmoothL1Loss": (None, lambda n, r: nn.SmoothL1Loss(reduction=r), "number"),
    "SmoothL1Loss(0.4)": (None, lambda n, r: nn.SmoothL1Loss(reduction=r, beta=0.4), "number"),
    "SmoothL1Loss(0)": (None, lambda n, r: nn.SmoothL1Loss(reduction=r, beta=0.0), "number"),
    "BCELoss": (nn.Sigmoid, lambda n, r: nn.BCELoss(reduction=r), "share"),
    "BCELoss(weight)": (
        nn.Sigmoid,
        lambda n, r: nn.BCELoss(weight=column_weights(n), reduction=r),
        "share",
    ),
    "BCEWithLogitsLoss": (None, lambda n, r: nn.BCEWithLogitsLoss(reduction=r), "share"),
    "BCEWithLogitsLoss(weight, pos_weight)": (
        None,
        lambda n, r: nn.BCEWithLogitsLoss(
            weight=column_weights(n), pos_weight=3 * column_weights(n), reduction=r
        ),
        "share",
    ),
    "NLLLoss": (nn.LogSoftmax, lambda n, r: nn.NLLLoss(reduction=r), "label"),
    "NLLLoss(weight, ignore_index)": (
        nn.LogSoftmax,
        lambda n, r: nn.NLLLoss(weight=column_weights(n), ignore_index=1, reduction=r),
        "label",
    ),
}
for target, options in itertools.product(
    ["label", "probability"],
    [
        {},
        {"weight": True},
        {"label_smoothing": 0.2},
        {"label_smoothing": 1.0},
        {"weight": True, "label_smoothing": 0.2},
        {"weight": True, "label_smoothing": 0.2, "ignore_index": 1},
    ],
):
    if target == "label" or "ignore_index" not in options:
        LOSSES[f"CrossEntropyLoss({target}, {', '.join(options)})"] = (
            None,
            lambda n, r, o=options: nn.CrossEntropyLoss(
                reduction=r, **{**o, **({"weight": column_weights(n)} if "weight" in o else {})}
            ),
            target,
        )


def make_target(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "label":
        labels = rng.integers(0, n, ROWS)
        labels[:2] = [0, 1]  # neither every row is ignored nor none
        return labels
    if kind == "probability":
        return rng.dirichlet(np.ones(n), ROWS)
    if kind == "share":
        return rng.uniform(0.0, 1.0, (ROWS, n)).round(1)
    return rng.normal(0.0, 1.0, (ROWS, n))


def linear(n_in: int, n_out: int, *, bias: bool = True) -> nn.Linear:
    return nn.Linear(n_in, n_out, bias=bias, dtype=schuss.float64)


def make_model(activation: str, widths: str, last: Any = None, bias: bool = True) -> nn.Sequential:
    n_in, hidden, n_out = WIDTHS[widths]
    make = ACTIVATIONS[activation]
    middle = [] if make is None else [make()]
    end = [] if last is None else [last()]
    return nn.Sequential(
        linear(n_in, hidden, bias=bias), *middle, linear(hidden, n_out, bias=bias), *end
    )


def inputs(widths: str) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(5)
    return rng.standard_normal((ROWS, WIDTHS[widths][0])), rng


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_of_layer_and_loss_are_the_differences(loss: str, activation: str) -> None:
    last, make_loss, kind = LOSSES[loss]
    for widths, reduction in zip(["wide", "narrow", "small"], [*REDUCTIONS, "mean"], strict=True):
        schuss.manual_seed(3)
        x, rng = inputs(widths)
        n_out = WIDTHS[widths][2]
        target = make_target(kind, n_out, rng)
        model = make_model(activation, widths, last)
        assert schuss.gradcheck(model, make_loss(n_out, reduction), x, target)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("widths", WIDTHS)
def test_gradients_through_an_activation_at_the_end_are_the_differences(
    widths: str, activation: str
) -> None:
    schuss.manual_seed(4)
    x, rng = inputs(widths)
    n_in, _, n_out = WIDTHS[widths]
    target = make_target("number", n_out, rng)
    make = ACTIVATIONS[activation]
    end = [] if make is None else [make()]
    for bias in (True, False):
        model = nn.Sequential(linear(n_in, n_out, bias=bias), *end)
        assert schuss.gradcheck(model, nn.MSELoss(), x, target)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("activation", ["ReLU", "GELU", "Softmax"])
def test_gradients_without_biases_are_the_differences(activation: str, widths: str) -> None:
    x, rng = inputs(widths)
    model = make_model(activation, widths, bias=False)
    assert schuss.gradcheck(model, nn.MSELoss(), x, make_target("number", WIDTHS[widths][2], rng))


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "none"])
def test_gradient_of_an_activation_before_any_layer_is_the_difference(activation: str) -> None:
    x, rng = inputs("wide")
    model = nn.Sequential(ACTIVATIONS[activation](), linear(4, 3), ACTIVATIONS[activation]())
    assert schuss.gradcheck(model, nn.MSELoss(), x, rng.standard_normal((ROWS, 3)))


def test_gradients_of_nested_and_shared_layers_are_the_differences() -> None:
    shared = linear(4, 4)
    model = nn.Sequential(
        shared, nn.Tanh(), nn.Sequential(linear(4, 4), nn.SiLU(), shared), nn.ELU(), linear(4, 1)
    )
    x, rng = inputs("wide")
    assert schuss.gradcheck(model, nn.MSELoss(), x, rng.standard_normal(ROWS))


def test_gradients_of_more_rows_than_a_chunk_are_the_differences() -> None:
    """600 rows: three chunks, the last one short."""
    rng = np.random.default_rng(6)
    for widths in WIDTHS:
        n_in, _, n_out = WIDTHS[widths]
        model = make_model("Tanh", widths)
        x = rng.standard_normal((600, n_in))
        y = rng.integers(0, n_out, 600)
        before = model.state_dict()
        nn.CrossEntropyLoss()(model(x), y).backward()
        weight = model[0].weight
        gradient = weight.grad.numpy().copy()
        for index in np.ndindex(weight.shape):
            values = []
            for shift in (1e-5, -1e-5):
                moved = before["0.weight"].copy()
                moved[index] += shift
                weight.copy_(moved)
                values.append(nn.CrossEntropyLoss()(model(x), y).item())
            # Rounding of the losses, about 1e-15, over 2e-5; the third derivative is below 10.
            difference = (values[0] - values[1]) / 2e-5
            assert gradient[index] == pytest.approx(difference, rel=0, abs=1e-9)
        weight.copy_(before["0.weight"])


def test_gradients_beside_a_frozen_parameter_are_the_differences() -> None:
    model = make_model("Tanh", "wide")
    model[0].weight.requires_grad = False
    x, rng = inputs("wide")
    y = rng.standard_normal((ROWS, 5))
    assert schuss.gradcheck(model, nn.MSELoss(), x, y)
    nn.MSELoss()(model(x), y).backward()
    assert [p.grad is None for p in model.parameters()] == [True, False, False, False]

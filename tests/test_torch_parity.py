# SPDX-License-Identifier: MIT
"""The same calls as PyTorch's, with the same names, give the same numbers.

In float64: both sides take about as many roundings, so two results differ by at most twice what
one is off. Where a bound says ``n * EPS * size``, `n` counts the roundings of both.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim

torch = pytest.importorskip("torch", reason="parity with PyTorch needs torch")

pytestmark = pytest.mark.torch

EPS = 2.0**-53  # the relative error of a rounding
ROWS = 12
REDUCTIONS = ["none", "mean", "sum"]


@pytest.fixture(autouse=True)
def one_torch_thread():
    """No pool of threads for a handful of rows."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_close(got, expected, roundings):
    """Within so many roundings of the largest number of each array."""
    got = np.asarray(got)
    expected = expected.detach().numpy()
    assert got.shape == expected.shape
    size = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(got, expected, rtol=0, atol=roundings * EPS * size)


# ---- activations ---------------------------------------------------------------------------------

ACTIVATIONS: list[tuple[str, dict[str, Any]]] = [
    ("Identity", {}), ("ReLU", {}), ("LeakyReLU", {}), ("LeakyReLU", {"negative_slope": 0.3}),
    ("ELU", {}), ("ELU", {"alpha": 0.4}), ("GELU", {}), ("GELU", {"approximate": "tanh"}),
    ("SiLU", {}), ("Softplus", {}), ("Softplus", {"beta": 3.0, "threshold": 2.0}),
    ("Sigmoid", {}), ("Tanh", {}), ("Softmax", {"dim": 1}), ("Softmax", {"dim": -1}),
    ("LogSoftmax", {"dim": 1}),
]  # fmt: skip


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize(("name", "options"), ACTIVATIONS, ids=str)
def test_activation_and_its_gradient(name, options, scale):
    rng = np.random.default_rng(1)
    z, upstream = scale * rng.standard_normal((ROWS, 9)), rng.standard_normal((ROWS, 9))
    if name not in ("Softmax", "LogSoftmax"):
        z[0, :3] = [0.0, -0.0, 1e3]
    x = schuss.Parameter(z)
    y = getattr(nn, name)(**options)(x)
    y.backward(upstream)
    torch_x = torch.tensor(z, requires_grad=True)
    torch_y = getattr(torch.nn, name)(**options)(torch_x)
    torch_y.backward(torch.tensor(upstream))
    # Up to 12 operations and elementary functions good to about 2 units each, of numbers that a
    # factor z or a difference of logits may have made 30 times larger.
    roundings = 2 * 16 * max(1.0, scale)
    assert_close(y.numpy(), torch_y, roundings)
    assert_close(x.grad.numpy(), torch_x.grad, roundings)


# ---- losses --------------------------------------------------------------------------------------

COLUMNS = 5
WEIGHT, POS_WEIGHT = np.linspace(0.5, 2, COLUMNS), np.linspace(3, 0.25, COLUMNS)
WEIGHTS = [{}, {"weight": WEIGHT}]
LOSSES: list[tuple[str, dict[str, Any], str]] = [
    ("MSELoss", {}, "numbers"),
    ("L1Loss", {}, "numbers"),
    ("HuberLoss", {}, "numbers"),
    ("HuberLoss", {"delta": 0.3}, "numbers"),
    ("SmoothL1Loss", {}, "numbers"),
    ("SmoothL1Loss", {"beta": 0.3}, "numbers"),
    ("SmoothL1Loss", {"beta": 0.0}, "numbers"),
    *[("BCELoss", w, "shares") for w in WEIGHTS],
    *[
        ("BCEWithLogitsLoss", {**w, **p}, "shares")
        for w, p in itertools.product(WEIGHTS, [{}, {"pos_weight": POS_WEIGHT}])
    ],
    *[
        ("NLLLoss", {**w, **i}, "labels")
        for w, i in itertools.product(WEIGHTS, [{}, {"ignore_index": 2}])
    ],
    *[
        ("CrossEntropyLoss", {**w, **i, **s}, target)
        for w, i, s, target in itertools.product(
            WEIGHTS,
            [{}, {"ignore_index": 2}],
            [{}, {"label_smoothing": 0.1}, {"label_smoothing": 1.0}],
            ["labels", "probabilities"],
        )
        if target == "labels" or not i  # PyTorch refuses the other combination too
    ],
]


def prediction_and_target(loss, target):
    rng = np.random.default_rng(2)
    x = rng.normal(0, 3, (ROWS, COLUMNS))
    if target == "labels":
        labels = rng.integers(0, COLUMNS, ROWS)
        labels[0] = -100 if loss == "CrossEntropyLoss" else 0
        return x, labels
    if target == "probabilities":
        return x, rng.dirichlet(np.ones(COLUMNS), ROWS)
    if target == "shares":
        y = rng.uniform(0, 1, (ROWS, COLUMNS)).round(1)
        return (rng.uniform(0.02, 0.98, x.shape) if loss == "BCELoss" else x), y
    y = x + rng.standard_normal(x.shape)
    y[0] = x[0]  # a corner of some
    return x, y


def torch_options(options):
    return {
        name: torch.tensor(value) if isinstance(value, np.ndarray) else value
        for name, value in options.items()
    }


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "options", "target"), LOSSES, ids=str)
def test_loss_and_its_gradient(name, options, target, reduction):
    x, y = prediction_and_target(name, target)
    if target == "labels" and "ignore_index" in options:
        y[y == -100] = 2
    given = schuss.Parameter(x)
    cost = getattr(nn, name)(reduction=reduction, **options)(given, y)
    torch_x = torch.tensor(x, requires_grad=True)
    torch_loss = getattr(torch.nn, name)(reduction=reduction, **torch_options(options))
    torch_cost = torch_loss(torch_x, torch.tensor(y))
    upstream = np.random.default_rng(3).standard_normal(torch_cost.shape)
    if reduction == "none":
        cost.backward(upstream)
        torch_cost.backward(torch.tensor(upstream))
    else:
        (cost * 0.7).backward()
        (torch_cost * 0.7).backward()
    # Terms of up to 12 operations, of which rows * columns are summed, with errors that cancel
    # less than they add: 12 + 60 at most.
    roundings = 2 * (12 + ROWS * COLUMNS)
    assert_close(cost.numpy(), torch_cost, roundings)
    assert_close(given.grad.numpy(), torch_x.grad, roundings)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_loss_with_every_label_ignored(name, reduction):
    x, labels = np.full((3, 4), -0.5), np.full(3, -100)
    cost = getattr(nn, name)(reduction=reduction)(x, labels)
    expected = getattr(torch.nn, name)(reduction=reduction)(torch.tensor(x), torch.tensor(labels))
    np.testing.assert_array_equal(cost.numpy(), expected.numpy())


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("name", ["CrossEntropyLoss", "BCEWithLogitsLoss"])
def test_loss_at_huge_float32_logits(name, size):
    x = np.float32([[size, -size, 0.5 * size], [size, size, size]])
    y = np.array([1, 2]) if name == "CrossEntropyLoss" else np.float32([[0, 1, 1], [1, 0, 0]])
    given, torch_x = schuss.Parameter(x), torch.tensor(x, requires_grad=True)
    cost = getattr(nn, name)()(given, y)
    torch_cost = getattr(torch.nn, name)()(torch_x, torch.tensor(y))
    cost.backward()
    torch_cost.backward()
    # Multiples of 5000 and logarithms of 3: six terms, a rounding each.
    assert cost.item() == pytest.approx(torch_cost.item(), rel=12 * 2.0**-24)
    np.testing.assert_allclose(
        given.grad.numpy(), torch_x.grad.numpy(), rtol=12 * 2.0**-24, atol=1e-30
    )


# ---- models --------------------------------------------------------------------------------------


def twins(hidden="Tanh", widths=(6, 16, 3, 4), bias=True):
    """A float64 model of each library with equal parameters."""
    schuss.manual_seed(2)
    ours: list[Any] = []
    theirs: list[Any] = []
    options = {"dim": 1} if hidden == "Softmax" else {}
    for n_in, n_out in itertools.pairwise(widths):
        ours += [
            nn.Linear(n_in, n_out, bias=bias, dtype=schuss.float64),
            getattr(nn, hidden)(**options),
        ]
        theirs += [
            torch.nn.Linear(n_in, n_out, bias=bias, dtype=torch.float64),
            getattr(torch.nn, hidden)(**options),
        ]
    model, torch_model = nn.Sequential(*ours[:-1]), torch.nn.Sequential(*theirs[:-1])
    assert list(model.state_dict()) == list(torch_model.state_dict())
    torch_model.load_state_dict({k: torch.tensor(v) for k, v in model.state_dict().items()})
    return model, torch_model


# One step passes on errors of parameters with a factor near 1 and adds the roundings of its sums:
# at most 400 on the longest way through three layers and back. Tests below do 20 or 21 steps.
STEP_ROUNDINGS = 2 * 400


@pytest.mark.parametrize("hidden", ["ReLU", "Tanh", "GELU", "Softmax"])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_a_model(hidden, bias):
    model, torch_model = twins(hidden, bias=bias)
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((300, 6)), rng.integers(0, 4, 300)
    given, torch_x = schuss.Parameter(x), torch.tensor(x, requires_grad=True)
    nn.CrossEntropyLoss()(model(given), y).backward()
    torch.nn.CrossEntropyLoss()(torch_model(torch_x), torch.tensor(y)).backward()
    for p, torch_p in zip(model.parameters(), torch_model.parameters(), strict=True):
        assert_close(p.grad.numpy(), torch_p.grad, 2 * STEP_ROUNDINGS)
    assert_close(given.grad.numpy(), torch_x.grad, STEP_ROUNDINGS)


SGD_OPTIONS = [
    {"lr": 0.05, **momentum, **decay, **maximize}
    for momentum, decay, maximize in itertools.product(
        [
            {},
            {"momentum": 0.9},
            {"momentum": 0.9, "dampening": 0.5},
            {"momentum": 0.9, "nesterov": True},
        ],
        [{}, {"weight_decay": 0.1}],
        [{}, {"maximize": True}],
    )
]
ADAM_OPTIONS = [
    {"lr": 0.01, **betas, **decay, **amsgrad, **maximize}
    for betas, decay, amsgrad, maximize in itertools.product(
        [{}, {"betas": (0.5, 0.9), "eps": 1e-3}],
        [{}, {"weight_decay": 0.1}],
        [{}, {"amsgrad": True}],
        [{}, {"maximize": True}],
    )
]
UPDATES = [("SGD", o) for o in SGD_OPTIONS]
UPDATES += [(name, o) for name in ("Adam", "AdamW") for o in ADAM_OPTIONS]


@pytest.mark.parametrize(("name", "options"), UPDATES, ids=str)
def test_twenty_steps_of_an_optimizer(name, options):
    """PyTorch's loop, letter for letter, in both; then the optimizers' state."""
    model, torch_model = twins()
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((32, 6)), rng.integers(0, 4, 32)
    optimizer = getattr(optim, name)(model.parameters(), **options)
    torch_optimizer = getattr(torch.optim, name)(torch_model.parameters(), **options)
    criterion, torch_criterion = nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss()
    torch_x, torch_y = torch.tensor(x), torch.tensor(y)
    smallest = 1.0
    for step in range(1, 21):
        optimizer.zero_grad()
        cost = criterion(model(x), y)
        cost.backward()
        optimizer.step()
        torch_optimizer.zero_grad()
        torch_cost = torch_criterion(torch_model(torch_x), torch_y)
        torch_cost.backward()
        torch_optimizer.step()
        assert_close(cost.numpy(), torch_cost, 20 * STEP_ROUNDINGS)
        for state in torch_optimizer.state.values() if name != "SGD" else ():
            corrected = state["exp_avg_sq"] / (1 - options.get("betas", (0.9, 0.999))[1] ** step)
            smallest = min(smallest, corrected.min().item() ** 0.5)
    # An update lr * m / sqrt(v) makes an error of a gradient lr / sqrt(v) times as large.
    amplified = 1.0 if name == "SGD" else max(1.0, options["lr"] / smallest)
    roundings = 20 * STEP_ROUNDINGS * amplified
    for p, torch_p in zip(model.parameters(), torch_model.parameters(), strict=True):
        assert_close(p.numpy(), torch_p, roundings)
    states = optimizer.state_dict()["state"]
    for number, torch_state in torch_optimizer.state_dict()["state"].items():
        for key, value in torch_state.items():
            if value is None:
                continue
            assert_close(
                states[number][key], torch.as_tensor(value, dtype=torch.float64), roundings
            )


@pytest.mark.parametrize(
    ("loss", "target"),
    [("CrossEntropyLoss", "labels"), ("MSELoss", "numbers"), ("BCEWithLogitsLoss", "shares")],
)
def test_native_training_is_pytorchs_loop(loss, target):
    """Three epochs of ``fit`` on batches in order, the last one short."""
    model, torch_model = twins(widths=(6, 16, COLUMNS))
    rng = np.random.default_rng(6)
    X = rng.standard_normal((100, 6))
    y = {
        "labels": rng.integers(0, COLUMNS, 100),
        "numbers": rng.standard_normal((100, COLUMNS)),
        "shares": rng.uniform(0, 1, (100, COLUMNS)),
    }[target]
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}
    optimizer = optim.SGD(model.parameters(), **options)
    history = schuss.fit(
        model, getattr(nn, loss)(), optimizer, X, y, epochs=3, batch_size=16, shuffle=False
    )
    torch_optimizer = torch.optim.SGD(torch_model.parameters(), **options)
    criterion = getattr(torch.nn, loss)()
    losses = []
    for _ in range(3):
        total = 0.0
        for first in range(0, 100, 16):
            xb, yb = torch.tensor(X[first : first + 16]), torch.tensor(y[first : first + 16])
            torch_optimizer.zero_grad()
            cost = criterion(torch_model(xb), yb)
            cost.backward()
            torch_optimizer.step()
            total += cost.item() * len(xb)
        losses.append(total / 100)
    np.testing.assert_allclose(history.loss, losses, rtol=21 * STEP_ROUNDINGS * EPS)
    for p, torch_p in zip(model.parameters(), torch_model.parameters(), strict=True):
        assert_close(p.numpy(), torch_p, 21 * STEP_ROUNDINGS)


def test_state_dict_goes_from_pytorch_into_a_model():
    model, torch_model = twins()
    with torch.no_grad():
        for p in torch_model.parameters():
            p.mul_(-2.0)
    model.load_state_dict(torch_model.state_dict())
    for p, torch_p in zip(model.parameters(), torch_model.parameters(), strict=True):
        np.testing.assert_array_equal(p.numpy(), torch_p.detach().numpy())


def test_default_initialisation_has_pytorchs_distribution():
    """Uniform in +-1/sqrt(n_in), weight and bias: the same ends, the same spread."""
    schuss.manual_seed(3)
    torch.manual_seed(3)
    n_in, n_out = 49, 4000
    ours, theirs = nn.Linear(n_in, n_out), torch.nn.Linear(n_in, n_out)
    for p, torch_p in zip(ours.parameters(), theirs.parameters(), strict=True):
        a, b = np.sort(p.numpy().ravel()), np.sort(torch_p.detach().numpy().ravel())
        # Two samples' quantiles differ by more than 2 * 1.95 / sqrt(n) of the range only once in a
        # thousand seeds (Kolmogorov and Smirnov), and this is one seed.
        assert np.abs(a - b).max() < 2 * 1.95 / np.sqrt(len(a)) * 2 / 7
        assert np.abs(a).max() <= 1 / 7

# SPDX-License-Identifier: MIT
"""Initialisation, and layers and losses as functions."""

from __future__ import annotations

import numpy as np
import pytest

import schuss
import schuss.nn.functional as F  # noqa: N812  (the name it goes by)
from schuss import nn

RNG = np.random.default_rng(5)
X = RNG.standard_normal((7, 3)).astype(np.float32)


def same(a: schuss.Tensor | np.ndarray, b: schuss.Tensor | np.ndarray) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


# ---- initialisation ------------------------------------------------------------------------------


def test_default_initialisation_is_uniform_within_its_bound() -> None:
    schuss.manual_seed(0)
    layer = nn.Linear(100, 500)
    values = layer.weight.numpy()
    assert values.min() >= -0.1
    assert values.max() < 0.1
    # Standard deviation of a uniform variable on +-0.1, and of the estimate of it from 50,000
    # values (kurtosis 1.8: 0.45 / sqrt(n) of it, 0.2%); five times that is allowed.
    assert values.std() == pytest.approx(0.2 / np.sqrt(12), rel=0.01)
    assert np.abs(layer.bias.numpy()).max() <= 0.1


@pytest.mark.parametrize(
    ("fill", "deviation"),
    [
        (lambda w: nn.init.normal_(w, 0.0, 0.5), 0.5),
        (lambda w: nn.init.uniform_(w, -1.0, 1.0), 1.0 / np.sqrt(3)),
        (lambda w: nn.init.xavier_uniform_(w, 2.0), 2.0 * np.sqrt(2 / 600)),
        (lambda w: nn.init.xavier_normal_(w), np.sqrt(2 / 600)),
        (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), np.sqrt(2 / 200)),
        (lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), 0.0707107),
        (lambda w: nn.init.kaiming_normal_(w, 0.5, nonlinearity="leaky_relu"), np.sqrt(1.6 / 200)),
        (lambda w: nn.init.kaiming_normal_(w, nonlinearity="tanh"), 5 / 3 / np.sqrt(200)),
    ],
)
def test_initialisation_has_its_deviation(fill: object, deviation: float) -> None:
    schuss.manual_seed(1)
    weight = nn.Linear(200, 400).weight
    assert fill(weight) is weight  # type: ignore[operator]
    # 80,000 values: mean within 5 / sqrt(n) deviations, deviation within 5 / sqrt(2n) of itself.
    assert abs(weight.numpy().mean()) < 0.018 * deviation
    assert weight.numpy().std() == pytest.approx(deviation, rel=0.013)


def test_initialisation_is_the_seeds() -> None:
    def draw(seed: int) -> list[float]:
        schuss.manual_seed(seed)
        return nn.Linear(5, 3).weight.tolist()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    layer = nn.Linear(5, 3)
    first = nn.init.normal_(layer.weight, generator=schuss.Generator(4)).tolist()
    assert nn.init.normal_(layer.weight, generator=schuss.Generator(4)).tolist() == first
    schuss.manual_seed(1)
    assert nn.Linear(5, 3).weight.tolist() != nn.Linear(5, 3).weight.tolist()


def test_calculate_gain() -> None:
    assert nn.init.calculate_gain("relu") == np.sqrt(2.0)
    assert nn.init.calculate_gain("tanh") == 5.0 / 3.0
    assert nn.init.calculate_gain("leaky_relu", 0.0) == np.sqrt(2.0)
    assert nn.init.calculate_gain("linear") == 1.0
    with pytest.raises(ValueError, match="nonlinearity: got 'swish'"):
        nn.init.calculate_gain("swish")


# ---- functions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "module"),
    [
        (F.relu, nn.ReLU()),
        (lambda x: F.leaky_relu(x, 0.2), nn.LeakyReLU(0.2)),
        (lambda x: F.elu(x, 0.7), nn.ELU(0.7)),
        (F.gelu, nn.GELU()),
        (lambda x: F.gelu(x, approximate="tanh"), nn.GELU("tanh")),
        (F.silu, nn.SiLU()),
        (lambda x: F.softplus(x, 2.0, 10.0), nn.Softplus(2.0, 10.0)),
        (F.sigmoid, nn.Sigmoid()),
        (F.tanh, nn.Tanh()),
        (F.step, nn.Step()),
        (lambda x: F.softmax(x, dim=1), nn.Softmax(1)),
        (lambda x: F.log_softmax(x, dim=-1), nn.LogSoftmax(1)),
    ],
)
def test_function_and_module_are_the_same(function: object, module: nn.Module) -> None:
    assert same(function(X), module(X))  # type: ignore[operator]


def test_activations_follow_the_dtype_and_keep_history() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(3, 9, dtype=schuss.float64)
            self.two = nn.Linear(9, 2, dtype=schuss.float64)
            self.tanh = nn.Tanh()

        def forward(self, x: schuss.Tensor) -> schuss.Tensor:
            return self.two(self.tanh(F.gelu(self.one(x))))

    assert F.relu(X.astype(np.float64)).dtype == np.float64
    assert F.relu(X).dtype == np.float32
    assert schuss.predict(nn.Tanh(), X.astype(np.float64)).dtype == np.float64
    assert schuss.gradcheck(Own(), nn.MSELoss(), X, np.ones((7, 2)))


def test_functional_linear_matches_the_layer_and_keeps_history() -> None:
    layer = nn.Linear(3, 20)
    output = F.linear(X, layer.weight, layer.bias)
    assert same(output, layer(X))
    F.mse_loss(output, np.zeros((7, 20))).backward()
    assert layer.weight.grad is not None
    plain = F.linear(X, layer.weight.numpy(), layer.bias.numpy())
    assert same(plain, output)
    assert not plain.requires_grad


def test_functional_linear_never_returns_an_untracked_value() -> None:
    """A weight that no layer laid out takes part as an expression, and gets its gradient."""
    weight = schuss.Parameter(np.ones((20, 3)))
    bias = schuss.zeros(20, dtype=schuss.float64, requires_grad=True)
    output = F.linear(X, weight, bias)
    expected = np.asarray(X, np.float64) @ np.ones((3, 20))
    np.testing.assert_allclose(output.numpy(), expected, rtol=1e-15)  # three terms a sum
    output.sum().backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert bias.grad.tolist() == [7.0] * 20


@pytest.mark.parametrize(
    ("function", "module", "target"),
    [
        (F.mse_loss, nn.MSELoss(), np.zeros((7, 3))),
        (F.l1_loss, nn.L1Loss(), np.zeros((7, 3))),
        (F.huber_loss, nn.HuberLoss(), np.zeros((7, 3))),
        (F.smooth_l1_loss, nn.SmoothL1Loss(), np.zeros((7, 3))),
        (F.cross_entropy, nn.CrossEntropyLoss(), np.array([0, 1, 2, 0, 1, 2, 0])),
        (F.nll_loss, nn.NLLLoss(), np.array([0, 1, 2, 0, 1, 2, 0])),
        (F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss(), np.ones((7, 3))),
    ],
)
def test_loss_function_and_module_are_the_same(
    function: object, module: nn.Module, target: np.ndarray
) -> None:
    assert function(X, target).item() == module(X, target).item()  # type: ignore[operator]
    assert F.binary_cross_entropy([0.5], [1.0]).item() == nn.BCELoss()([0.5], [1.0]).item()

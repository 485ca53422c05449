# SPDX-License-Identifier: MIT
"""The line kernel: whole epochs of `Linear(1, 1)` in one call, with the bits of a loop of calls.

The loop goes through the general kernels; the line kernel leaves out or rearranges what cannot be
seen. So rows on every side of its groups of lanes, zeros of both signs, and a last step that
overflows are where the two could differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim

ROWS = [1, 2, 7, 8, 9, 15, 16, 17, 24, 30, 31, 32, 33, 47, 48, 64, 100, 255, 256]
EPOCHS = 7

Result = tuple[bytes, ...]


def line(dtype: Any, bias: bool, start: float) -> nn.Linear:
    model = nn.Linear(1, 1, bias=bias, dtype=dtype)
    state = {"weight": np.full((1, 1), start, dtype)}
    if bias:
        state["bias"] = np.full(1, start, dtype)
    model.load_state_dict(state)
    return model


def result(model: nn.Module, losses: list[float]) -> Result:
    """Bytes, so that zeros of different signs differ."""
    parameters = [np.ascontiguousarray(value).tobytes() for value in model.state_dict().values()]
    return (*parameters, np.array(losses).tobytes())


def by_fit(model: nn.Module, loss: nn.Module, lr: float, X: Any, y: Any) -> Result:
    optimizer = optim.SGD(model.parameters(), lr=lr)
    history = schuss.fit(model, loss, optimizer, X, y, epochs=EPOCHS, batch_size=None)
    return result(model, list(history.loss))


def by_loop(model: nn.Module, loss: nn.Module, lr: float, X: Any, y: Any) -> Result:
    optimizer = optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(EPOCHS):
        cost = loss(model(X), y)
        losses.append(cost.item())
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
    return result(model, losses)


@pytest.mark.parametrize("dtype", [schuss.float32, schuss.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("rows", ROWS)
def test_line_kernel_gives_the_bits_of_the_loop(
    rows: int, reduction: str, bias: bool, dtype: Any
) -> None:
    rng = np.random.default_rng(rows)
    X = rng.standard_normal((rows, 1)).astype(dtype)
    y = rng.standard_normal((rows, 1)).astype(dtype)
    loss = nn.MSELoss(reduction=reduction)
    lr = 0.01 if reduction == "mean" else 0.01 / rows
    both = [way(line(dtype, bias, 0.3), loss, lr, X, y) for way in (by_fit, by_loop)]
    assert both[0] == both[1]


@pytest.mark.parametrize("start", [0.0, -0.0, 1.0])
@pytest.mark.parametrize("x", [0.0, -0.0, 1.0, -1.0])
@pytest.mark.parametrize("target", [0.0, -0.0, 1.0])
def test_line_kernel_keeps_the_signs_of_zeros(start: float, x: float, target: float) -> None:
    X = np.full((3, 1), x, np.float32)
    y = np.full((3, 1), target, np.float32)
    loss = nn.MSELoss()
    both = [way(line(np.float32, True, start), loss, 0.5, X, y) for way in (by_fit, by_loop)]
    assert both[0] == both[1]


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e-15, 1e15])
def test_line_kernel_gives_the_bits_of_the_loop_at_the_ends_of_the_range(scale: float) -> None:
    """Squares below the smallest normal number, products that round to zero, sums near overflow."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((30, 1)).astype(np.float32)
    y = (rng.standard_normal((30, 1)) * scale).astype(np.float32)
    loss = nn.MSELoss()
    both = [way(line(np.float32, True, scale), loss, 0.1, X, y) for way in (by_fit, by_loop)]
    assert both[0] == both[1]


@pytest.mark.parametrize("rows", [5, 30, 40])
def test_line_kernel_stops_before_the_update_of_a_loss_that_is_not_finite(rows: int) -> None:
    """Differences of 2^64 have an infinite square: no step is done, small gradient or not."""
    X = np.ones((rows, 1), np.float32)
    y = np.zeros((rows, 1), np.float32)
    y[-1] = np.float32(2.0**64)
    model = line(np.float32, True, 0.25)
    optimizer = optim.SGD(model.parameters(), lr=1e-30)
    with pytest.raises(schuss.NonFiniteError, match="epoch 0, step 0"):
        schuss.fit(model, nn.MSELoss(), optimizer, X, y, epochs=3, batch_size=None)
    assert model.weight.item() == 0.25
    assert model.bias is not None
    assert model.bias.item() == 0.25


def test_many_epochs_give_the_losses_of_runs_of_fewer() -> None:
    """From 2^19 epochs on, losses get their room, in large pages, before the first."""
    X = np.linspace(-1, 1, 5, dtype=np.float32)[:, None]
    y = 3 * X + np.float32(0.5)

    def losses(*epochs: int) -> Any:
        model = line(np.float32, True, 0.25)
        optimizer = optim.SGD(model.parameters(), lr=1e-6)
        runs = [
            schuss.fit(model, nn.MSELoss(), optimizer, X, y, epochs=n, batch_size=None).loss
            for n in epochs
        ]
        return np.concatenate(runs)

    many = losses(600_000)
    assert many[0] > many[-1]
    np.testing.assert_array_equal(many, losses(200_000, 400_000))

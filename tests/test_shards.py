# SPDX-License-Identifier: MIT
"""Shards: row ranges of a batch whose gradients and losses combine pairwise."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim

RNG = np.random.default_rng(12)
X = RNG.standard_normal((1700, 9)).astype(np.float32)
Y = RNG.standard_normal((1700, 3)).astype(np.float32)
LABELS = RNG.integers(0, 3, 1700)
WEIGHT = [0.5, 1.25, 0.75]  # sums are exact in float32, and so is the divisor of the mean


class Blocks(nn.Module):
    """A forward pass of Python's."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Any) -> Any:
        return self.body(x)


def shared(dtype: Any) -> nn.Sequential:
    schuss.manual_seed(5)
    twice = nn.Linear(12, 12, dtype=dtype)
    return nn.Sequential(
        nn.Linear(9, 12, dtype=dtype), nn.Tanh(), twice, nn.Tanh(), twice, nn.ReLU(),
        nn.Linear(12, 3, dtype=dtype),
    )  # fmt: skip


def plain(dtype: Any) -> nn.Sequential:
    schuss.manual_seed(6)
    return nn.Sequential(nn.Linear(9, 3, dtype=dtype))


def bits(model: nn.Module) -> list[bytes]:
    return [np.ascontiguousarray(values).tobytes() for values in model.state_dict().values()]


def ranges(n: int, shards: int) -> list[tuple[int, int]]:
    """Written apart from the library's own: shard s ends at ceil((s + 1) * n / shards)."""
    ends = [0] + [(s * n + shards - 1) // shards for s in range(1, shards + 1)]
    return list(pairwise(ends))


def pairs(values: list[Any], add: Any) -> Any:
    """((0+1)+(2+3))+...; None is a shard without rows."""
    while len(values) > 1:
        couples = zip(values[::2], values[1::2], strict=True)
        values = [b if a is None else a if b is None else add(a, b) for a, b in couples]
    return values[0]


def by_hand(
    model: nn.Module, weighted: bool, optimizer: Any, x: Any, y: Any, batch: int, shards: int
) -> None:
    """One epoch in order: shards one by one through the step-by-step API, summed with NumPy."""
    for first in range(0, len(x), batch):
        xb, yb = x[first : first + batch], y[first : first + batch]
        divisor = float(sum(WEIGHT[label] for label in yb)) if weighted else 3.0 * len(xb)
        loss = (
            nn.CrossEntropyLoss(WEIGHT, reduction="sum")
            if weighted
            else nn.MSELoss(reduction="sum")
        )
        gradients: list[Any] = []
        for a, b in ranges(len(xb), shards):
            optimizer.zero_grad()
            if a < b:
                (loss(model(xb[a:b]), yb[a:b]) / divisor).backward()
            empty = a == b
            found = None if empty else [p.grad.numpy().copy() for p in model.parameters()]
            gradients.append(found)
        combined = pairs(gradients, lambda a, b: [u + v for u, v in zip(a, b, strict=True)])
        for parameter, gradient in zip(model.parameters(), combined, strict=True):
            parameter.grad = gradient
        optimizer.step()


@pytest.mark.parametrize("dtype", [schuss.float32, schuss.float64])
@pytest.mark.parametrize("shards", [1, 2, 4, 8])
@pytest.mark.parametrize(("make", "weighted"), [(shared, False), (plain, True)])
def test_fit_has_the_bits_of_shards_summed_pairwise_by_hand(
    make: Any, weighted: bool, shards: int, dtype: Any
) -> None:
    y = LABELS if weighted else Y
    for rows, batch in [(1700, 1700), (40, 5), (700, 300), (9, 1)]:
        one, two = make(dtype), make(dtype)
        first = optim.SGD(one.parameters(), lr=0.1, momentum=0.9)
        second = optim.SGD(two.parameters(), lr=0.1, momentum=0.9)
        by_hand(one, weighted, first, X[:rows], y[:rows], batch, shards)
        loss = nn.CrossEntropyLoss(WEIGHT) if weighted else nn.MSELoss()
        options: dict[str, Any] = {"batch_size": batch, "shuffle": False, "shards": shards}
        schuss.fit(two, loss, second, X[:rows], y[:rows], **options)
        assert bits(one) == bits(two), (rows, batch)


def lanes(values: np.ndarray) -> float:
    """At most 256 numbers in 8 float64 lanes and their tree."""
    acc = [0.0] * 8
    for i, value in enumerate(values):
        acc[i % 8] += float(value)
    for half in (4, 2, 1):
        acc = [acc[i] + acc[i + half] for i in range(half)]
    return acc[0]


@pytest.mark.parametrize("shards", [1, 2, 4, 8])
def test_loss_of_a_batch_is_the_pairwise_sum_of_its_shards(shards: int) -> None:
    for n in (1, 3, 200, 1700):
        model = plain(schuss.float64)
        each = nn.CrossEntropyLoss(reduction="none")(model(X[:n]), LABELS[:n]).numpy()
        sums: list[float | None] = []
        for a, b in ranges(n, shards):
            part = None
            for at in range(a, b, 256):
                chunk = lanes(each[at : min(at + 256, b)])
                part = chunk if part is None else part + chunk
            sums.append(part)
        expected = pairs(sums, lambda a, b: a + b) / n
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        history = schuss.fit(
            model, nn.CrossEntropyLoss(), optimizer, X[:n], LABELS[:n],
            batch_size=None, shards=shards,
        )  # fmt: skip
        assert history.loss[0] == expected


@pytest.mark.parametrize("shards", [1, 2, 4, 8])
@pytest.mark.parametrize("rows", [64, 1700])
def test_shards_have_the_same_bits_on_any_number_of_threads(rows: int, shards: int) -> None:
    """Small models share chunks, wide ones share tiles."""
    found = set()
    for widths in [(9, 3), (9, 700, 3)]:
        results = []
        for threads in (1, 2, 3, 7):
            schuss.manual_seed(3)
            layers: list[nn.Module] = []
            for n_in, n_out in pairwise(widths):
                layers += [nn.Linear(n_in, n_out), nn.ReLU()]
            model = nn.Sequential(*layers[:-1])
            optimizer = optim.Adam(model.parameters(), lr=0.01)
            repeat = 1 if len(widths) > 2 else 40  # enough work for several threads
            x, y = np.tile(X[:rows], (repeat, 1)), np.tile(LABELS[:rows], repeat)
            history = schuss.fit(
                model, nn.CrossEntropyLoss(WEIGHT), optimizer, x, y, epochs=2,
                batch_size=None, shards=shards, num_threads=threads,
            )  # fmt: skip
            results.append((bits(model), history.loss))
        assert all(result == results[0] for result in results)
        found.add(tuple(results[0][1]))
    assert len(found) == 2


@pytest.mark.parametrize("shards", [1, 2, 8])
@pytest.mark.parametrize("batch", [5, 600])
def test_model_with_a_forward_of_its_own_has_the_same_bits(batch: int, shards: int) -> None:
    one, two = shared(schuss.float32), shared(schuss.float32)
    weights = [0.3, 1.1, 0.7]  # their sums are rounded
    results = []
    for model, whole in [(one, one), (two, Blocks(two))]:
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        history = schuss.fit(
            whole, nn.CrossEntropyLoss(weights, label_smoothing=0.1), optimizer,
            X[:1203], LABELS[:1203], epochs=2, batch_size=batch, seed=1, shards=shards,
        )  # fmt: skip
        results.append((bits(model), history.loss))
    assert results[0] == results[1]


def test_loss_written_in_python_takes_shards() -> None:
    def squared(prediction: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
        error = prediction - target
        return float((error.astype(np.float64) ** 2).mean()), error * np.float32(2 / error.size)

    # Powers of two: both ways of writing the gradient are exact up to one rounding.
    for criterion in (squared, nn.MSELoss()):
        model = shared(schuss.float32)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        schuss.fit(model, criterion, optimizer, X[:512], Y[:512, :3], batch_size=64, shards=4)
        if criterion is squared:
            other = model
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        # Eight steps, of which each passes errors on with a factor near 1 and adds those of its
        # sums of 64 rows and of three layers of at most 12 terms: 8 * (64 + 3 * 12) roundings.
        assert np.abs(one.numpy() - two.numpy()).max() <= 800 * 2.0**-24


def test_number_of_shards_shows_in_the_bits() -> None:
    found = set()
    for shards in (1, 2, 4, 8):
        model = plain(schuss.float32)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=3, batch_size=None, shards=shards)
        found.add(tuple(bits(model)))
    assert len(found) == 4


@pytest.mark.parametrize("shards", [0, 3, 16, -1])
def test_other_numbers_of_shards_are_an_error(shards: int) -> None:
    model = plain(schuss.float32)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    before = bits(model)
    with pytest.raises(ValueError, match=rf"shards: got {shards}; expected"):
        schuss.fit(model, nn.MSELoss(), optimizer, X, Y, shards=shards)
    with pytest.raises(TypeError, match="shards: got"):
        schuss.fit(model, nn.MSELoss(), optimizer, X, Y, shards=2.0)  # type: ignore[arg-type]
    assert bits(model) == before

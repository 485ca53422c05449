# SPDX-License-Identifier: MIT
"""Lesson 2: learning y = 2x from three points.

The lesson of the Korean "deep learning for everyone" course: first a weight and a bias, then the
weight alone with the gradient written out.

    python examples/y_equals_2x.py --plot y_equals_2x.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

import schuss
from schuss import nn, optim

X = np.array([[1.0], [2.0], [3.0]])
Y = 2.0 * X
EPOCHS = 1_000


class Row(NamedTuple):
    """What the lesson prints: cost before the update of this epoch, W and b after it."""

    epoch: int
    weight: float
    bias: float
    cost: float


class WeightOnly(NamedTuple):
    """The weight before a step, and its cost."""

    weight: float
    cost: float


def weight_and_bias(lr: float = 0.01) -> list[Row]:
    """Train a weight and a bias from zero with PyTorch's loop; epochs count from 0."""
    model = nn.Linear(1, 1, dtype=np.float64)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    criterion = nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=lr)
    rows = []
    for epoch in range(EPOCHS):
        cost = criterion(model(X), Y)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        rows.append(Row(epoch, model.weight.item(), model.bias.item(), cost.item()))
    return rows


def weight_alone(lr: float = 0.1, steps: int = 10) -> list[WeightOnly]:
    """Train the weight alone: cost = mean((W x - y)^2), gradient = 2 mean((W x - y) x)."""
    weight = schuss.Parameter(np.zeros(1))
    optimizer = optim.SGD([weight], lr=lr)
    rows = []
    for _ in range(steps):
        residual = weight.item() * X - Y
        rows.append(WeightOnly(weight.item(), float(np.mean(residual * residual))))
        weight.grad = np.array([2.0 * np.mean(residual * X)])
        optimizer.step()
    return rows


def draw(file: Path, rows: list[Row], alone: list[WeightOnly]) -> None:
    """Draw the data and the line, the cost over the epochs, and the weight on its parabola."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    x = np.linspace(0.0, 4.0, 2)
    left.plot(X, Y, "o", label="data")
    left.plot(x, rows[-1].weight * x + rows[-1].bias, label=f"after {len(rows)} epochs")
    left.plot(x, rows[0].weight * x + rows[0].bias, "--", label="after one")
    left.set(xlabel="x", ylabel="y", title="y = 2x")
    left.legend()
    middle.semilogy([row.epoch for row in rows], [row.cost for row in rows])
    middle.set(xlabel="epoch", ylabel="cost", title="weight and bias, lr 0.01")
    w = np.linspace(-0.5, 4.5, 201)
    right.plot(w, 14.0 / 3.0 * (w - 2.0) ** 2)  # mean of (W x - 2 x)^2 over x = 1, 2, 3
    right.plot([row.weight for row in alone], [row.cost for row in alone], "o-")
    right.set(xlabel="W", ylabel="cost", title="weight alone, lr 0.1")
    figure.savefig(file, dpi=120)


def main(plot: Path | None = None) -> tuple[list[Row], list[WeightOnly]]:
    """Run the lesson; give the rows of every epoch, and the steps of the weight alone."""
    rows = weight_and_bias()
    print("weight and bias\n  epoch      W      b       cost")
    for row in [*rows[::100], rows[-1]]:
        print(f"  {row.epoch:5d}  {row.weight:.3f}  {row.bias:.3f}  {row.cost:9.6f}")
    alone = weight_alone()
    print("weight alone\n  step         W  cost")
    for step, state in enumerate(alone):
        print(f"  {step:4d}  {state.weight:.6f}  {state.cost:.6g}")
    if plot is not None:
        draw(plot, rows, alone)
        print(f"picture: {plot}")
    return rows, alone


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw (needs matplotlib)")
    main(parser.parse_args().plot)

# SPDX-License-Identifier: MIT
"""Lesson 1: a straight line through 30 points, trained in three ways that give the same numbers.

The lesson is the line of the Korean PyTorch course's note on losses and optimisation: from a zero
start, 10,000 full-batch epochs of plain descent on the mean squared error.

    python examples/line30.py --plot line30.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

import schuss
from schuss import nn, optim

X = np.arange(1.0, 31.0).reshape(-1, 1)
Y = np.array(
    [
        [0.94, 1.98, 2.88, 3.92, 3.96, 4.55, 5.64, 6.3, 7.44, 9.1],
        [8.46, 9.5, 10.67, 11.16, 14.0, 11.83, 14.4, 14.25, 16.2, 16.32],
        [17.46, 19.8, 18.0, 21.34, 22.0, 22.5, 24.57, 26.04, 21.6, 28.8],
    ]
).reshape(-1, 1)
LEARNING_RATE = 0.001
EPOCHS = 10_000
EVERY = 1_000


class Row(NamedTuple):
    """What the lesson prints: cost before the update of this epoch, parameters after it."""

    epoch: int
    weight: float
    bias: float
    cost: float


def zero_start() -> nn.Linear:
    """Give a line with weight and bias 0, in float64."""
    model = nn.Linear(1, 1, dtype=np.float64)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


def pytorch_loop() -> list[Row]:
    """Train with PyTorch's loop, step by step."""
    model = zero_start()
    criterion = nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE)
    rows = []
    for epoch in range(1, EPOCHS + 1):
        cost = criterion(model(X), Y)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        if epoch % EVERY == 0:
            rows.append(Row(epoch, model.weight.item(), model.bias.item(), cost.item()))
    return rows


def native_fit() -> tuple[list[Row], list[float]]:
    """Train natively, a thousand epochs a call; also give the cost of every epoch."""
    model = zero_start()
    criterion = nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE)
    rows: list[Row] = []
    costs: list[float] = []
    for epoch in range(EVERY, EPOCHS + 1, EVERY):
        history = schuss.fit(
            model, criterion, optimizer, X, Y, epochs=EVERY, batch_size=None, shuffle=False
        )
        costs.extend(float(cost) for cost in history.loss)
        rows.append(Row(epoch, model.weight.item(), model.bias.item(), costs[-1]))
    return rows, costs


def by_hand() -> list[Row]:
    """Train bare parameters with the gradient worked out on paper.

    cost = mean((w x + b - y)^2), so d cost/dw = 2 mean((w x + b - y) x) and
    d cost/db = 2 mean(w x + b - y).
    """
    weight = schuss.Parameter(np.zeros(1))
    bias = schuss.Parameter(np.zeros(1))
    optimizer = optim.SGD([weight, bias], lr=LEARNING_RATE)
    rows = []
    for epoch in range(1, EPOCHS + 1):
        residual = weight.item() * X + bias.item() - Y
        weight.grad = np.array([2.0 * np.mean(residual * X)])
        bias.grad = np.array([2.0 * np.mean(residual)])
        optimizer.step()
        if epoch % EVERY == 0:
            cost = float(np.mean(residual * residual))
            rows.append(Row(epoch, weight.item(), bias.item(), cost))
    return rows


def draw(file: Path, last: Row, costs: list[float]) -> None:
    """Draw the data with the fitted line, and the cost of every epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(X, Y, "o", markersize=4, label="data")
    left.plot(X, last.weight * X + last.bias, label=f"{last.weight:.3f} x {last.bias:+.3f}")
    left.set(xlabel="x", ylabel="y", title="30 points and the line")
    left.legend()
    right.loglog(range(1, len(costs) + 1), costs)
    right.set(xlabel="epoch", ylabel="mean squared error", title="cost before the update")
    figure.savefig(file, dpi=120)


def main(plot: Path | None = None) -> dict[str, list[Row]]:
    """Run the lesson and give the rows of the three ways."""
    rows, costs = native_fit()
    results = {"PyTorch's loop": pytorch_loop(), "native fit": rows, "by hand": by_hand()}
    for name, table in results.items():
        print(f"{name}\n  epoch    weight      bias      cost")
        for row in table:
            print(f"  {row.epoch:5d}  {row.weight:.6f} {row.bias:9.6f}  {row.cost:.6f}")
    if plot is not None:
        draw(plot, rows[-1], costs)
        print(f"picture: {plot}")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw (needs matplotlib)")
    main(parser.parse_args().plot)

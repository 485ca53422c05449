# SPDX-License-Identifier: MIT
"""Lesson 3: what unit does the thermometer show? Normalisation, divergence, validation, Adam.

After chapter 5 of Stevens, Antiga and Viehmann, *Deep Learning with PyTorch*: eleven readings of a
thermometer in an unknown unit, beside the temperature in Celsius, and the model w t + b.

    python examples/thermometer.py --plot thermometer.png
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import schuss
from schuss import nn, optim

T_U = np.array([35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4]).reshape(-1, 1)
T_C = np.array([0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0]).reshape(-1, 1)
T_UN = 0.1 * T_U  # of the size of one: both gradients are then of like size too
# The chapter draws a fifth of the rows at random; these two are fixed, for the same numbers always.
HELD_OUT = (1, 8)


@dataclass
class Fit:
    """A training run: loss before each update, and the parameters at its end."""

    losses: list[float]
    weight: float
    bias: float


@dataclass
class FirstStep:
    """One optimizer step: the gradient it saw and the parameters it left."""

    loss: float
    gradient: tuple[float, float]
    weight: float
    bias: float


@dataclass
class Divergence:
    """Losses of the first epochs of a run that diverges, and how `fit` reports it."""

    losses: list[float]
    message: str


@dataclass
class Validated:
    """Every 500th epoch: its number, training loss before the update, validation loss after it."""

    rows: list[tuple[int, float, float]]
    weight: float
    bias: float


@dataclass
class Results:
    """All numbers of the lesson."""

    first_step: FirstStep
    diverging: Divergence
    small_rate: Fit
    normalised: Fit
    adam: Fit
    validated: Validated


def start() -> nn.Linear:
    """Give the model at the chapter's start: w = 1, b = 0."""
    model = nn.Linear(1, 1, dtype=np.float64)
    nn.init.ones_(model.weight)
    nn.init.zeros_(model.bias)
    return model


def first_step(lr: float = 1e-5) -> FirstStep:
    """Take one step on the raw readings with the optimizer, looking at the gradient on the way."""
    model = start()
    optimizer = optim.SGD(model.parameters(), lr=lr)
    loss = nn.MSELoss()(model(T_U), T_C)
    optimizer.zero_grad()  # gradients accumulate: forget what was there
    loss.backward()
    gradient = (model.weight.grad.item(), model.bias.grad.item())
    optimizer.step()
    return FirstStep(loss.item(), gradient, model.weight.item(), model.bias.item())


def diverging(lr: float = 1e-2) -> Divergence:
    """Train on the raw readings at a rate that is too large for them.

    The gradient of w is fifty times that of b, and a step of 1e-2 overshoots further every time.
    """
    model = start()
    criterion = nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(10):
        loss = criterion(model(T_U), T_C)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    try:
        schuss.fit(model, criterion, optimizer, T_U, T_C, epochs=1_000, batch_size=None)
    except schuss.NonFiniteError as error:
        return Divergence(losses, str(error))
    raise AssertionError("a rate of 1e-2 on the raw readings was expected to diverge")


def train(readings: np.ndarray, epochs: int, *, lr: float, adam: bool = False) -> Fit:
    """Train natively on all eleven rows."""
    model = start()
    parameters = model.parameters()
    optimizer = optim.Adam(parameters, lr=lr) if adam else optim.SGD(parameters, lr=lr)
    history = schuss.fit(
        model, nn.MSELoss(), optimizer, readings, T_C, epochs=epochs, batch_size=None
    )
    losses = [float(loss) for loss in history.loss]
    return Fit(losses, model.weight.item(), model.bias.item())


def validated(epochs: int = 3_000, lr: float = 1e-2) -> Validated:
    """Train on nine rows and watch the loss on the two held out."""
    held_out = np.zeros(len(T_UN), dtype=bool)
    held_out[list(HELD_OUT)] = True
    model = start()
    optimizer = optim.SGD(model.parameters(), lr=lr)
    history = schuss.fit(
        model,
        nn.MSELoss(),
        optimizer,
        T_UN[~held_out],
        T_C[~held_out],
        epochs=epochs,
        batch_size=None,
        validation_data=(T_UN[held_out], T_C[held_out]),
    )
    rows = [
        (epoch, float(history.loss[epoch - 1]), float(history.val_loss[epoch - 1]))
        for epoch in [1, *range(500, epochs + 1, 500)]
    ]
    return Validated(rows, model.weight.item(), model.bias.item())


def draw(file: Path, results: Results) -> None:
    """Draw the readings with the fitted line, and the losses of the runs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    fit = results.normalised
    line = np.array([20.0, 85.0])
    left.plot(T_U, T_C, "o", markersize=4, label="readings")
    left.plot(line, fit.weight * 0.1 * line + fit.bias, label="w t + b")
    left.set(xlabel="reading (unknown unit)", ylabel="temperature (Celsius)", title="thermometer")
    left.legend()
    for label, losses in (
        ("raw, lr 1e-2", results.diverging.losses),
        ("raw, lr 1e-4", results.small_rate.losses),
        ("normalised, lr 1e-2", results.normalised.losses),
        ("raw, Adam, lr 1e-1", results.adam.losses),
    ):
        right.loglog(range(1, len(losses) + 1), losses, label=label)
    right.set(xlabel="epoch", ylabel="loss", title="losses", ylim=(1.0, 1e5))
    right.legend()
    figure.savefig(file, dpi=120)


def report(results: Results) -> None:
    """Print the lesson."""
    step = results.first_step
    print("raw readings, one step at lr 1e-5")
    print(f"  loss {step.loss:.4f}, gradient ({step.gradient[0]:.4f}, {step.gradient[1]:.4f})")
    print(f"  parameters ({step.weight:.5f}, {step.bias:.6f})")
    print("raw readings, lr 1e-2: the loss grows with every epoch")
    print("  " + " ".join(f"{loss:.3g}" for loss in results.diverging.losses))
    print(f"  {results.diverging.message}")
    for name, fit, epochs in (
        ("raw readings, lr 1e-4", results.small_rate, (1, 10, 100)),
        ("normalised, lr 1e-2", results.normalised, (1, 2, 3, 10, 11, 99, 100, 4000, 5000)),
        ("raw readings, Adam, lr 1e-1", results.adam, (1, 1000, 2000)),
    ):
        print(f"{name}: w {fit.weight:.4f}, b {fit.bias:.4f}")
        for epoch in epochs:
            print(f"  epoch {epoch:5d}  loss {fit.losses[epoch - 1]:.6f}")
    print("normalised, two of eleven rows held out")
    for epoch, loss, val_loss in results.validated.rows:
        print(f"  epoch {epoch:5d}  training loss {loss:.4f}  validation loss {val_loss:.4f}")


def main(plot: Path | None = None) -> Results:
    """Run the lesson and give its numbers."""
    results = Results(
        first_step=first_step(),
        diverging=diverging(),
        small_rate=train(T_U, 100, lr=1e-4),
        normalised=train(T_UN, 5_000, lr=1e-2),
        adam=train(T_U, 2_000, lr=1e-1, adam=True),
        validated=validated(),
    )
    report(results)
    if plot is not None:
        draw(plot, results)
        print(f"picture: {plot}")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw (needs matplotlib)")
    main(parser.parse_args().plot)

# SPDX-License-Identifier: MIT
"""Lesson 4: descent on a parabola, and what the learning rate does to it.

The function is (w - 1)^2 + 2, its derivative 2 (w - 1). A step multiplies the distance from the
lowest point by 1 - 2 lr: by 0.2 at lr 0.4, by 0.998 at lr 0.001, and by -19 at lr 10.

    python examples/parabola.py --plot parabola.png
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import schuss


@dataclass
class Descent:
    """A descent: where it started, the rate, every point on the way, and how it ended."""

    x0: float
    lr: float
    path: list[float]
    converged: bool
    message: str


def cost(w: float) -> float:
    """Give the height of the parabola at `w`."""
    return (w - 1.0) ** 2 + 2.0


def slope(w: float) -> float:
    """Give its derivative at `w`."""
    return 2.0 * (w - 1.0)


def descend(x0: float, lr: float, max_iter: int) -> Descent:
    """Walk down from `x0`, at most `max_iter` steps."""
    result = schuss.minimize(cost, slope, x0, lr=lr, max_iter=max_iter)
    path = [float(w) for w in np.ravel(result.path)]
    return Descent(x0, lr, path, bool(result.converged), result.message)


def draw(file: Path, descents: dict[str, Descent]) -> None:
    """Draw each path on the curve; of the diverging one, only the first steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, (name, descent) in zip(
        figure.subplots(1, len(descents)), descents.items(), strict=True
    ):
        path = np.array(descent.path[:3] if name == "diverges" else descent.path)
        reach = 1.1 * float(np.max(np.abs(path - 1.0)))
        w = np.linspace(1.0 - reach, 1.0 + reach, 401)
        axes.plot(w, cost(w))
        axes.plot(path, cost(path), "o-", markersize=4, linewidth=0.8)
        axes.set(xlabel="w", ylabel="cost", title=f"{name}: lr {descent.lr:g} from {descent.x0:g}")
    figure.savefig(file, dpi=120)


def main(plot: Path | None = None) -> dict[str, Descent]:
    """Run the lesson and give its descents by name."""
    descents = {
        "one step": descend(5.0, 0.1, 1),
        "arrives": descend(2.0, 0.4, 100),
        "too slow": descend(2.0, 0.001, 100),
        "diverges": descend(2.0, 10.0, 100),
    }
    for name, descent in descents.items():
        steps = len(descent.path) - 1
        print(f"{name}: lr {descent.lr:g} from {descent.x0:g}, steps taken: {steps}")
        print(f"  w = {descent.path[-1]:.8g}, slope {slope(descent.path[-1]):.3g}")
        print("  path " + " ".join(f"{w:.5g}" for w in descent.path[:8]) + " ..." * (steps > 7))
    if plot is not None:
        draw(plot, descents)
        print(f"picture: {plot}")
    return descents


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw (needs matplotlib)")
    main(parser.parse_args().plot)

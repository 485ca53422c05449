# SPDX-License-Identifier: MIT
"""Losses written in Python and recorded, against the built-in squared error, in one run.

    python bench/recorded.py
    python bench/recorded.py --cases mnist --rounds 15 --threads 1

Times are those of one epoch's native loop, the median over rounds; the ratio is the median of the
rounds' ratios. The shapes are those of `bench/cases.py`; both have the squared error as their loss
here. `record` is what recording costs, once per call of `fit`.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import schuss
from schuss import Tensor, nn, optim

SHAPES = {"mnist": ((784, 128, 10), 60_000, 128), "linear": ((100, 1), 1_000_000, 1024)}


def squared(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error, written out."""
    return ((prediction - target) ** 2).mean()


def weighted_huber(prediction: Tensor, target: Tensor) -> Tensor:
    """Huber's loss, twice the weight where the prediction is too low."""
    error = prediction - target
    size = error.abs()
    loss = schuss.where(size <= 1.0, 0.5 * error * error, size - 0.5)
    return (loss * schuss.where(error < 0.0, 2.0, 1.0)).mean()


def quantile(prediction: Tensor, target: Tensor) -> Tensor:
    """Pinball loss of the 0.9 quantile."""
    error = target - prediction
    return schuss.maximum(0.9 * error, -0.1 * error).mean()


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "squared": squared,
    "weighted Huber": weighted_huber,
    "quantile": quantile,
}


def network(layers: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    schuss.manual_seed(0)
    modules: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(layers):
        modules += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def epoch_seconds(
    case: str, criterion: Any, X: np.ndarray, y: np.ndarray, threads: int | None
) -> float:
    """Time one epoch from the same start."""
    layers, _, batch = SHAPES[case]
    model = network(layers)
    optimizer = optim.SGD(model.parameters(), lr=1e-4)
    history = schuss.fit(
        model, criterion, optimizer, X, y, batch_size=batch, seed=0, num_threads=threads
    )
    return float(history.seconds[0])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", default="mnist,linear")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    for case in options.cases.split(","):
        layers, rows, _ = SHAPES[case]
        generator = np.random.default_rng(0)
        X = generator.standard_normal((rows, layers[0]), dtype=np.float32)
        y = generator.standard_normal((rows, layers[-1]), dtype=np.float32)
        criteria = {"MSELoss": nn.MSELoss(), **LOSSES}
        seconds: dict[str, list[float]] = {name: [] for name in criteria}
        for _ in range(options.rounds):
            for name, criterion in criteria.items():
                seconds[name].append(epoch_seconds(case, criterion, X, y, options.threads))
        for name, measured in seconds.items():
            pairs = zip(measured, seconds["MSELoss"], strict=True)
            ratio = statistics.median(own / built_in for own, built_in in pairs)
            line = f"{case:7} {name:15} {statistics.median(measured) * 1e3:9.2f} ms  {ratio:5.2f}x"
            if name in LOSSES:
                begin = time.perf_counter()
                schuss.compile(LOSSES[name], (y[:6], y[:6]))
                line += f"   record {(time.perf_counter() - begin) * 1e6:6.0f} us"
            print(line)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""The training jobs that are timed, their data, and what every contender has to offer."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
Parameters = list[npt.NDArray[np.float64]]

LINE30_Y = (
    ".94 1.98 2.88 3.92 3.96 4.55 5.64 6.3 7.44 9.1 8.46 9.5 10.67 11.16 14 11.83 14.4 14.25 16.2 "
    "16.32 17.46 19.8 18 21.34 22 22.5 24.57 26.04 21.6 28.8"
)


@dataclasses.dataclass(frozen=True)
class Case:
    """One training job.

    Attributes
    ----------
    name, work
        What it is called, and what it is in a few words.
    layers
        Widths from input to output; ReLU between layers.
    loss
        Mean squared error over all elements, or cross-entropy with class indices.
    n_rows, batch
        Size of the data; ``batch=None`` is a full batch.
    unit
        What one time stands for: an epoch, or a step (epoch time over steps).
    lr
        Learning rate of plain SGD.
    bound
        ``"chain"`` (dependent operations), or ``"work"``: the larger of multiply-adds at peak rate
        and reading the data once.
    bound_threads
        Threads that the bound may use; None is as many as the run has. Small steps hold too little
        work to be shared.
    models
        Independent models of this kind, trained one after the other or side by side.
    """

    name: str
    work: str
    layers: tuple[int, ...]
    loss: Literal["mse", "cross_entropy"]
    n_rows: int
    batch: int | None
    unit: Literal["epoch", "step"]
    lr: float
    bound: Literal["chain", "work"] = "work"
    bound_threads: int | None = None
    models: int = 1

    @property
    def batch_rows(self) -> int:
        """Rows of a batch; the last one of an epoch may be shorter."""
        return self.n_rows if self.batch is None else min(self.batch, self.n_rows)

    @property
    def steps(self) -> int:
        """Updates of one model in an epoch."""
        return math.ceil(self.n_rows / self.batch_rows)

    @property
    def units(self) -> int:
        """Units of time in one epoch."""
        return 1 if self.unit == "epoch" else self.steps * self.models

    @property
    def orders(self) -> tuple[bool, ...]:
        """Values of ``shuffled`` that make sense: a full batch has no order."""
        return (False,) if self.batch is None else (False, True)

    @property
    def flops(self) -> float:
        """Floating-point operations of the products of one epoch.

        Forward and weight gradients for every layer; gradients of the input for all but the first.
        """
        sizes = [a * b for a, b in zip(self.layers[:-1], self.layers[1:], strict=True)]
        return 2.0 * self.n_rows * self.models * (2 * sum(sizes) + sum(sizes[1:]))

    def with_rows(self, n_rows: int) -> Case:
        """Return the same job on the first rows of its data."""
        return dataclasses.replace(self, n_rows=min(n_rows, self.n_rows))

    def for_check(self) -> Case:
        """Return the job on a few batches: two whole ones, and a last short one."""
        if self.batch is None:
            return self.with_rows(20_000)
        return self.with_rows(self.batch * 2 + self.batch // 2)

    def for_smoke(self) -> Case:
        """Return a job of the same kind that takes moments everywhere."""
        batch = None if self.batch is None else min(self.batch, 64)
        return dataclasses.replace(self.with_rows(160), batch=batch, models=min(self.models, 4))


CASES = (
    Case("line30", "Linear(1,1), MSE, 30 rows, full batch", (1, 1), "mse", 30, None, "epoch",
         1e-3, "chain", 1),
    Case("tiny", "4-64-64-2 ReLU, MSE, batch 32", (4, 64, 64, 2), "mse", 4096, 32, "step", 1e-2,
         "work", 1),
    Case("digits", "64-128-10 ReLU, CE, batch 64, 1,797 rows", (64, 128, 10), "cross_entropy", 1797,
         64, "step", 1e-2, "work", 1),
    Case("mnist", "784-128-10 ReLU, CE, batch 128, 60,000 rows", (784, 128, 10), "cross_entropy",
         60_000, 128, "epoch", 1e-2),
    Case("wide", "1024-1024-1024-1024 ReLU, MSE, batch 1024, 8,192 rows", (1024, 1024, 1024, 1024),
         "mse", 8192, 1024, "epoch", 1e-2),
    Case("linear", "Linear(100,1), MSE, batch 1024, 1,000,000 rows", (100, 1), "mse", 1_000_000,
         1024, "epoch", 1e-3),
    Case("softmax", "Linear(784,10), CE, batch 128, 60,000 rows", (784, 10), "cross_entropy",
         60_000, 128, "epoch", 1e-3),
    Case("narrow", "Linear(20,1), MSE, batch 32, 100,000 rows", (20, 1), "mse", 100_000, 32,
         "epoch", 1e-3, "work", 1),
    Case("full", "Linear(100,1), MSE, full batch of 1,000,000 rows", (100, 1), "mse", 1_000_000,
         None, "epoch", 1e-3),
    Case("many", "256 models 16-32-1 ReLU, MSE, batch 32, 256 rows each; one fit after the other "
         "(JAX: vmap)", (16, 32, 1), "mse", 256, 32, "step", 1e-2, models=256),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Problem:
    """A case with its data and starting weights, the same for every contender.

    Attributes
    ----------
    X
        ``(n_rows, layers[0])``, float32.
    y
        ``(n_rows, layers[-1])`` float32 for MSE, ``(n_rows,)`` int64 for cross-entropy.
    weights
        ``(weight, bias)`` of each layer; weight is ``(out, in)``.
    """

    case: Case
    X: Array
    y: npt.NDArray[np.float32 | np.int64]
    weights: list[tuple[Array, Array]]


def make_problem(case: Case) -> Problem:
    """Draw data and starting weights of a case; the same at every call.

    Targets follow a linear teacher with noise, so that no gradient ever dies away. The names say
    whose shape the data has: ``digits`` and ``mnist`` are random rows of that shape (the time of a
    dense net does not depend on the values).
    """
    rng = np.random.default_rng(20_250_101)
    n_in, n_out = case.layers[0], case.layers[-1]
    y: npt.NDArray[np.float32 | np.int64]
    if case.name == "line30":
        X = np.arange(1, 31, dtype=np.float32)[:, None]
        y = np.array(LINE30_Y.split(), dtype=np.float32)[:, None]
        X, y = X[: case.n_rows], y[: case.n_rows]
    else:
        X = rng.standard_normal((case.n_rows, n_in), dtype=np.float32)
        teacher = rng.standard_normal((n_in, n_out), dtype=np.float32) / np.float32(n_in**0.5)
        noise = rng.standard_normal((case.n_rows, n_out), dtype=np.float32)
        target = X @ teacher + np.float32(0.5) * noise
        y = target if case.loss == "mse" else target.argmax(axis=1).astype(np.int64)
    weights = []
    for fan_in, fan_out in zip(case.layers[:-1], case.layers[1:], strict=True):
        bound = fan_in**-0.5
        weights.append(
            (
                rng.uniform(-bound, bound, (fan_out, fan_in)).astype(np.float32),
                rng.uniform(-bound, bound, fan_out).astype(np.float32),
            )
        )
    return Problem(case, X, y, weights)


class Unsupported(Exception):  # noqa: N818 - not an error: this contender does not do this case
    """Raised by a constructor: the contender has no such job. The message says why."""


class Contender(Protocol):
    """One way to do a problem. Made for one problem, order (in order or shuffled) and thread count.

    Attributes
    ----------
    name
        As in the table.
    same_algorithm
        False for a peer that solves the same task by other steps (row by row): it is timed, and
        its answer is not compared.
    compile_seconds
        What the first call cost beyond a later one; None where nothing is compiled.
    """

    name: str
    same_algorithm: bool
    compile_seconds: float | None

    def train(self, epochs: int) -> None:
        """Train for some epochs from wherever the parameters are. This call is timed."""

    def answer(self, order: Index) -> Parameters:
        """Train one epoch from the start with rows in this order; return weight, bias, weight, ...

        A contender that draws its own order when shuffled (schuss) has published it as `order`.
        """

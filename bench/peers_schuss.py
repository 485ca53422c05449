# SPDX-License-Identifier: MIT
"""schuss: the native loop, and PyTorch's loop on schuss."""

from __future__ import annotations

from typing import Any

import numpy as np

import schuss
from cases import Case, Index, Parameters, Problem, Unsupported
from schuss import nn, optim

SEED = 0


def make_model(problem: Problem) -> nn.Sequential:
    """Build the network of a problem with its starting weights."""
    layers: list[nn.Module] = []
    state: dict[str, Any] = {}
    for weight, bias in problem.weights:
        if layers:
            layers.append(nn.ReLU())
        state[f"{len(layers)}.weight"] = weight
        state[f"{len(layers)}.bias"] = bias
        layers.append(nn.Linear(weight.shape[1], weight.shape[0]))
    model = nn.Sequential(*layers)
    model.load_state_dict(state)
    return model


def make_criterion(case: Case) -> nn.Module:
    """Build the loss of a case."""
    return nn.MSELoss() if case.loss == "mse" else nn.CrossEntropyLoss()


def shuffled_order(case: Case) -> Index:
    """Return the row order of the first epoch of a shuffled `fit`.

    `fit` and `DataLoader` draw the same permutation from the same seed; here the loader deals out
    row numbers.
    """
    numbers = np.arange(case.n_rows, dtype=np.float64)[:, None]
    loader = schuss.DataLoader(
        numbers, numbers, batch_size=case.batch_rows, shuffle=True, seed=SEED
    )
    return np.concatenate([np.asarray(xb)[:, 0] for xb, _ in loader]).astype(np.int64)


class Schuss:
    """`schuss.fit`: one native call for any number of epochs."""

    name = "schuss"
    same_algorithm = True
    compile_seconds: float | None = None

    def __init__(self, problem: Problem, shuffled: bool, threads: int) -> None:
        self.problem = problem
        self.case = problem.case
        self.shuffled = shuffled
        self.threads = threads
        self.criterion = make_criterion(self.case)
        self.models = [make_model(problem) for _ in range(self.case.models)]
        self.optimizers = [optim.SGD(m.parameters(), lr=self.case.lr) for m in self.models]

    def _fit(self, epochs: int, models: int) -> None:
        schuss.set_num_threads(self.threads)
        for model, optimizer in zip(self.models[:models], self.optimizers[:models], strict=True):
            schuss.fit(
                model,
                self.criterion,
                optimizer,
                self.problem.X,
                self.problem.y,
                epochs=epochs,
                batch_size=self.case.batch,
                shuffle=self.shuffled,
                seed=SEED,
            )

    def train(self, epochs: int) -> None:
        """Train all models; see `cases.Contender`."""
        self._fit(epochs, len(self.models))

    def answer(self, order: Index) -> Parameters:
        """Return the parameters after an epoch; see `cases.Contender`."""
        del order  # what `shuffled_order` told everyone
        self._fit(1, 1)
        state = self.models[0].state_dict()
        return [np.asarray(p, dtype=np.float64) for p in state.values()]


class SchussOneThread(Schuss):
    """`schuss.fit` held to one thread."""

    name = "schuss, 1 thread"

    def __init__(self, problem: Problem, shuffled: bool, threads: int) -> None:
        if threads == 1:
            raise Unsupported("the run has one thread: this is schuss itself")
        super().__init__(problem, shuffled, 1)


class SchussLoop(Schuss):
    """PyTorch's loop with schuss's names: Python between the steps."""

    name = "schuss, step by step"

    def __init__(self, problem: Problem, shuffled: bool, threads: int) -> None:
        if problem.case.models > 1:
            raise Unsupported("the loop is timed on one model")
        super().__init__(problem, shuffled, threads)

    def _fit(self, epochs: int, models: int) -> None:
        del models
        schuss.set_num_threads(self.threads)
        model, criterion, optimizer = self.models[0], self.criterion, self.optimizers[0]
        X, y = self.problem.X, self.problem.y
        if self.case.batch is None:
            for _ in range(epochs):
                optimizer.zero_grad()
                criterion(model(X), y).backward()
                optimizer.step()
            return
        loader = schuss.DataLoader(
            X, y, batch_size=self.case.batch, shuffle=self.shuffled, seed=SEED
        )
        for _ in range(epochs):
            for xb, yb in loader:
                optimizer.zero_grad()
                criterion(model(xb), yb).backward()
                optimizer.step()

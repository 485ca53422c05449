# SPDX-License-Identifier: MIT
"""PyTorch, eager: the loop of its tutorials, with tensors made once and batches by indexing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from cases import Index, Parameters, Problem


class TorchEager:
    """Eager training on one thread count."""

    same_algorithm = True
    compile_seconds: float | None = None

    def __init__(self, problem: Problem, shuffled: bool, threads: int) -> None:
        case = problem.case
        self.name = f"PyTorch eager, {threads} thread{'s' if threads > 1 else ''}"
        self.case = case
        self.shuffled = shuffled
        self.threads = threads
        self.X = torch.from_numpy(problem.X)
        self.y = torch.from_numpy(problem.y)
        self.criterion: torch.nn.Module = (
            torch.nn.MSELoss() if case.loss == "mse" else torch.nn.CrossEntropyLoss()
        )
        self.models = [self._model(problem) for _ in range(case.models)]
        self.optimizers = [torch.optim.SGD(m.parameters(), lr=case.lr) for m in self.models]

    @staticmethod
    def _model(problem: Problem) -> torch.nn.Sequential:
        layers: list[torch.nn.Module] = []
        for weight, bias in problem.weights:
            if layers:
                layers.append(torch.nn.ReLU())
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight))
                linear.bias.copy_(torch.from_numpy(bias))
            layers.append(linear)
        return torch.nn.Sequential(*layers)

    def _epoch(
        self, model: torch.nn.Sequential, optimizer: torch.optim.SGD, order: torch.Tensor | None
    ) -> None:
        step = self.case.batch_rows
        for first in range(0, self.case.n_rows, step):
            if self.case.batch is None:
                xb, yb = self.X, self.y
            elif order is None:
                xb, yb = self.X[first : first + step], self.y[first : first + step]
            else:
                rows = order[first : first + step]
                xb, yb = self.X[rows], self.y[rows]
            optimizer.zero_grad()
            loss = self.criterion(model(xb), yb)
            loss.backward()
            optimizer.step()

    def train(self, epochs: int) -> None:
        """Train all models; see `cases.Contender`."""
        torch.set_num_threads(self.threads)
        pairs = list(zip(self.models, self.optimizers, strict=True))
        for _, (model, optimizer) in itertools.product(range(epochs), pairs):
            order = torch.randperm(self.case.n_rows) if self.shuffled else None
            self._epoch(model, optimizer, order)

    def answer(self, order: Index) -> Parameters:
        """Return the parameters after an epoch; see `cases.Contender`."""
        torch.set_num_threads(self.threads)
        rows = torch.from_numpy(order) if self.shuffled else None
        self._epoch(self.models[0], self.optimizers[0], rows)
        return [p.detach().numpy().astype(np.float64) for p in self.models[0].parameters()]

# SPDX-License-Identifier: MIT
"""scikit-learn: one epoch is one `partial_fit` over the whole data.

`MLPRegressor` and `MLPClassifier` do the same steps as everyone else (also without a hidden layer).
`SGDRegressor` and `SGDClassifier`, what its users take for linear models, go row by row: timed as
what an expert picks, their answers are other ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

from cases import Index, Parameters, Problem, Unsupported


class SklearnMLP:
    """`MLPRegressor` or `MLPClassifier` with plain SGD."""

    name = "scikit-learn MLP"
    same_algorithm = True
    compile_seconds: float | None = None

    def __init__(self, problem: Problem, shuffled: bool, threads: int) -> None:
        del threads  # BLAS underneath takes what it wants
        case = problem.case
        if case.models > 1:
            raise Unsupported("one model at a time: a loop of estimators is what PyTorch shows")
        self.problem = problem
        self.y: Any = problem.y[:, 0] if case.layers[-1] == 1 else problem.y
        # Its squared loss is sum / (2 rows): a learning rate of 2 / n_out makes that the mean over
        # all elements.
        lr = case.lr * (2 / case.layers[-1] if case.loss == "mse" else 1)
        options: dict[str, Any] = {
            "hidden_layer_sizes": case.layers[1:-1],
            "solver": "sgd",
            "alpha": 0.0,
            "batch_size": case.batch_rows,
            "learning_rate_init": lr,
            "momentum": 0.0,
            "nesterovs_momentum": False,
            "shuffle": shuffled,
            "random_state": 0,
        }
        self.model: Any = (
            MLPRegressor(**options) if case.loss == "mse" else MLPClassifier(**options)
        )
        # Parameters exist after a first fit; they are then replaced by the common start.
        if case.loss == "mse":
            self.model.partial_fit(problem.X, self.y)
        else:
            self.model.partial_fit(problem.X, self.y, classes=np.arange(case.layers[-1]))
        self.model.coefs_ = [np.ascontiguousarray(w.T) for w, _ in problem.weights]
        self.model.intercepts_ = [b.copy() for _, b in problem.weights]
        # The optimizer that the first fit made holds the arrays it updates.
        del self.model._optimizer

    def train(self, epochs: int) -> None:
        """Train; see `cases.Contender`."""
        for _ in range(epochs):
            self.model.partial_fit(self.problem.X, self.y)

    def answer(self, order: Index) -> Parameters:
        """Return the parameters after an epoch; see `cases.Contender`."""
        self.model.set_params(shuffle=False)
        self.model.partial_fit(self.problem.X[order], self.y[order])
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [np.asarray(p, dtype=np.float64) for w, b in pairs for p in (w.T, b)]


class SklearnSGD:
    """`SGDRegressor` or `SGDClassifier`: one update a row."""

    name = "scikit-learn SGD, row by row"
    same_algorithm = False
    compile_seconds: float | None = None

    def __init__(self, problem: Problem, shuffled: bool, threads: int) -> None:
        case = problem.case
        if len(case.layers) != 2 or case.batch is None:
            raise Unsupported("linear models in mini-batches only")
        self.problem = problem
        options: dict[str, Any] = {
            "alpha": 0.0,
            "learning_rate": "constant",
            "eta0": case.lr,
            "shuffle": shuffled,
            "random_state": 0,
        }
        self.fit_options: dict[str, Any] = {}
        if case.loss == "mse":
            self.model: Any = SGDRegressor(**options)
            self.y: Any = problem.y[:, 0]
        else:
            self.model = SGDClassifier(loss="log_loss", n_jobs=threads, **options)
            self.fit_options["classes"] = np.arange(case.layers[-1])
            self.y = problem.y

    def train(self, epochs: int) -> None:
        """Train; see `cases.Contender`."""
        for _ in range(epochs):
            self.model.partial_fit(self.problem.X, self.y, **self.fit_options)

    def answer(self, order: Index) -> Parameters:
        """Not comparable: other steps lead to another answer."""
        raise NotImplementedError

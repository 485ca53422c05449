# SPDX-License-Identifier: MIT
"""Prediction and evaluation over whole data sets, natively where that is possible."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from schuss import _schuss
from schuss._chains import network_for, training_mode
from schuss._grad_mode import no_grad
from schuss._options import as_count, known_options, type_name
from schuss._recording import (
    Criterion,
    ExpressionLoss,
    PythonCriterion,
    as_criterion,
    like_prediction,
    native_loss,
    recorded_for,
)
from schuss._trials import as_input, rows_in
from schuss.data import as_array, as_rows
from schuss.nn.loss import BCEWithLogitsLoss, Loss
from schuss.nn.module import Module

if TYPE_CHECKING:
    from schuss._typing import Array, Metric, PythonLoss, TensorLike

__all__ = ["check_model", "evaluate", "named_metrics", "predict", "thread_count", "training_mode"]


@known_options
def predict(model: Module, X: TensorLike, *, num_threads: int | None = None) -> Array:
    """Compute the model's outputs in evaluation mode, without history.

    A row's output does not depend on the other rows. Working memory beyond the result does not
    grow with the number of rows.

    Parameters
    ----------
    model : nn.Module
    X : array-like of shape (n, features)
        Any real dtype, order or strides, also memory-mapped.
    num_threads : int, optional
        Threads for this call.

    Returns
    -------
    ndarray of shape (n, out_features)
        Of the model's dtype.

    Raises
    ------
    TypeError, ValueError
        `X` is not an array of real numbers of the right width.

    Examples
    --------
    >>> import numpy as np
    >>> import schuss
    >>> schuss.predict(schuss.nn.Linear(3, 2), np.zeros((4, 3))).shape
    (4, 2)
    """
    check_model(model)
    with thread_count(num_threads):
        network = network_for(model, X, training=False)
        if network is not None:
            return network.predict(X)
        rows = as_rows(X, "X")
        with training_mode(model, False), no_grad():
            chunks = [
                model(as_input(model, rows[i : i + 1024])).numpy()
                for i in range(0, len(rows), 1024)
            ]
        return np.concatenate(chunks)


@known_options
def evaluate(
    model: Module,
    criterion: Criterion,
    X: TensorLike,
    y: TensorLike,
    *,
    metrics: Sequence[str | Metric] | None = None,
    num_threads: int | None = None,
) -> dict[str, float]:
    """Compute the loss, and metrics, of a data set in evaluation mode.

    Parameters
    ----------
    model : nn.Module
    criterion : nn loss, or callable
        As for `fit`. Reduced over all rows at once; the result does not depend on any batch size.
    X, y : array-like
        As for `fit`.
    metrics : list of "accuracy" or callables (prediction, target) -> value, optional
        ``"accuracy"`` is the share of rows whose largest output (the first of equals) is the
        label's; with one output, of rows on the right side of 0 (`nn.BCEWithLogitsLoss`) or 0.5.
    num_threads : int, optional
        Threads for this call.

    Returns
    -------
    dict of str to float
        ``"loss"``, and each metric by its name.

    Examples
    --------
    >>> import numpy as np
    >>> import schuss
    >>> model = schuss.nn.Identity()
    >>> logits = np.array([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0]])
    >>> found = schuss.evaluate(
    ...     model, schuss.nn.CrossEntropyLoss(), logits, [0, 1, 1], metrics=["accuracy"]
    ... )
    >>> f"{found['accuracy']:.3f}"
    '0.667'
    """
    check_model(model)
    check_criterion(criterion)
    named = named_metrics(metrics)
    with thread_count(num_threads):
        network = network_for(model, X, training=False)
        found: dict[str, float] = {}
        prediction: Array | None = None
        criterion = as_criterion(criterion)
        n = rows_in(X)
        with training_mode(model, False):
            criterion = recorded_for(criterion, model, predict, X, y, (n, n))
        native = native_loss(criterion)
        if network is not None and native is not None:
            found["loss"] = _schuss.evaluate(network, native, X, y)
        else:
            prediction = predict(model, X)
            found["loss"] = _loss_of(criterion, prediction, as_array(y))
        for name, metric in named:
            if metric is None and network is not None:
                found[name] = _native_accuracy(network, criterion, X, y)
                continue
            if prediction is None:
                prediction = predict(model, X)
            target = as_array(y)
            if metric is None:
                found[name] = _accuracy(prediction, target, _threshold(criterion))
            else:
                found[name] = float(metric(prediction, target))
    return found


# ---- what fit shares with these ---------------------------------------------------------------


def check_model(model: Any) -> None:
    """Raise unless it is a module."""
    if not isinstance(model, Module):
        raise TypeError(f"model: got {type_name(model)}; expected a schuss.nn.Module")


def check_criterion(criterion: Any) -> None:
    """Raise unless it is a loss, or a function that can be one."""
    if isinstance(criterion, type):
        raise TypeError(f"criterion: got a class; expected an instance: {criterion.__name__}()")
    if not isinstance(criterion, (Loss, PythonCriterion)) and not callable(criterion):
        raise TypeError(f"criterion: got {type_name(criterion)}; expected a loss or a callable")
    if type(criterion).__module__.partition(".")[0] == "torch":
        raise TypeError(
            f"criterion: got {type_name(criterion)}; expected one of schuss.nn, or a function "
            "(prediction, target) -> (value, d_prediction) on arrays"
        )


@contextlib.contextmanager
def naming(argument: str) -> Iterator[None]:
    """Say which argument an error inside is about."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{argument}: {error}") from None


def python_loss(criterion: PythonLoss, prediction: Array, target: Array) -> tuple[float, Array]:
    """What a loss written in Python returns, checked."""
    return checked_result(criterion(prediction, like_prediction(target, prediction)), prediction)


def checked_result(result: Any, prediction: Array) -> tuple[float, Array]:
    """Value and gradient that a loss on arrays returned."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"criterion: returned {type_name(result)}; expected (value, d_prediction), the loss "
            "and its gradient with respect to the prediction; or, for Tensors, a Tensor of one "
            "number"
        )
    d_prediction = np.asarray(result[1])
    if d_prediction.shape != prediction.shape:
        raise ValueError(
            f"criterion: returned a gradient of shape {d_prediction.shape}; expected "
            f"{prediction.shape}, the shape of the prediction"
        )
    return float(result[0]), d_prediction


def named_metrics(
    metrics: Sequence[str | Metric] | None,
) -> list[tuple[str, Metric | None]]:
    """Names and callables; None stands for the accuracy."""
    if metrics is None:
        return []
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(f'metrics: got {metrics!r}; expected a list such as ["accuracy"]')
    named: list[tuple[str, Metric | None]] = []
    for metric in metrics:
        if metric == "accuracy":
            named.append(("accuracy", None))
        elif isinstance(metric, str):
            raise ValueError(f"metrics: got {metric!r}; expected 'accuracy' or a callable")
        elif callable(metric):
            named.append((getattr(metric, "__name__", type_name(metric)), metric))
        else:
            raise TypeError(f"metrics: got {type_name(metric)}; expected 'accuracy' or a callable")
    return named


class thread_count:  # noqa: N801  (used like a function)
    """Use so many threads for this thread's calls in a ``with`` block; None: as many as before."""

    __slots__ = ("_before", "_count", "_entered")

    def __init__(self, num_threads: int | None) -> None:
        self._entered = False
        self._count = None if num_threads is None else as_count(num_threads, "num_threads")

    def __enter__(self) -> None:
        if self._count is not None:
            self._before = _schuss.override_threads(self._count)
            self._entered = True

    def __exit__(self, *error: object) -> None:
        if self._entered:
            self._entered = False
            _schuss.override_threads(self._before)

    def __del__(self) -> None:
        if self._entered:  # a second Ctrl-C came before __exit__ began
            self.__exit__()


def _loss_of(criterion: Criterion, prediction: Array, target: Array) -> float:
    if isinstance(criterion, PythonCriterion):
        result: Any = criterion.try_arrays(prediction, target, number=True)
        if criterion.expression is None:
            return float(result[0] if isinstance(result, tuple) else result)
        criterion = criterion.expression
    if isinstance(criterion, ExpressionLoss):
        with no_grad():
            return float(criterion.cost(_schuss.tensor(prediction), target))
    return float(cast("Loss", criterion)(prediction, like_prediction(target, prediction)))


# ---- accuracy ------------------------------------------------------------------------------------


def _threshold(criterion: Any) -> float:
    return 0.0 if isinstance(criterion, BCEWithLogitsLoss) else 0.5


def _native_accuracy(
    network: _schuss.Network, criterion: Any, X: TensorLike, y: TensorLike
) -> float:
    labels = as_array(y)
    binary = network.out_features(_columns(X)) == 1
    if binary and labels.dtype.kind == "f":
        labels = labels.reshape(-1) > 0.5  # binary targets are numbers; accuracy is about classes
    ignored = getattr(criterion, "ignore_index", -100)
    return _schuss.accuracy(network, X, labels, _threshold(criterion), ignored)


def _columns(X: TensorLike) -> int:
    shape = X.shape if hasattr(X, "shape") else as_array(X).shape
    return int(shape[1]) if len(shape) > 1 else 1


def _accuracy(prediction: Array, target: Array, threshold: float) -> float:
    if prediction.shape[1] == 1:
        right = (prediction[:, 0] > threshold) == (target.reshape(-1) > 0.5)
    else:
        right = prediction.argmax(axis=1) == target
    return int(np.count_nonzero(right)) / len(prediction)

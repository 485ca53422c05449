# SPDX-License-Identifier: MIT
"""Recording functions and models written in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from schuss._chains import compile_model
from schuss._options import type_name
from schuss._recording import ExpressionLoss, compile_loss
from schuss.nn.loss import Loss
from schuss.nn.module import Module

__all__ = ["compile"]

Model = TypeVar("Model", bound=Module)


@overload
def compile(  # type: ignore[overload-overlap]  # noqa: A001
    function: Model, example_inputs: Sequence[Any]
) -> Model: ...
@overload
def compile(  # noqa: A001
    function: Callable[..., Any], example_inputs: Sequence[Any]
) -> ExpressionLoss: ...
def compile(  # noqa: A001  (PyTorch's name)
    function: Callable[..., Any], example_inputs: Sequence[Any]
) -> Any:
    """Record a loss or a model written in Python, for `fit` and `evaluate` to run natively.

    The function is run on the example, and on part of it, while its operations are written down.
    It has to be a pure function of its arguments: the same operations whatever the numbers,
    nothing random, nothing written outside. Each row of the prediction goes through elementwise
    operations, comparisons, `where`, and sums, means, softmax, largest and smallest along
    ``dim=1``, with its target and with constants (whose values are taken now); then comes one sum
    or mean over everything, possibly times, over or plus a number.

    A model's ``forward()`` has to be a chain of layers and activations. `fit`, `evaluate` and
    `predict` do the same with any function or model that they are given, and go step by step where
    it cannot be recorded; this one says where it cannot.

    Parameters
    ----------
    function : callable (prediction, target) -> Tensor of one number, or nn.Module
    example_inputs : pair (prediction, target), or (x,) for a model
        Tensors or arrays of shape (n, k) or (n,), n at least 2.

    Returns
    -------
    callable, or the model itself
        Computes the loss at once when it is called, with the bits of `function`; `fit` and
        `evaluate` take it as a criterion, record it for their data, and run it natively, with
        constant memory and without Python in the loop.

    Raises
    ------
    RecordingError
        The function cannot be recorded: the message names the line, and what to use in its place.
    TypeError, ValueError
        The example is of the wrong kind or shape.

    Examples
    --------
    >>> import numpy as np
    >>> import schuss
    >>> def quantile_loss(prediction, target):
    ...     error = target - prediction
    ...     return schuss.maximum(0.9 * error, -0.1 * error).mean()
    >>> X = np.linspace(0, 1, 101).reshape(-1, 1)
    >>> criterion = schuss.compile(quantile_loss, (X, X))
    >>> schuss.manual_seed(0)
    >>> model = schuss.nn.Linear(1, 1)
    >>> optimizer = schuss.optim.SGD(model.parameters(), lr=0.1)
    >>> history = schuss.fit(model, criterion, optimizer, X, 3 * X, epochs=200, seed=0)
    >>> history.loss[-1] < history.loss[0] / 10
    True
    """
    if isinstance(function, Loss):
        raise TypeError(
            f"compile: got {type_name(function)}; expected a function of (prediction, target): fit "
            "runs the losses of nn natively as they are"
        )
    if isinstance(function, Module):
        if not isinstance(example_inputs, (tuple, list)) or len(example_inputs) != 1:
            raise TypeError(
                f"example_inputs: got {type_name(example_inputs)}; expected (x,) for a model"
            )
        return compile_model(function, example_inputs[0])
    if not callable(function):
        raise TypeError(f"compile: got {type_name(function)}; expected a function")
    if not isinstance(example_inputs, (tuple, list)) or len(example_inputs) != 2:
        raise TypeError(
            f"example_inputs: got {type_name(example_inputs)}; expected the pair "
            "(prediction, target)"
        )
    return compile_loss(function, *example_inputs)

# SPDX-License-Identifier: MIT
"""Analytic gradients against differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schuss._grad_mode import enable_grad, no_grad
from schuss._options import as_flag, as_number, known_options, type_name
from schuss._schuss import Parameter
from schuss.data import as_rows
from schuss.nn.loss import Loss
from schuss.nn.module import Module

if TYPE_CHECKING:
    from schuss._typing import Array, TensorLike

__all__ = ["gradcheck"]


@known_options
def gradcheck(
    model: Module,
    criterion: Loss,
    X: TensorLike,
    y: TensorLike,
    *,
    eps: float = 1e-5,
    tol: float = 1e-6,
    raise_exception: bool = True,
) -> bool:
    """Compare every analytic gradient of a model's loss with central differences, in float64.

    A difference ``(loss(p + eps) - loss(p - eps)) / (2 * eps)`` is off by about
    ``eps**2 * |third derivative| / 6`` and, through rounding, by ``2e-16 * |loss| / eps``: with the
    defaults both are near 1e-11 to 1e-10 for losses of the order of 1. Kinks (ReLU at 0) are not
    differentiable: keep inputs away from them.

    Parameters
    ----------
    model : nn.Module
        With float64 parameters; they and their ``.grad`` are as before afterwards.
    criterion : nn loss
        Reduction ``"mean"`` or ``"sum"``.
    X, y : array-like
        A small batch: each parameter costs two forward passes.
    eps : float, default 1e-5
        Half of the difference.
    tol : float, default 1e-6
        Allowed ``|analytic - difference| / (1 + |difference|)``.
    raise_exception : bool, default True
        Raise where gradients differ; False returns False.

    Returns
    -------
    bool
        Whether all gradients agree: those of the parameters that require one, and of `X`.

    Raises
    ------
    TypeError
        The model is not float64.
    RuntimeError
        A gradient differs; the message names the element and both values.

    Examples
    --------
    >>> import numpy as np
    >>> import schuss
    >>> from schuss import nn
    >>> model = nn.Sequential(nn.Linear(3, 4, dtype=schuss.float64), nn.Tanh())
    >>> schuss.gradcheck(model, nn.MSELoss(), np.ones((5, 3)), np.zeros((5, 4)))
    True
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: got {type_name(model)}; expected a schuss.nn.Module")
    if not isinstance(criterion, Loss):
        raise TypeError(f"criterion: got {type_name(criterion)}; expected a loss of schuss.nn")
    width, allowed = as_number(eps, "eps"), as_number(tol, "tol")
    if not (width > 0.0 and allowed > 0.0):
        raise ValueError(f"eps, tol: got {width}, {allowed}; expected positive numbers")
    strict = as_flag(raise_exception, "raise_exception")
    for name, parameter in model.named_parameters():
        if parameter.dtype != np.float64:
            raise TypeError(
                f"gradcheck: {name} is {parameter.dtype}; differences need dtype=schuss.float64"
            )
    x = Parameter(np.asarray(as_rows(X, "X"), dtype=np.float64))
    checked = [(n, p) for n, p in model.named_parameters() if p.requires_grad] + [("X", x)]
    kept = [parameter.grad for _, parameter in checked]
    try:
        for _, parameter in checked:
            parameter.grad = None
        with enable_grad():
            criterion(model(x), y).backward()
        for name, parameter in checked:
            problem = _compare(model, criterion, x, y, name, parameter, width, allowed)
            if problem and strict:
                raise RuntimeError(f"gradcheck: {problem}")
            if problem:
                return False
    finally:
        for (_, parameter), grad in zip(checked, kept, strict=True):
            parameter.grad = grad
    return True


def _compare(
    model: Module,
    criterion: Loss,
    x: Parameter,
    y: Any,
    name: str,
    parameter: Parameter,
    eps: float,
    tol: float,
) -> str | None:
    """The first element that differs, in words; None where all agree."""
    start: Array = np.array(parameter.numpy(), copy=True)
    grad = parameter.grad
    analytic = np.zeros(start.shape) if grad is None else np.array(grad.numpy(), copy=True)
    try:
        for index in np.ndindex(start.shape):
            losses = []
            for shift in (eps, -eps):
                moved = start.copy()
                moved[index] += shift
                parameter.copy_(moved)
                with no_grad():
                    losses.append(criterion(model(x), y).item())
            difference = (losses[0] - losses[1]) / (2.0 * eps)
            found = float(analytic[index])
            if not abs(found - difference) <= tol * (1.0 + abs(difference)):
                place = ", ".join(map(str, index))
                return f"{name}[{place}]: gradient {found!r}, difference {difference!r}"
    finally:
        parameter.copy_(start)
    return None

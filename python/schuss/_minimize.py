# SPDX-License-Identifier: MIT
"""Gradient descent on a function, with the path it takes."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from schuss._options import as_count, as_number, known_options, type_name

if TYPE_CHECKING:
    from schuss._typing import Array

__all__ = ["MinimizeResult", "minimize"]


class MinimizeResult:
    """Where descent ended, and how it got there.

    Attributes
    ----------
    x : float or ndarray
        The last point.
    fun : float
        The function there.
    path : ndarray of shape (n_iter + 1,) or (n_iter + 1, n)
        Every point, the start first.
    values : ndarray of shape (n_iter + 1,)
        The function at every point.
    n_iter : int
        Steps taken.
    converged : bool
        No component of the gradient at `x` is larger than the tolerance.
    message : str
        Why descent ended.
    """

    def __init__(self, path: list[Any], values: list[float], converged: bool, message: str) -> None:
        self.x = path[-1]
        self.fun = values[-1]
        self.path: Array = np.array(path)
        self.values: Array = np.array(values)
        self.n_iter = len(path) - 1
        self.converged = converged
        self.message = message

    def __repr__(self) -> str:
        return (
            f"MinimizeResult(x={self.x}, fun={self.fun}, n_iter={self.n_iter}, "
            f"converged={self.converged}, message={self.message!r})"
        )


@known_options
def minimize(
    f: Callable[[Any], Any],
    grad: Callable[[Any], Any],
    x0: Any,
    *,
    lr: float = 0.1,
    max_iter: int = 100,
    tol: float = 0.0,
) -> MinimizeResult:
    """Descend from `x0` by ``x = x - lr * grad(x)``, in float64.

    Parameters
    ----------
    f, grad : callable
        The function and its gradient, of a float when `x0` is a number, else of an ndarray.
    x0 : float or array-like of shape (n,)
        Where to start.
    lr : float, default 0.1
        Learning rate, positive.
    max_iter : int, default 100
        At most so many steps.
    tol : float, default 0.0
        Stop where no component of the gradient is larger; 0 stops only where it is exactly 0.

    Returns
    -------
    MinimizeResult

    Raises
    ------
    TypeError
        `f` or `grad` is not callable, or a number is none.
    ValueError
        `lr` is not positive, `x0` is not finite, or `grad` gives another shape.

    Examples
    --------
    >>> import schuss
    >>> result = schuss.minimize(
    ...     lambda w: (w - 1) ** 2 + 2, lambda w: 2 * (w - 1), 5.0, lr=0.1, max_iter=1
    ... )
    >>> result.x, result.path.tolist()
    (4.2, [5.0, 4.2])
    """
    for name, function in (("f", f), ("grad", grad)):
        if not callable(function):
            raise TypeError(f"{name}: got {type_name(function)}; expected a callable")
    rate, limit = as_number(lr, "lr"), as_number(tol, "tol")
    if not (rate > 0.0 and isfinite(rate)):
        raise ValueError(f"lr: got {rate}; expected a positive number")
    if not limit >= 0.0:
        raise ValueError(f"tol: got {limit}; expected a number that is 0 or more")
    steps = as_count(max_iter, "max_iter", least=0)
    x = _start(x0)
    path, values = [x], [_value(f(x))]
    for _ in range(steps):
        slope = _slope(grad(x), x)
        if np.all(np.abs(slope) <= limit):
            return MinimizeResult(path, values, True, f"the gradient is within {limit:g}")
        with np.errstate(over="ignore", invalid="ignore"):
            step = x - rate * slope
        if not np.isfinite(step).all():
            return MinimizeResult(path, values, False, "diverged: try a smaller lr")
        x = step
        try:
            value = _value(f(x))
        except OverflowError:  # Python's float power
            value = float("inf")
        path.append(x)
        values.append(value)
        if not isfinite(value):
            return MinimizeResult(path, values, False, "diverged: try a smaller lr")
    converged = bool(np.all(np.abs(_slope(grad(x), x)) <= limit))
    message = f"stopped after max_iter = {steps} steps"
    if converged:
        message = f"the gradient is within {limit:g}"
    elif values[-1] > values[0]:
        message += "; the function has grown: try a smaller lr"
    return MinimizeResult(path, values, converged, message)


def _start(x0: Any) -> Any:
    array = np.asarray(x0)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"x0: got dtype {array.dtype}; expected real numbers")
    if array.ndim > 1:
        raise ValueError(f"x0: got shape {array.shape}; expected a number or a vector")
    if not np.isfinite(array).all():
        raise ValueError(f"x0: got {x0}; expected finite numbers")
    return float(array) if array.ndim == 0 else array.astype(np.float64)


def _value(value: Any) -> float:
    array = np.asarray(value, dtype=np.float64)
    if array.size != 1:
        raise ValueError(f"f: gave shape {array.shape}; expected one number")
    return float(array.reshape(()))


def _slope(slope: Any, x: Any) -> Any:
    array = np.asarray(slope, dtype=np.float64)
    if isinstance(x, float):
        if array.size != 1:
            raise ValueError(f"grad: gave shape {array.shape}; expected one number")
        return float(array.reshape(()))
    if array.shape != x.shape:
        raise ValueError(f"grad: gave shape {array.shape}; expected {x.shape}")
    return array

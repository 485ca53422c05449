# SPDX-License-Identifier: MIT
"""Whether operations remember how they computed what they return."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from schuss import _schuss
from schuss._options import as_flag
from schuss._schuss import GradMode, is_grad_enabled

__all__ = ["enable_grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled"]

_F = TypeVar("_F", bound=Callable[..., Any])


class _Decorator(GradMode):
    """Entered and left in C; as a decorator it is so around each call."""

    __slots__ = ()

    def __call__(self, function: _F) -> _F:
        mode = type(self)

        @functools.wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with mode():
                return function(*args, **kwargs)

        return decorated  # type: ignore[return-value]


class no_grad(_Decorator):  # noqa: N801  (PyTorch's name)
    """Compute without history inside a ``with`` block or a decorated function.

    Results have ``requires_grad=False``, cannot be differentiated, and keep nothing alive.

    Examples
    --------
    >>> import numpy as np
    >>> import schuss
    >>> layer = schuss.nn.Linear(3, 1)
    >>> with schuss.no_grad():
    ...     output = layer(np.ones((2, 3)))
    >>> output.requires_grad
    False
    """

    __slots__ = ()


class inference_mode(_Decorator):  # noqa: N801  (PyTorch's name)
    """The same as `no_grad`, under PyTorch's other name.

    Examples
    --------
    >>> import schuss
    >>> weight = schuss.ones(1, requires_grad=True)
    >>> with schuss.inference_mode():
    ...     (weight * 2).requires_grad
    False
    """

    __slots__ = ()


class enable_grad(_Decorator):  # noqa: N801  (PyTorch's name)
    """Compute with history inside a ``with`` block or a decorated function, also under `no_grad`.

    Examples
    --------
    >>> import schuss
    >>> with schuss.no_grad(), schuss.enable_grad():
    ...     schuss.is_grad_enabled()
    True
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(True)


class set_grad_enabled:  # noqa: N801  (PyTorch's name)
    """Keep history from here on, or not; in a ``with`` block, until its end.

    Parameters
    ----------
    mode : bool

    Examples
    --------
    >>> import schuss
    >>> training = False
    >>> with schuss.set_grad_enabled(training):
    ...     schuss.is_grad_enabled()
    False
    >>> schuss.is_grad_enabled()
    True
    """

    def __init__(self, mode: bool) -> None:
        self._before = _schuss.set_grad_enabled(as_flag(mode, "mode"))

    def __enter__(self) -> None:
        """The mode is set already."""

    def __exit__(self, *error: object) -> None:
        _schuss.set_grad_enabled(self._before)

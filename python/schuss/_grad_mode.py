# SPDX-License-Identifier: MIT
"""Whether calls of a model remember how they computed what they return."""

from __future__ import annotations

import contextlib
from types import TracebackType

from schuss._schuss import is_grad_enabled, set_grad_enabled

__all__ = ["enable_grad", "is_grad_enabled", "no_grad", "set_grad_enabled"]


class _GradMode(contextlib.ContextDecorator):
    """Sets the mode inside a ``with`` block or a decorated function, and puts the old one back."""

    _enabled: bool

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(set_grad_enabled(self._enabled))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        set_grad_enabled(self._before.pop())


class no_grad(_GradMode):  # noqa: N801  (PyTorch's name)
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

    _enabled = False


class enable_grad(_GradMode):  # noqa: N801  (PyTorch's name)
    """Compute with history inside a ``with`` block or a decorated function, also under `no_grad`.

    Examples
    --------
    >>> import schuss
    >>> with schuss.no_grad(), schuss.enable_grad():
    ...     schuss.is_grad_enabled()
    True
    """

    _enabled = True

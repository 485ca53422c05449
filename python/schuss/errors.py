# SPDX-License-Identifier: MIT
"""Errors that schuss adds to Python's own."""

from __future__ import annotations

__all__ = ["NonFiniteError", "RecordingError"]


class NonFiniteError(RuntimeError):
    """Training met an infinity or a NaN.

    The update that would have used it was not applied. Where an earlier update of the same epoch
    had overflowed already, the parameters of the epoch's start are back
    (``keep_last_finite=True``).

    Parameters
    ----------
    message : str
        What was found, and what to try.
    epoch : int
        The epoch, counted from 0 over all calls of `fit` with the same optimizer.
    step : int
        The step inside the epoch, counted from 0.
    parameter : str or None
        Name of the first parameter that is not finite; None when it was the loss alone.

    Examples
    --------
    >>> error = NonFiniteError("loss is nan", epoch=3, step=17, parameter="0.weight")
    >>> error.epoch, error.step, error.parameter
    (3, 17, '0.weight')
    """

    def __init__(
        self, message: str, epoch: int = 0, step: int = 0, parameter: str | None = None
    ) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.parameter = parameter

    def __reduce__(self) -> tuple[type[NonFiniteError], tuple[str, int, int, str | None]]:
        """Pickle with every field, so that worker processes can report it."""
        return NonFiniteError, (str(self), self.epoch, self.step, self.parameter)


class RecordingError(RuntimeError):
    """A function cannot be recorded: it does not do the same operations for all data.

    The message names the file and the line, and what to write in its place.

    Examples
    --------
    >>> import numpy as np
    >>> import schuss
    >>> def cost(prediction, target):
    ...     error = prediction - target
    ...     return error.mean() if error.sum() > 0 else -error.mean()
    >>> try:
    ...     schuss.compile(cost, (np.zeros((4, 1)), np.ones((4, 1))))
    ... except schuss.RecordingError as error:
    ...     print("bool()" in str(error))
    True
    """

# SPDX-License-Identifier: MIT
"""Samples of several dimensions as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schuss._options import as_count, known_options
from schuss._schuss import Tensor
from schuss.nn.module import Module

if TYPE_CHECKING:
    from schuss._typing import TensorLike

__all__ = ["Flatten"]


class Flatten(Module):
    """Makes each sample one row: the dimensions from `start_dim` to `end_dim` become one.

    Parameters
    ----------
    start_dim : int, default 1
    end_dim : int, default -1

    Examples
    --------
    >>> import numpy as np
    >>> from schuss import nn
    >>> nn.Sequential(nn.Flatten(), nn.Linear(12, 2))(np.zeros((5, 3, 4))).shape
    (5, 2)
    """

    @known_options
    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = as_count(start_dim, "start_dim", least=-(2**31))
        self.end_dim = as_count(end_dim, "end_dim", least=-(2**31))

    def forward(self, input: TensorLike) -> Any:  # noqa: A002  (PyTorch's name)
        """Reshape a batch; what has that shape already comes back as it is."""
        x = input if isinstance(input, Tensor) else np.asarray(input)
        first = _position(self.start_dim, "start_dim", x.ndim)
        last = _position(self.end_dim, "end_dim", x.ndim)
        if first > last:
            raise ValueError(
                f"start_dim, end_dim: got {self.start_dim}, {self.end_dim} for shape {x.shape}; "
                "expected the start not after the end"
            )
        merged = 1
        for length in x.shape[first : last + 1]:
            merged *= length
        shape = (*x.shape[:first], merged, *x.shape[last + 1 :])
        return x if shape == x.shape else x.reshape(shape)  # type: ignore[union-attr, unused-ignore]

    def extra_repr(self) -> str:
        """Both dimensions."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


def _position(dim: int, name: str, ndim: int) -> int:
    if not -ndim <= dim < ndim:
        raise IndexError(f"{name}: got {dim} for {ndim} dimensions")
    return dim % ndim

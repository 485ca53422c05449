# SPDX-License-Identifier: MIT
"""Dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schuss import _schuss
from schuss._options import as_flag, as_number, known_options
from schuss._schuss import Tensor
from schuss.nn.module import Module

if TYPE_CHECKING:
    from schuss._typing import TensorLike

__all__ = ["Dropout", "check_probability", "dropped"]


def check_probability(value: Any, name: str = "p") -> float:
    """A number in 0..1."""
    number = as_number(value, name)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name}: got {number}; expected a probability, 0 to 1")
    return number


def dropped(input: TensorLike, p: float, seed: int, count: int) -> Tensor:  # noqa: A002
    """`input` with elements set to 0 with probability `p`, the others times ``1 / (1 - p)``."""
    x = input if isinstance(input, Tensor) else _schuss.tensor(input)
    if not x.is_floating_point():
        raise TypeError(f"dropout: got a tensor of {x.dtype}; expected float32 or float64")
    return x * _schuss.dropout_mask(x.shape, x.dtype, p, seed, count)


class Dropout(Module):
    """Sets elements to 0 with probability `p` while training (Srivastava et al., 2014).

    The others are multiplied by ``1 / (1 - p)``; in evaluation mode nothing changes. Which elements
    go is a function of the layer, of the number of its training forwards so far, and of the
    element's place: the same after the same `manual_seed`, on every machine, and a row's do not
    depend on the rows after it. A model that holds one is trained step by step.

    Parameters
    ----------
    p : float, default 0.5
        0 to 1.
    inplace : bool, default False
        Accepted for PyTorch's sake; it changes nothing here.

    Examples
    --------
    >>> import schuss
    >>> from schuss import nn
    >>> layer = nn.Dropout(0.25)
    >>> x = schuss.ones(2, 3)
    >>> set(layer(x).flatten().tolist()) <= {0.0, schuss.tensor(4 / 3).item()}
    True
    >>> layer.eval()(x).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    @known_options
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = check_probability(p)
        self.inplace = as_flag(inplace, "inplace")
        self._seed = _schuss.next_seed()
        self._forwards = 0

    def forward(self, input: TensorLike) -> Any:  # noqa: A002  (PyTorch's name)
        """Drop elements of a batch while training; else give it back as it is."""
        if not self.training or self.p == 0.0:
            return input
        output = dropped(input, self.p, self._seed, self._forwards)
        self._forwards += 1
        return output

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}, inplace={self.inplace}"

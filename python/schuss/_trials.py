# SPDX-License-Identifier: MIT
"""Runs of a model or a loss whose results do not count, and the batches that there will be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from schuss._schuss import Tensor, seed_state, set_seed_state, tensor
from schuss.nn.native import NativeModule

if TYPE_CHECKING:
    from schuss._typing import Array, TensorLike
    from schuss.nn.module import Module

__all__ = ["Kept", "as_input", "batch_sizes", "example_sizes", "rows_in", "tensors_of", "trial"]

_MOST_ELEMENTS = 2**16


class Kept:
    """What a run draws from: the seeds, and the numbers of forwards of dropout layers."""

    def __init__(self, model: Module) -> None:
        self._seeds = seed_state()
        self._forwards = [
            (module, module.__dict__["_forwards"])
            for module in model.modules()
            if "_forwards" in module.__dict__
        ]

    def restore(self) -> None:
        """Put it back."""
        set_seed_state(*self._seeds)
        for module, forwards in self._forwards:
            module.__dict__["_forwards"] = forwards


@contextlib.contextmanager
def trial(model: Module) -> Iterator[None]:
    """Take back what the runs inside draw."""
    kept = Kept(model)
    try:
        yield
    finally:
        kept.restore()


def rows_in(X: TensorLike) -> int:
    """The number of rows of what may be no array yet; 0 where it has no length."""
    try:
        return len(X)
    except TypeError:
        return 0


def batch_sizes(n: int, batch: int | None, drop_last: bool) -> tuple[int, int]:
    """The two sizes that batches of `n` rows have; one size twice where they are all the same."""
    if batch is None or batch >= n:
        return n, n
    rest = 0 if drop_last else n % batch
    return batch, rest or batch


def example_sizes(sizes: tuple[int, int], columns: int) -> tuple[int, int]:
    """Two different numbers of rows to record with: those of the batches, where these are not huge.

    What follows the number of rows is told from what does not by running a function on both; what
    depends on it in any other way is right for these two alone.
    """
    most = max(2, _MOST_ELEMENTS // max(columns, 1))
    one, other = (min(max(size, 2), most) for size in sizes)
    if one == other:
        other = one - 1 if one > 2 else one + 1
    return one, other


def tensors_of(model: Module) -> list[Tensor]:
    """Every tensor that a model holds: parameters, buffers, and what forward() put aside."""
    found: list[Tensor] = [*model.parameters(), *model.buffers()]
    for module in model.modules():
        found.extend(value for value in module.__dict__.values() if isinstance(value, Tensor))
    return found


def as_input(model: Module, x: Array) -> TensorLike:
    """Rows as a model takes them: a ``forward()`` of its own gets a Tensor of the model's dtype."""
    if isinstance(model, NativeModule) and all(module._native for module in model.modules()):
        return x
    parameter = next(iter(model.parameters()), None)
    if parameter is None or x.dtype == parameter.dtype:
        return tensor(x)
    with np.errstate(over="ignore"):
        rows = x.astype(parameter.dtype)
    bad = np.argwhere(np.isinf(rows) & ~np.isinf(x))
    if len(bad) > 0:
        at = tuple(int(i) for i in bad[0])
        place = ", ".join(map(str, at))
        raise ValueError(
            f"X[{place}] is {x[at]:g}, which overflows {rows.dtype}; scale the data, or use a "
            "float64 model"
        )
    return tensor(rows)

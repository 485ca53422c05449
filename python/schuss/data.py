# SPDX-License-Identifier: MIT
"""Data as arrays, and which rows make up a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from schuss._schuss import batch_rows

if TYPE_CHECKING:
    from schuss._typing import Array, TensorLike

__all__ = ["Batches", "as_array", "as_rows"]


def as_array(data: TensorLike) -> Array:
    """`data` as an array, by the array protocols or else by DLPack."""
    if not hasattr(data, "__array__") and hasattr(data, "__dlpack__"):
        return np.from_dlpack(data)
    return np.asarray(data)


def as_rows(data: TensorLike, name: str) -> Array:
    """`data` as an array of numbers with at least one row, shared where that is possible."""
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"{name}: got a masked array; fill or drop what is masked first")
    array = as_array(data)
    if array.dtype.kind not in "fiub" or array.dtype == np.longdouble:
        raise TypeError(f"{name}: got dtype {array.dtype}; expected real numbers")
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"{name}: got shape {array.shape}; expected at least one row")
    return array


class Batches:
    """Which rows make up each batch of an epoch: the same for `DataLoader` and `schuss.fit`."""

    def __init__(self, n_rows: int, batch_size: int | None, shuffle: bool, drop_last: bool) -> None:
        self._n_rows = n_rows
        self._size = n_rows if batch_size is None else min(batch_size, n_rows)
        self._shuffle = shuffle and batch_size is not None  # one batch has no order to draw
        short = n_rows % self._size if batch_size is None or batch_size <= n_rows else n_rows
        self.count = -(-n_rows // self._size) - (1 if drop_last and short else 0)

    def rows(self, index: int, seed: int, epoch: int) -> slice | Array:
        """Row numbers of a batch: a slice when in order, else an int64 array."""
        first = index * self._size
        count = min(self._size, self._n_rows - first)
        if not self._shuffle:
            return slice(first, first + count)
        return batch_rows(self._n_rows, first, count, seed, epoch)

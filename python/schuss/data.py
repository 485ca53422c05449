# SPDX-License-Identifier: MIT
"""Batches of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from schuss._options import as_count, as_flag, as_seed, known_options, type_name
from schuss._random import seed_from
from schuss._schuss import batch_rows

if TYPE_CHECKING:
    from schuss._random import Generator
    from schuss._typing import Array, TensorLike

__all__ = ["Batches", "DataLoader", "as_array", "as_rows"]


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


class DataLoader:
    """Batches of ``X``, or of ``X`` and ``y`` together.

    Each pass is a new epoch of the keyed permutation, and `schuss.fit` with the same seed sees the
    same batches. In order, batches are views; shuffled, they are copies of their rows.

    Parameters
    ----------
    dataset : array-like of shape (n, ...), or pair (X, y)
        Arrays, memory maps, CPU tensors, frames. Shared, not copied, where that is possible.
    y : array-like of shape (n, ...), optional
        Targets, when `dataset` is not a pair.
    batch_size : int or None, default 1
        Rows in a batch; None gives all rows at once.
    shuffle : bool, default False
        A new order each epoch.
    drop_last : bool, default False
        Leave a shorter last batch out.
    seed : int, optional
        Of the shuffling; by default it comes from `generator`.
    generator : schuss.Generator or int, optional
        Where the seed comes from; by default the state of `schuss.manual_seed`.

    Attributes
    ----------
    epoch : int
        The number of the next pass; may be set.

    Raises
    ------
    TypeError
        The data are not real numbers, or an option is unknown or of the wrong kind.
    ValueError
        `X` and `y` differ in length, there are no rows, or `batch_size` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> import schuss
    >>> X, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> [yb.tolist() for xb, yb in schuss.DataLoader(X, y, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    >>> loader = schuss.DataLoader(X, y, batch_size=2, shuffle=True, drop_last=True, seed=0)
    >>> len(loader), sum(len(yb) for xb, yb in loader)
    (2, 4)
    """

    @known_options
    def __init__(
        self,
        dataset: TensorLike,
        y: TensorLike | None = None,
        *,
        batch_size: int | None = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        generator: Generator | int | None = None,
    ) -> None:
        if isinstance(dataset, tuple) and y is None:
            if len(dataset) != 2:
                raise ValueError(f"dataset: got {len(dataset)} arrays; expected the pair (X, y)")
            dataset, y = dataset
        self.dataset = dataset if y is None else (dataset, y)
        self._arrays = [as_rows(dataset, "X")]
        if y is not None:
            self._arrays.append(as_rows(y, "y"))
            n_x, n_y = map(len, self._arrays)
            if n_x != n_y:
                raise ValueError(f"X, y: got {n_x} and {n_y} rows; expected as many of each")
        self.batch_size = None if batch_size is None else as_count(batch_size, "batch_size")
        self.shuffle = as_flag(shuffle, "shuffle")
        self.drop_last = as_flag(drop_last, "drop_last")
        if seed is not None and generator is not None:
            raise ValueError("seed, generator: got both; expected one of them")
        self.seed = 0
        if self.shuffle or seed is not None:
            self.seed = seed_from(generator) if seed is None else as_seed(seed)
        self.epoch = 0

    def __len__(self) -> int:
        return self._batches().count

    def __iter__(self) -> Iterator[Any]:
        batches, epoch = self._batches(), self.epoch
        self.epoch += 1
        for index in range(batches.count):
            rows = batches.rows(index, self.seed, epoch)
            parts = tuple(array[rows] for array in self._arrays)
            yield parts if len(parts) > 1 else parts[0]

    def _batches(self) -> Batches:
        return Batches(len(self._arrays[0]), self.batch_size, self.shuffle, self.drop_last)

    def __repr__(self) -> str:
        return (
            f"{type_name(self)}(rows={len(self._arrays[0])}, batch_size={self.batch_size}, "
            f"shuffle={self.shuffle}, drop_last={self.drop_last}, seed={self.seed})"
        )

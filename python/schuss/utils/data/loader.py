# SPDX-License-Identifier: MIT
"""Batches of arrays and of data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from schuss._options import as_count, as_flag, as_seed, known_options, type_name
from schuss._random import seed_from
from schuss._schuss import Tensor
from schuss.data import Batches
from schuss.utils.data.collate import default_collate
from schuss.utils.data.dataset import Dataset, IterableDataset, column_of, take, taker
from schuss.utils.data.sampler import batches_of

if TYPE_CHECKING:
    from schuss._random import Generator
    from schuss._typing import TensorLike

__all__ = ["DataLoader"]


class DataLoader:
    """Batches of ``X``, of ``X`` and ``y`` together, or of a data set.

    Each shuffled pass is a new epoch of the keyed permutation, and `schuss.fit` with the same seed
    sees the same batches. Of arrays, batches in order are views, and shuffled ones copies of their
    rows; of tensors they are tensors.

    Parameters
    ----------
    dataset : array-like of shape (n, ...), pair (X, y), or Dataset
        Arrays, memory maps, CPU tensors, frames: shared, not copied, where that is possible. A
        `Dataset`, a list of samples, or any object with ``__getitem__`` and ``__len__``: samples
        go through `collate_fn`, except those of a `TensorDataset` (and subsets of one), which are
        gathered at once.
    y : array-like of shape (n, ...), optional
        Targets, when `dataset` is not a pair. An integer is the `batch_size`, as in PyTorch.
    shuffle : bool, default False
        A new order each epoch.
    batch_size : int or None, default 1
        Rows in a batch. None gives all rows of arrays at once, and of a `Dataset` sample by sample.
    sampler : iterable of int, optional
        The order of the samples.
    batch_sampler : iterable of lists of int, optional
        The samples of each batch.
    collate_fn : callable, optional
        Makes a batch of a list of samples; by default `default_collate`.
    num_workers : 0
        Batches are made in this process.
    pin_memory : bool, default False
        Accepted for PyTorch's sake; it changes nothing here.
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
        `X` and `y` differ in length, there are no rows, `batch_size` is not positive, or options
        exclude each other.

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
        shuffle: bool | None = False,
        *,
        batch_size: int | None = 1,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        generator: Generator | int | None = None,
    ) -> None:
        if isinstance(y, int) and not isinstance(y, bool):
            if batch_size != 1:
                raise ValueError(f"batch_size: got both {y} and {batch_size}; expected one of them")
            batch_size, y = y, None
        if isinstance(dataset, tuple) and y is None:
            if len(dataset) != 2:
                raise ValueError(f"dataset: got {len(dataset)} arrays; expected the pair (X, y)")
            dataset, y = dataset
        self.dataset = dataset if y is None else (dataset, y)
        self._source: Any = _Arrays(dataset, y) if _is_array(dataset, y) else dataset
        self.batch_size = None if batch_size is None else as_count(batch_size, "batch_size")
        self.shuffle = as_flag(False if shuffle is None else shuffle, "shuffle")
        self.drop_last = as_flag(drop_last, "drop_last")
        self.sampler, self.batch_sampler, self.collate_fn = sampler, batch_sampler, collate_fn
        if as_count(num_workers, "num_workers", least=0) != 0:
            raise ValueError(
                f"num_workers: got {num_workers}; expected 0: batches are made in this process"
            )
        as_flag(pin_memory, "pin_memory")
        if seed is not None and generator is not None:
            raise ValueError("seed, generator: got both; expected one of them")
        self._check_order()
        self.seed = 0
        if self.shuffle or seed is not None:
            self.seed = seed_from(generator) if seed is None else as_seed(seed)
        self.epoch = 0

    def _check_order(self) -> None:
        iterable = isinstance(self._source, IterableDataset)
        if iterable and (
            self.shuffle or self.sampler is not None or self.batch_sampler is not None
        ):
            raise ValueError("an IterableDataset comes in its own order: no shuffle, no sampler")
        if self.sampler is not None and self.shuffle:
            raise ValueError("sampler, shuffle: got both; the sampler is the order")
        plain = self.batch_size == 1 and not (self.shuffle or self.drop_last)
        if self.batch_sampler is not None and not (plain and self.sampler is None):
            raise ValueError(
                "batch_sampler: it says what each batch is; leave batch_size, shuffle, sampler and "
                "drop_last out"
            )

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        if self.sampler is None and not isinstance(self._source, IterableDataset):
            return self._batches().count if len(self._source) else 0
        n = len(self._source if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        size = self.batch_size or 1
        return n // size if self.drop_last else -(-n // size)

    def __iter__(self) -> Iterator[Any]:
        epoch = self.epoch
        self.epoch += 1
        if isinstance(self._source, IterableDataset):
            return self._from_iterable()
        return self._from_numbers(epoch)

    def _from_iterable(self) -> Iterator[Any]:
        if self.batch_size is None:
            yield from self._source
            return
        collate = self.collate_fn or default_collate
        for samples in batches_of(self._source, self.batch_size, self.drop_last):
            yield collate(samples)

    def _from_numbers(self, epoch: int) -> Iterator[Any]:
        gather = taker(self._source) if self.collate_fn is None else None
        collate = self.collate_fn or default_collate
        for rows in self._numbers(epoch):
            if isinstance(rows, int):
                yield self._source[rows]
            elif gather is not None:
                yield gather(rows if isinstance(rows, slice) else np.asarray(rows, np.int64))
            else:
                chosen = range(rows.start, rows.stop) if isinstance(rows, slice) else rows
                yield collate([self._source[int(row)] for row in chosen])

    def _numbers(self, epoch: int) -> Iterator[Any]:
        """Rows of each batch: a slice, a list or an array; an integer is a sample by itself."""
        if self.batch_sampler is not None:
            yield from map(list, self.batch_sampler)
        elif self.sampler is not None:
            if self.batch_size is None:
                yield from map(int, self.sampler)
            else:
                yield from batches_of(self.sampler, self.batch_size, self.drop_last)
        elif len(self._source):
            batches = self._batches()
            single = self.batch_size is None and not isinstance(self._source, _Arrays)
            for index in range(batches.count):
                rows = batches.rows(index, self.seed, epoch)
                if single:
                    yield rows.start if isinstance(rows, slice) else int(rows[0])
                else:
                    yield rows

    def _batches(self) -> Batches:
        size = self.batch_size
        if size is None and not isinstance(self._source, _Arrays):
            size = 1
        return Batches(len(self._source), size, self.shuffle, self.drop_last)

    def __repr__(self) -> str:
        return (
            f"{type_name(self)}(rows={len(self._source)}, batch_size={self.batch_size}, "
            f"shuffle={self.shuffle}, drop_last={self.drop_last}, seed={self.seed})"
        )


class _Arrays(Dataset):
    """``X``, or the pair of ``X`` and ``y``, as a batch or a sample takes it."""

    def __init__(self, X: TensorLike, y: TensorLike | None) -> None:
        self._columns = [column_of(X, "X")]
        if y is not None:
            self._columns.append(column_of(y, "y"))
            n_x, n_y = (len(array) for array, _ in self._columns)
            if n_x != n_y:
                raise ValueError(f"X, y: got {n_x} and {n_y} rows; expected as many of each")

    def __len__(self) -> int:
        return len(self._columns[0][0])

    def __getitem__(self, index: Any) -> Any:
        return self._take(index)

    def _take(self, rows: Any) -> Any:
        parts = tuple(take(column, rows) for column in self._columns)
        return parts if len(parts) > 1 else parts[0]


def _is_array(dataset: Any, y: Any) -> bool:
    """Whether `dataset` is an array, or becomes one, and not samples under numbers."""
    if y is not None or isinstance(dataset, Tensor):
        return True
    if isinstance(dataset, Dataset):
        return False
    if isinstance(dataset, list):
        first = dataset[0] if dataset else None
        if isinstance(first, tuple):
            return all(isinstance(member, (bool, int, float)) for member in first)
        return not isinstance(first, (dict, Tensor, str))
    kind = type(dataset)
    protocols = ("__array__", "__array_interface__", "__dlpack__", "__buffer__")
    if any(hasattr(kind, name) for name in protocols) or not hasattr(kind, "__getitem__"):
        return True
    try:
        memoryview(dataset)
    except TypeError:
        return False
    return True

# SPDX-License-Identifier: MIT
"""Data sets: samples under numbers, or one after the other."""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from schuss._options import as_count, as_number, as_seed, known_options, type_name
from schuss._random import seed_from
from schuss._schuss import Tensor, batch_rows, take_rows
from schuss.data import as_rows
from schuss.utils.data.collate import tensor_of

if TYPE_CHECKING:
    from schuss._random import Generator
    from schuss._typing import Array, TensorLike

__all__ = [
    "ConcatDataset",
    "Dataset",
    "IterableDataset",
    "Subset",
    "TensorDataset",
    "column_of",
    "permutation",
    "random_split",
    "take",
    "taker",
]

#: A batch of so many bytes is worth a call of its own.
_LARGE_BYTES = 1 << 16


class Dataset:
    """Base of map-style data sets: a subclass defines ``__getitem__`` and ``__len__``.

    Examples
    --------
    >>> from schuss.utils.data import Dataset
    >>> class Even(Dataset):
    ...     def __len__(self):
    ...         return 5
    ...     def __getitem__(self, index):
    ...         return 2.0 * index
    >>> Even()[3]
    6.0
    """

    # A data set can be indexed, so this is how PyTorch's generic types are written.
    __class_getitem__ = classmethod(lambda cls, _: cls)

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type_name(self)} does not define __getitem__()")

    def __add__(self, other: Any) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """Base of data sets that are read in order: a subclass defines ``__iter__``."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type_name(self)} does not define __iter__()")


def column_of(data: TensorLike, name: str) -> tuple[Array, bool]:
    """Rows as an array that shares memory where it can, and whether they are a `Tensor`."""
    if isinstance(data, Tensor):
        return as_rows(data.detach().numpy(), name), True
    return as_rows(data, name), False


def _is_large(array: Array, rows: Any) -> bool:
    """Whether these rows are so much memory that threads fetch them sooner."""
    return (
        type(rows) is np.ndarray
        and rows.dtype == np.int64
        and rows.ndim == 1
        and type(array) is np.ndarray
        and array.strides[0] * len(rows) >= _LARGE_BYTES
        and array.flags.c_contiguous
        and rows.flags.c_contiguous
        and rows.min() >= 0
    )


def take(column: tuple[Array, bool], rows: Any) -> Any:
    """Some rows of a column: an array, or a tensor where the column is one."""
    array, is_tensor = column
    chosen = take_rows(array, rows) if _is_large(array, rows) else array[rows]
    if not is_tensor:
        return chosen
    # A batch is its own: writing into it leaves the data set as it is.
    return tensor_of(chosen.copy() if isinstance(rows, slice) else np.asarray(chosen))


class TensorDataset(Dataset):
    """Tensors or arrays of equal length; a sample is the tuple of their rows.

    Parameters
    ----------
    *tensors : Tensor or array-like of shape (n, ...)
        Shared, not copied, where that is possible.

    Raises
    ------
    TypeError
        Something is not an array of real numbers, or there is nothing.
    ValueError
        Lengths differ, or there are no rows.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss.utils.data import TensorDataset
    >>> data = TensorDataset(np.eye(3), np.arange(3))
    >>> len(data), data[1][0].tolist()
    (3, [0.0, 1.0, 0.0])
    """

    tensors: tuple[Any, ...]

    def __init__(self, *tensors: TensorLike) -> None:
        if not tensors:
            raise TypeError("TensorDataset: got nothing; expected at least one tensor")
        self._columns = [column_of(t, f"tensors[{i}]") for i, t in enumerate(tensors)]
        lengths = [len(array) for array, _ in self._columns]
        if len(set(lengths)) > 1:
            raise ValueError(f"tensors: got {lengths} rows; expected as many of each")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(take(column, index) for column in self._columns)

    def __len__(self) -> int:
        return len(self._columns[0][0])

    def _take(self, rows: Any) -> list[Any]:
        return [take(column, rows) for column in self._columns]


class Subset(Dataset):
    """Some samples of a data set.

    Parameters
    ----------
    dataset : Dataset
    indices : sequence of int
        Which samples, in which order.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss.utils.data import Subset, TensorDataset
    >>> int(Subset(TensorDataset(np.arange(10)), [7, 3])[1][0])
    3
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | Array) -> None:
        self.dataset = dataset
        self.indices = indices
        self._rows = np.asarray(indices)
        if self._rows.ndim != 1 or (self._rows.size and self._rows.dtype.kind not in "iu"):
            raise TypeError("indices: expected a sequence of integers")
        self._rows = self._rows.astype(np.int64)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[int(self._rows[operator.index(index)])]

    def __len__(self) -> int:
        return len(self._rows)

    def _take(self, rows: Any) -> Any:
        found = taker(self.dataset)
        return None if found is None else found(self._rows[rows])


class ConcatDataset(Dataset):
    """Data sets one after the other.

    Parameters
    ----------
    datasets : iterable of Dataset

    Examples
    --------
    >>> import numpy as np
    >>> from schuss.utils.data import ConcatDataset, TensorDataset
    >>> both = ConcatDataset([TensorDataset(np.zeros(3)), TensorDataset(np.ones(2))])
    >>> len(both), float(both[3][0])
    (5, 1.0)
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("datasets: got none; expected at least one")
        self.cumulative_sizes: list[int] = []
        for dataset in self.datasets:
            if isinstance(dataset, IterableDataset):
                raise TypeError("datasets: an IterableDataset has no numbers to go on from")
            before = self.cumulative_sizes[-1] if self.cumulative_sizes else 0
            self.cumulative_sizes.append(before + len(dataset))

    def __getitem__(self, index: Any) -> Any:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"index: got {position}; there are {len(self)} samples")
        position %= len(self)
        which = bisect_right(self.cumulative_sizes, position)
        before = self.cumulative_sizes[which - 1] if which else 0
        return self.datasets[which][position - before]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


def taker(dataset: Any) -> Callable[[Any], Any] | None:
    """How a data set gives many rows at once, or None where it goes sample by sample."""
    for kind in type(dataset).__mro__:
        # A subclass with a __getitem__ of its own means that one.
        if "__getitem__" in kind.__dict__ or "__getitems__" in kind.__dict__:
            known = "_take" in kind.__dict__
            inner_known = not isinstance(dataset, Subset) or taker(dataset.dataset) is not None
            return dataset._take if known and inner_known else None
    return None


def permutation(n: int, seed: int, epoch: int = 0) -> Array:
    """The numbers below `n` in the order of (seed, epoch)."""
    return batch_rows(n, 0, n, seed, epoch) if n else np.zeros(0, np.int64)


@known_options
def random_split(
    dataset: Any,
    lengths: Sequence[float],
    generator: Generator | int | None = None,
    seed: int | None = None,
) -> list[Subset]:
    """Split a data set at random into parts without overlap.

    Parameters
    ----------
    dataset : Dataset
    lengths : sequence of int, or of float
        Sizes that add up to the data set's, or fractions that add up to 1; what rounding down
        leaves over goes to the parts one by one, from the first on.
    generator : Generator or int, optional
        Where the seed comes from; by default the state of `schuss.manual_seed`.
    seed : int, optional
        The same seed gives the same parts everywhere.

    Returns
    -------
    list of Subset

    Raises
    ------
    ValueError
        The lengths do not add up, one is negative, or both `seed` and `generator` are given.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss.utils.data import TensorDataset, random_split
    >>> parts = random_split(TensorDataset(np.arange(10)), [0.75, 0.25], seed=1)
    >>> [len(part) for part in parts]
    [8, 2]
    """
    if seed is not None and generator is not None:
        raise ValueError("seed, generator: got both; expected one of them")
    sizes = _sizes(list(lengths), len(dataset))
    chosen = seed_from(generator) if seed is None else as_seed(seed)
    order = permutation(len(dataset), chosen)
    parts, first = [], 0
    for size in sizes:
        parts.append(Subset(dataset, order[first : first + size]))
        first += size
    return parts


def _sizes(lengths: list[Any], n: int) -> list[int]:
    if all(isinstance(length, (int, np.integer)) for length in lengths) and sum(lengths) != 1:
        sizes = [as_count(length, "lengths", least=0) for length in lengths]
        if sum(sizes) != n:
            raise ValueError(f"lengths: got {lengths}; expected sizes that add up to {n}")
        return sizes
    fractions = [as_number(length, "lengths") for length in lengths]
    if any(f < 0.0 for f in fractions) or not abs(sum(fractions) - 1.0) <= 1e-9:
        raise ValueError(
            f"lengths: got {lengths}; expected sizes that add up to {n}, or fractions that add up "
            "to 1"
        )
    sizes = [int(n * f) for f in fractions]
    for extra in range(n - sum(sizes)):
        sizes[extra % len(sizes)] += 1
    return sizes

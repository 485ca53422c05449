# SPDX-License-Identifier: MIT
"""Orders in which a `DataLoader` takes samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from schuss._options import as_count, as_flag, as_seed, type_name
from schuss._random import seed_from
from schuss.utils.data.dataset import permutation

if TYPE_CHECKING:
    from schuss._random import Generator

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "batches_of",
]


class Sampler:
    """Base of samplers: a subclass defines ``__iter__``, which gives numbers of samples."""

    __class_getitem__ = classmethod(lambda cls, _: cls)

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type_name(self)} does not define __iter__()")


class SequentialSampler(Sampler):
    """The samples in order.

    Examples
    --------
    >>> from schuss.utils.data import SequentialSampler
    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class SubsetRandomSampler(Sampler):
    """Some samples, each pass in another order.

    Parameters
    ----------
    indices : sequence of int
    generator : Generator or int, optional
        Where the seed comes from; by default the state of `schuss.manual_seed`.
    seed : int, optional
        The same seed gives the same orders everywhere.

    Examples
    --------
    >>> from schuss.utils.data import SubsetRandomSampler
    >>> sorted(SubsetRandomSampler([5, 7, 9], seed=0))
    [5, 7, 9]
    """

    def __init__(
        self,
        indices: Sequence[int],
        generator: Generator | int | None = None,
        seed: int | None = None,
    ) -> None:
        if seed is not None and generator is not None:
            raise ValueError("seed, generator: got both; expected one of them")
        self.indices = indices
        self._seed = seed_from(generator) if seed is None else as_seed(seed)
        self._epoch = 0

    def __iter__(self) -> Iterator[int]:
        order = permutation(len(self.indices), self._seed, self._epoch)
        self._epoch += 1
        return iter([self.indices[position] for position in order.tolist()])

    def __len__(self) -> int:
        return len(self.indices)


class RandomSampler(SubsetRandomSampler):
    """All samples, each pass in another order; without replacement.

    Parameters
    ----------
    data_source : Dataset
    generator, seed
        As for `SubsetRandomSampler`.

    Examples
    --------
    >>> from schuss.utils.data import RandomSampler
    >>> sorted(RandomSampler("abc", seed=0))
    [0, 1, 2]
    """

    def __init__(
        self, data_source: Any, generator: Generator | int | None = None, seed: int | None = None
    ) -> None:
        super().__init__(range(len(data_source)), generator, seed)
        self.data_source = data_source


class BatchSampler(Sampler):
    """Lists of the numbers that another sampler gives.

    Parameters
    ----------
    sampler : iterable of int
    batch_size : int
    drop_last : bool
        Leave a shorter last list out.

    Examples
    --------
    >>> from schuss.utils.data import BatchSampler
    >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        self.sampler = sampler
        self.batch_size = as_count(batch_size, "batch_size")
        self.drop_last = as_flag(drop_last, "drop_last")

    def __iter__(self) -> Iterator[list[int]]:
        return batches_of(self.sampler, self.batch_size, self.drop_last)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return whole + (1 if rest and not self.drop_last else 0)


def batches_of(items: Iterable[Any], batch_size: int, drop_last: bool) -> Iterator[list[Any]]:
    """Lists of `batch_size` items each, the last one with what is left."""
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch and not drop_last:
        yield batch

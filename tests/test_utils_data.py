# SPDX-License-Identifier: MIT
"""Data sets, samplers, and the loader over them."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import schuss
from schuss.utils import data
from schuss.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10)


def tensor(values: Any) -> schuss.Tensor:
    return schuss.tensor(values, dtype=schuss.float32)


class Rows(Dataset):
    """Samples one by one; counts how often it was asked."""

    def __init__(self, n: int = 10) -> None:
        self.n, self.asked = n, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, int]:
        self.asked += 1
        return X[index], int(Y[index])


class Stream(IterableDataset):
    """Five numbers in order."""

    def __iter__(self) -> Iterator[float]:
        return iter([0.0, 1.0, 2.0, 3.0, 4.0])


def labels(loader: DataLoader) -> list[list[int]]:
    return [np.asarray(yb).tolist() for _, yb in loader]


# ---- data sets -----------------------------------------------------------------------------------


def test_tensor_dataset_gives_tensors_for_tensors_and_arrays_for_arrays() -> None:
    both = TensorDataset(tensor(X), Y)
    xb, yb = next(iter(DataLoader(both, batch_size=4)))
    assert isinstance(xb, schuss.Tensor)
    assert isinstance(yb, np.ndarray)
    assert xb.tolist() == X[:4].tolist()
    assert isinstance(both[3], tuple)
    assert both[3][0].tolist() == X[3].tolist()
    assert len(both) == len(both.tensors[0]) == 10


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_of_integer_tensors_are_tensors_of_their_own(shuffle: bool) -> None:
    labels = schuss.tensor(Y)
    for dataset in (TensorDataset(labels), Subset(TensorDataset(labels), range(10))):
        for (batch,) in DataLoader(dataset, batch_size=4, shuffle=shuffle, seed=1):
            assert isinstance(batch, schuss.Tensor)
            assert batch.dtype == np.int64
            batch.zero_()
    assert labels.tolist() == Y.tolist()


def test_collated_arrays_and_numbers_are_tensors() -> None:
    for samples in ([1, 2], [True, False], [0.5, 1.5], [X[0], X[1]], [schuss.tensor(3)] * 2):
        assert isinstance(data.default_collate(samples), schuss.Tensor)
    assert isinstance(data.default_collate([np.int8(1), np.int8(2)]), np.ndarray)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_every_kind_of_data_set_gives_the_same_batches(shuffle: bool, drop_last: bool) -> None:
    options: dict[str, Any] = {"batch_size": 3, "shuffle": shuffle, "drop_last": drop_last}
    kinds = [TensorDataset(X, Y), Rows(), Subset(Rows(), range(10)), list(zip(X, Y, strict=True))]
    kinds.append(data.ConcatDataset([Subset(Rows(), range(6)), Subset(Rows(), range(6, 10))]))
    expected = DataLoader(X, Y, seed=7, **options)
    epochs = [labels(expected), labels(expected)]
    for kind in kinds:
        loader = DataLoader(kind, seed=7, **options)
        assert len(loader) == len(expected)
        assert [labels(loader), labels(loader)] == epochs
    assert (epochs[0] != epochs[1]) == shuffle


def test_subclass_with_its_own_getitem_is_asked_for_each_sample() -> None:
    class Doubled(TensorDataset):
        def __getitem__(self, index: Any) -> tuple[Any, ...]:
            x, y = super().__getitem__(index)
            return 2 * x, y

    for dataset in (Doubled(X, Y), Subset(Doubled(X, Y), range(10))):
        xb, _ = next(iter(DataLoader(dataset, batch_size=4)))
        assert np.asarray(xb).tolist() == (2 * X[:4]).tolist()


def test_subset_of_a_subset_gathers_by_both() -> None:
    inner = Subset(TensorDataset(X, Y), [8, 6, 4, 2])
    outer = Subset(inner, [3, 0])
    assert labels(DataLoader(outer, batch_size=2)) == [[2, 8]]
    assert int(outer[0][1]) == 2
    assert len(inner + outer) == 6
    assert int((inner + outer)[-1][1]) == 8


def test_random_split_is_a_partition_that_the_seed_fixes() -> None:
    parts = data.random_split(TensorDataset(X, Y), [0.5, 0.25, 0.25], seed=3)
    assert [len(part) for part in parts] == [6, 2, 2]
    rows = [row for part in parts for row in part.indices.tolist()]
    assert sorted(rows) == list(range(10))
    assert rows != sorted(rows)
    again = data.random_split(Rows(), [6, 2, 2], generator=schuss.Generator(1))
    same = data.random_split(Rows(), [6, 2, 2], generator=schuss.Generator(1))
    assert [p.indices.tolist() for p in again] == [p.indices.tolist() for p in same]


@pytest.mark.torch
@pytest.mark.parametrize("fractions", [[0.8, 0.2], [0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3], [1.0]])
@pytest.mark.parametrize("n", [10, 11, 101])
def test_fractions_round_as_pytorchs(fractions: list[float], n: int) -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    own = data.random_split(range(n), fractions, seed=0)
    theirs = torch_data.random_split(range(n), fractions)
    assert [len(p) for p in own] == [len(p) for p in theirs]


# ---- the loader ----------------------------------------------------------------------------------


def test_batch_size_may_be_the_second_argument() -> None:
    assert len(DataLoader(TensorDataset(X, Y), 4)) == 3
    assert DataLoader(X, 4, True, seed=1).shuffle
    with pytest.raises(ValueError, match="batch_size: got both 4 and 5"):
        DataLoader(TensorDataset(X, Y), 4, batch_size=5)


def test_sampler_and_batch_sampler_say_the_order() -> None:
    order = [9, 0, 5]
    for dataset in (TensorDataset(X, Y), Rows()):
        loader = DataLoader(dataset, batch_size=2, sampler=order)
        assert len(loader) == 2
        assert labels(loader) == [[9, 0], [5]]
        batches = DataLoader(dataset, batch_sampler=[[1, 2, 3], [4]])
        assert len(batches) == 2
        assert labels(batches) == [[1, 2, 3], [4]]


def test_samplers_give_each_sample_once() -> None:
    random = data.RandomSampler(Y, seed=5)
    one, two = list(random), list(random)
    assert sorted(one) == sorted(two) == list(range(10))
    assert one != two
    assert list(data.SequentialSampler(Y)) == list(range(10))
    subset = data.SubsetRandomSampler([3, 1, 4], generator=2)
    assert sorted(subset) == [1, 3, 4]
    batches = data.BatchSampler(random, 4, drop_last=True)
    assert len(batches) == len(list(batches)) == 2
    assert len(data.BatchSampler(random, 4, drop_last=False)) == 3


def test_samples_one_by_one_without_a_batch_size() -> None:
    rows = Rows()
    loader = DataLoader(rows, batch_size=None)
    assert len(loader) == 10
    assert [y for _, y in loader] == list(range(10))
    assert next(iter(DataLoader(X, batch_size=None))).shape == (10, 2)


def test_iterable_data_set_comes_in_order() -> None:
    loader = DataLoader(Stream(), batch_size=2)
    assert [np.asarray(batch).tolist() for batch in loader] == [[0.0, 1.0], [2.0, 3.0], [4.0]]
    assert list(DataLoader(Stream(), batch_size=None)) == [0.0, 1.0, 2.0, 3.0, 4.0]
    with pytest.raises(TypeError, match="len"):
        len(loader)
    with pytest.raises(ValueError, match="its own order"):
        DataLoader(Stream(), shuffle=True)


def test_collate_fn_gets_the_list_of_samples() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=3, collate_fn=len)
    assert list(loader) == [3, 3, 3, 1]


def test_loader_reads_only_the_rows_of_the_batch() -> None:
    rows = Rows()
    next(iter(DataLoader(rows, batch_size=4)))
    assert rows.asked == 4


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: DataLoader(Rows(), num_workers=2), ValueError, "num_workers: got 2; expected 0"),
        (lambda: DataLoader(Rows(), workers=2), TypeError, "unknown option 'workers'"),
        (lambda: DataLoader(Rows(), shuffle=True, sampler=[1]), ValueError, "sampler, shuffle"),
        (lambda: DataLoader(Rows(), 2, batch_sampler=[[1]]), ValueError, "batch_sampler"),
        (lambda: DataLoader(Rows(), seed=1, generator=1), ValueError, "seed, generator"),
        (lambda: DataLoader(X, Y[:3]), ValueError, "10 and 3 rows"),
        (lambda: TensorDataset(X, Y[:3]), ValueError, r"tensors: got \[10, 3\] rows"),
        (lambda: TensorDataset(), TypeError, "at least one tensor"),
        (lambda: TensorDataset(["a", "b"]), TypeError, r"tensors\[0\]: got dtype"),
        (lambda: Subset(Rows(), [0.5]), TypeError, "sequence of integers"),
        (lambda: data.ConcatDataset([]), ValueError, "at least one"),
        (lambda: data.ConcatDataset([Stream()]), TypeError, "IterableDataset"),
        (lambda: data.ConcatDataset([Rows()])[10], IndexError, "got 10; there are 10"),
        (lambda: data.random_split(Rows(), [5, 4]), ValueError, "sizes that add up to 10"),
        (lambda: data.random_split(Rows(), [0.5, 0.6]), ValueError, "fractions that add up to 1"),
        (lambda: data.random_split(Rows(), [1.5, -0.5]), ValueError, "fractions"),
        (lambda: data.random_split(Rows(), [5, 5], seed=1, generator=1), ValueError, "got both"),
        (lambda: Dataset()[0], NotImplementedError, "does not define __getitem__"),
        (lambda: data.default_collate([]), ValueError, "no samples"),
        (lambda: data.default_collate([object()]), TypeError, "type object"),
        (lambda: data.default_collate([X[0], X[:2]]), ValueError, "shapes"),
        (lambda: data.default_collate([(1, 2), (1,)]), ValueError, "members"),
        (lambda: data.default_collate([{"a": 1}, {"b": 1}]), ValueError, "different keys"),
    ],
)
def test_wrong_use_is_an_error(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


# ---- collating -----------------------------------------------------------------------------------

Pair = namedtuple("Pair", "x label")


@pytest.mark.torch
@pytest.mark.parametrize(
    "samples",
    [
        [1.5, 2.5],
        [3, 4],
        [True, False],
        [np.ones((2, 3)), np.zeros((2, 3))],
        [np.float32(1), np.float32(2)],
        [(np.ones(2), 1), (np.zeros(2), 0)],
        [[1.0, [2, 3]], [4.0, [5, 6]]],
        [{"x": np.ones(2), "name": "a"}, {"x": np.zeros(2), "name": "b"}],
        [Pair(1.0, 0), Pair(2.0, 1)],
    ],
)
def test_batches_are_pytorchs(samples: list[Any]) -> None:
    torch_data = pytest.importorskip("torch.utils.data")

    def same(own: Any, theirs: Any) -> None:
        if isinstance(theirs, dict):
            assert own.keys() == theirs.keys()
            for key in own:
                same(own[key], theirs[key])
        elif isinstance(theirs, (list, tuple)):
            assert type(own) is type(theirs)
            for one, other in zip(own, theirs, strict=True):
                same(one, other)
        elif isinstance(theirs, str):
            assert own == theirs
        else:
            assert np.asarray(own).dtype == theirs.numpy().dtype
            assert np.array_equal(np.asarray(own), theirs.numpy())

    same(data.default_collate(samples), torch_data.default_collate(samples))

# SPDX-License-Identifier: MIT
"""A list of samples as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from schuss._options import type_name
from schuss._schuss import Tensor, from_numpy

if TYPE_CHECKING:
    from schuss._typing import Array

__all__ = ["default_collate", "tensor_of"]


_DTYPES = ("float32", "float64", "int64", "bool")  # those that tensors have


def tensor_of(array: Array) -> Any:
    """A batch as a tensor that shares its memory; of a dtype that tensors lack, the array."""
    return from_numpy(array) if array.dtype.name in _DTYPES else array


def default_collate(batch: Sequence[Any]) -> Any:
    """Put samples together along a new first dimension.

    Parameters
    ----------
    batch : list
        Samples of one kind: tensors, arrays, numbers, strings, or tuples, lists and dictionaries
        of these.

    Returns
    -------
    Tensor, list or dict
        Numbers become a tensor, strings stay a list; tuples and lists become the list of their
        collated members, dictionaries keep their keys. (Arrays of a dtype that tensors lack become
        an array.)

    Raises
    ------
    TypeError
        Samples are of a kind that cannot be put together.
    ValueError
        Shapes, lengths or keys differ from sample to sample.

    Examples
    --------
    >>> from schuss.utils.data import default_collate
    >>> values, labels = default_collate([(0.5, 1), (1.5, 0)])
    >>> values.tolist(), labels.tolist()
    ([0.5, 1.5], [1, 0])
    """
    if not batch:
        raise ValueError("collate: got no samples; expected at least one")
    first = batch[0]
    if isinstance(first, Tensor):
        return tensor_of(_stacked([sample.detach().numpy() for sample in batch]))
    if isinstance(first, (np.ndarray, np.generic)) and first.dtype.kind in "fiub":
        return tensor_of(_stacked(batch))
    if isinstance(first, (bool, int, float)):
        return tensor_of(np.asarray(batch))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        if any(set(sample) != set(first) for sample in batch):
            raise ValueError(f"collate: samples have different keys; expected {list(first)}")
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            lengths = sorted({len(sample) for sample in batch})
            raise ValueError(f"collate: got samples of {lengths} members; expected as many in each")
        members = [default_collate(list(column)) for column in zip(*batch, strict=True)]
        return type(first)(*members) if hasattr(first, "_fields") else members
    raise TypeError(
        f"collate: got a sample of type {type_name(first)}; expected tensors, arrays, numbers, "
        "strings, or tuples, lists and dictionaries of these (or give a collate_fn)"
    )


def _stacked(samples: Sequence[Any]) -> Array:
    shapes = {np.shape(sample) for sample in samples}
    if len(shapes) > 1:
        raise ValueError(f"collate: got samples of shapes {sorted(shapes)}; expected one shape")
    return np.stack([np.asarray(sample) for sample in samples])

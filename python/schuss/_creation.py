# SPDX-License-Identifier: MIT
"""Tensors from data, from a formula, and from random numbers, under PyTorch's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schuss import _schuss
from schuss._options import check_device
from schuss._random import seed_from
from schuss._schuss import Tensor

if TYPE_CHECKING:
    from schuss._random import Generator

__all__ = [
    "DoubleTensor",
    "FloatTensor",
    "LongTensor",
    "arange",
    "as_tensor",
    "empty",
    "empty_like",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "is_tensor",
    "linspace",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "tensor",
    "zeros",
    "zeros_like",
]


_SHAREABLE = ("float32", "float64", "int64", "bool")


def _finished(made: Tensor, requires_grad: bool, device: Any) -> Tensor:
    check_device(device)
    if requires_grad:
        made.requires_grad = True
    return made


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Copy numbers, nested lists, arrays or tensors into a new tensor.

    Parameters
    ----------
    data : array-like
    dtype : float32, float64, int64 or bool, optional
        Without it, Python's floats become float32 and its integers int64; arrays of these four
        dtypes keep theirs, others become float32 or int64.
    device : "cpu", optional
    requires_grad : bool, default False
        Gather gradients in ``.grad``.

    Examples
    --------
    >>> import schuss
    >>> schuss.tensor([1, 2, 3])
    tensor([1, 2, 3])
    >>> schuss.tensor([1.0, 2.0], requires_grad=True)
    tensor([1., 2.], requires_grad=True)
    """
    return _finished(_schuss.tensor(data, dtype), requires_grad, device)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Make a tensor of `data`: itself, or sharing its memory, where nothing must change."""
    check_device(device)
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray) and data.flags.writeable and data.dtype.name in _SHAREABLE:
        same = dtype is None or np.dtype(dtype) == data.dtype
        return _schuss.from_numpy(data) if same else _schuss.tensor(data, dtype)
    return _schuss.tensor(data, dtype)


def from_numpy(array: Any) -> Tensor:
    """Make a tensor that shares an array's memory: writes to one show in the other."""
    return _schuss.from_numpy(array)


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a Tensor."""
    return isinstance(obj, Tensor)


class FloatTensor:
    """``FloatTensor(data)`` or ``FloatTensor(2, 3)``: a float32 tensor."""

    def __new__(cls, *data: Any) -> Tensor:  # type: ignore[misc]
        """Make the tensor: of data, or of sizes and filled with zeros."""
        return _typed(data, np.float32)


class DoubleTensor:
    """``DoubleTensor(data)`` or ``DoubleTensor(2, 3)``: a float64 tensor."""

    def __new__(cls, *data: Any) -> Tensor:  # type: ignore[misc]
        """Make the tensor: of data, or of sizes and filled with zeros."""
        return _typed(data, np.float64)


class LongTensor:
    """``LongTensor(data)`` or ``LongTensor(2, 3)``: an int64 tensor."""

    def __new__(cls, *data: Any) -> Tensor:  # type: ignore[misc]
        """Make the tensor: of data, or of sizes and filled with zeros."""
        return _typed(data, np.int64)


def _typed(data: tuple[Any, ...], dtype: Any) -> Tensor:
    if data and all(isinstance(size, int) for size in data):
        return _schuss.full(data, 0.0, dtype)
    if len(data) != 1:
        raise TypeError(f"got {len(data)} arguments; expected data, or sizes")
    return _schuss.tensor(data[0], dtype)


def _sizes(size: tuple[Any, ...]) -> tuple[int, ...]:
    if len(size) == 1 and not isinstance(size[0], int):
        return tuple(size[0])
    return size


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of a shape: ``zeros(2, 3)`` or ``zeros((2, 3))``; float32 unless `dtype` says else."""
    return _finished(_schuss.full(_sizes(size), 0.0, dtype or np.float32), requires_grad, device)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of a shape; float32 unless `dtype` says otherwise."""
    return _finished(_schuss.full(_sizes(size), 1.0, dtype or np.float32), requires_grad, device)


empty = zeros


def full(
    size: Any,
    fill_value: float,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """One value everywhere; the dtype of the value unless `dtype` says otherwise."""
    wanted = dtype or _schuss.tensor(fill_value).dtype
    return _finished(_schuss.full(size, float(fill_value), wanted), requires_grad, device)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The identity matrix."""
    made = _schuss.tensor(np.eye(n, m, dtype=np.float64), dtype or np.float32)
    return _finished(made, requires_grad, device)


def _like(value: float, like: Tensor, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    made = _schuss.full(like.shape, value, dtype or like.dtype)
    return _finished(made, requires_grad, device)


def zeros_like(
    input: Tensor,  # noqa: A002  (PyTorch's name)
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros of another tensor's shape and dtype."""
    return _like(0.0, input, dtype, device, requires_grad)


def ones_like(
    input: Tensor,  # noqa: A002
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones of another tensor's shape and dtype."""
    return _like(1.0, input, dtype, device, requires_grad)


empty_like = zeros_like


def full_like(
    input: Tensor,  # noqa: A002
    fill_value: float,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """One value everywhere, in another tensor's shape and dtype."""
    return _like(float(fill_value), input, dtype, device, requires_grad)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """``start``, ``start + step``, ... below `end`: int64 if all are integers, else float32.

    Examples
    --------
    >>> import schuss
    >>> schuss.arange(1, 7, 2)
    tensor([1, 3, 5])
    """
    first, last = (0, start) if end is None else (start, end)
    if step == 0 or (last - first) * step < 0:
        raise ValueError(f"arange: got step {step} from {first} to {last}; expected one that leads")
    whole = all(isinstance(x, int) for x in (first, last, step))
    # Rounded up: -(a // -b) is exact for integers, and what NumPy does for floats.
    count = int(-((first - last) // step))
    made = _schuss.arange(float(first), float(step), count, dtype or _arange_dtype(whole))
    return _finished(made, requires_grad, device)


def _arange_dtype(whole: bool) -> Any:
    return np.int64 if whole else np.float32


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` evenly spaced numbers from `start` to `end`, both included."""
    made = _schuss.linspace(float(start), float(end), steps, dtype or np.float32)
    return _finished(made, requires_grad, device)


def rand(
    *size: Any,
    generator: Generator | int | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform random numbers in [0, 1), the same on every machine after `schuss.manual_seed`."""
    made = _schuss.random_uniform(_sizes(size), dtype or np.float32, seed_from(generator))
    return _finished(made, requires_grad, device)


def randn(
    *size: Any,
    generator: Generator | int | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal random numbers, the same on every machine after `schuss.manual_seed`."""
    made = _schuss.random_normal(_sizes(size), dtype or np.float32, seed_from(generator))
    return _finished(made, requires_grad, device)


def rand_like(
    input: Tensor,  # noqa: A002
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform random numbers in another tensor's shape and dtype."""
    return rand(
        *input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad
    )


def randn_like(
    input: Tensor,  # noqa: A002
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal random numbers in another tensor's shape and dtype."""
    return randn(
        *input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad
    )


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | int | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """Random integers: ``randint(high, size)`` below `high`, ``randint(low, high, size)``."""
    check_device(device)
    if size is None:
        low, high, size = 0, low, high
    if size is None:
        raise TypeError("randint: got no size; expected randint(low, high, size)")
    return _schuss.random_integers(size, low, high, dtype or np.int64, seed_from(generator))


def randperm(
    n: int,
    *,
    generator: Generator | int | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """The numbers 0..n-1 in random order."""
    check_device(device)
    made = _schuss.random_permutation(n, seed_from(generator))
    return made if dtype is None else made.to(dtype)

# SPDX-License-Identifier: MIT
"""Operations on tensors as functions: the methods of `Tensor` under the same names."""

from __future__ import annotations

from typing import Any, overload

import numpy as np

from schuss import _schuss
from schuss._options import type_name
from schuss._schuss import Tensor, cat, stack

__all__ = [
    "abs",
    "absolute",
    "add",
    "all",
    "allclose",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "argwhere",
    "bincount",
    "bmm",
    "broadcast_to",
    "cat",
    "ceil",
    "chunk",
    "clamp",
    "clip",
    "clone",
    "concat",
    "cos",
    "count_nonzero",
    "cumsum",
    "div",
    "divide",
    "dot",
    "eq",
    "equal",
    "erf",
    "exp",
    "expm1",
    "flatten",
    "flip",
    "floor",
    "floor_divide",
    "fmod",
    "gather",
    "ge",
    "gt",
    "hstack",
    "index_select",
    "is_floating_point",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "lt",
    "masked_fill",
    "matmul",
    "max",
    "maximum",
    "mean",
    "median",
    "meshgrid",
    "min",
    "minimum",
    "mm",
    "mul",
    "multiply",
    "mv",
    "narrow",
    "ne",
    "neg",
    "negative",
    "nonzero",
    "norm",
    "numel",
    "outer",
    "permute",
    "pow",
    "prod",
    "ravel",
    "reciprocal",
    "relu",
    "remainder",
    "reshape",
    "round",
    "rsqrt",
    "select",
    "sigmoid",
    "sign",
    "sin",
    "softmax",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sub",
    "subtract",
    "sum",
    "swapaxes",
    "t",
    "tan",
    "tanh",
    "topk",
    "transpose",
    "true_divide",
    "trunc",
    "unbind",
    "unique",
    "unsqueeze",
    "var",
    "vstack",
    "where",
]

# The methods themselves: a call costs nothing more.
abs = Tensor.abs  # noqa: A001  (PyTorch's name)
absolute = Tensor.abs
add = Tensor.add
all = Tensor.all  # noqa: A001
amax = Tensor.amax
amin = Tensor.amin
any = Tensor.any  # noqa: A001
argmax = Tensor.argmax
argmin = Tensor.argmin
argsort = Tensor.argsort
bmm = Tensor.matmul
broadcast_to = Tensor.expand
ceil = Tensor.ceil
chunk = Tensor.chunk
clamp = Tensor.clamp
clip = Tensor.clamp
clone = Tensor.clone
concat = cat
cos = Tensor.cos
cumsum = Tensor.cumsum
div = Tensor.div
divide = Tensor.div
dot = Tensor.dot
eq = Tensor.eq
erf = Tensor.erf
exp = Tensor.exp
expm1 = Tensor.expm1
flatten = Tensor.flatten
flip = Tensor.flip
floor = Tensor.floor
floor_divide = Tensor.floor_divide
fmod = Tensor.fmod
gather = Tensor.gather
ge = Tensor.ge
gt = Tensor.gt
index_select = Tensor.index_select
isfinite = Tensor.isfinite
isinf = Tensor.isinf
isnan = Tensor.isnan
le = Tensor.le
log = Tensor.log
log10 = Tensor.log10
log1p = Tensor.log1p
log2 = Tensor.log2
log_softmax = Tensor.log_softmax
logical_and = Tensor.logical_and
logical_not = Tensor.logical_not
logical_or = Tensor.logical_or
logical_xor = Tensor.logical_xor
logsumexp = Tensor.logsumexp
lt = Tensor.lt
masked_fill = Tensor.masked_fill
matmul = Tensor.matmul
max = Tensor.max  # noqa: A001
maximum = Tensor.maximum
mean = Tensor.mean
median = Tensor.median
min = Tensor.min  # noqa: A001
minimum = Tensor.minimum
mm = Tensor.mm
mul = Tensor.mul
multiply = Tensor.mul
mv = Tensor.mv
narrow = Tensor.narrow
ne = Tensor.ne
neg = Tensor.neg
negative = Tensor.neg
norm = Tensor.norm
numel = Tensor.numel
outer = Tensor.outer
permute = Tensor.permute
pow = Tensor.pow  # noqa: A001
prod = Tensor.prod
ravel = Tensor.flatten
reciprocal = Tensor.reciprocal
relu = Tensor.relu
remainder = Tensor.remainder
reshape = Tensor.reshape
round = Tensor.round  # noqa: A001
rsqrt = Tensor.rsqrt
select = Tensor.select
sigmoid = Tensor.sigmoid
sign = Tensor.sign
sin = Tensor.sin
softmax = Tensor.softmax
sort = Tensor.sort
split = Tensor.split
sqrt = Tensor.sqrt
square = Tensor.square
squeeze = Tensor.squeeze
std = Tensor.std
sub = Tensor.sub
subtract = Tensor.sub
sum = Tensor.sum  # noqa: A001
swapaxes = Tensor.transpose
t = Tensor.t
tan = Tensor.tan
tanh = Tensor.tanh
topk = Tensor.topk
transpose = Tensor.transpose
true_divide = Tensor.div
trunc = Tensor.trunc
unbind = Tensor.unbind
unsqueeze = Tensor.unsqueeze
var = Tensor.var


@overload
def where(condition: Tensor) -> tuple[Tensor, ...]: ...
@overload
def where(condition: Tensor, input: Any, other: Any) -> Tensor: ...
def where(condition: Tensor, *choices: Any, **named: Any) -> Any:
    """``condition ? input : other``; of a condition alone, the indices where it holds.

    Examples
    --------
    >>> import schuss
    >>> x = schuss.tensor([-1.0, 2.0])
    >>> schuss.where(x > 0, x, 0.0).tolist()
    [0.0, 2.0]
    >>> schuss.where(x > 0)
    (tensor([1]),)
    """
    if choices or named:
        return _schuss.where(condition, *choices, **named)
    return nonzero(condition, as_tuple=True)


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:  # noqa: A002
    """Indices of the elements that are not 0: rows of one tensor, or a tensor for each dimension.

    Examples
    --------
    >>> import schuss
    >>> schuss.nonzero(schuss.tensor([0, 3, 5])).tolist()
    [[1], [2]]
    """
    places = np.nonzero(input.detach().numpy())
    if as_tuple:
        return tuple(_schuss.tensor(place) for place in places)
    return _schuss.tensor(np.stack(places, axis=1))


def argwhere(input: Tensor) -> Tensor:  # noqa: A002
    """Indices of the elements that are not 0, one row each."""
    return nonzero(input)  # type: ignore[no-any-return]


def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:  # noqa: A002
    """How many elements are not 0.

    Examples
    --------
    >>> import schuss
    >>> schuss.count_nonzero(schuss.tensor([0, 3, 5]))
    tensor(2)
    """
    return (input != 0).sum(dim)


def unique(
    input: Tensor,  # noqa: A002
    sorted: bool = True,  # noqa: A002
    return_inverse: bool = False,
    return_counts: bool = False,
) -> Any:
    """The different elements, in order; also where each element is among them, and how often.

    Examples
    --------
    >>> import schuss
    >>> schuss.unique(schuss.tensor([3, 1, 3])).tolist()
    [1, 3]
    """
    if not sorted:
        raise ValueError("unique: sorted: got False; the elements are always in order")
    values = input.detach().numpy()
    found, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    results = [_schuss.tensor(found)]
    if return_inverse:
        results.append(_schuss.tensor(inverse.reshape(values.shape)))
    if return_counts:
        results.append(_schuss.tensor(counts))
    return results[0] if len(results) == 1 else tuple(results)


def bincount(input: Tensor, minlength: int = 0) -> Tensor:  # noqa: A002
    """How often each whole number from 0 on occurs.

    Examples
    --------
    >>> import schuss
    >>> schuss.bincount(schuss.tensor([0, 2, 2])).tolist()
    [1, 0, 2]
    """
    return _schuss.tensor(np.bincount(input.detach().numpy(), minlength=minlength))


def is_floating_point(input: Tensor) -> bool:  # noqa: A002
    """Whether the elements are float32 or float64."""
    return input.is_floating_point()


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Grids of coordinates: one tensor of the grid's shape for each vector.

    Examples
    --------
    >>> import schuss
    >>> x, y = schuss.meshgrid(schuss.arange(2), schuss.arange(3), indexing="ij")
    >>> x.tolist(), y.tolist()
    ([[0, 0, 0], [1, 1, 1]], [[0, 1, 2], [0, 1, 2]])
    """
    if indexing not in ("ij", "xy"):
        raise ValueError(f"indexing: got {indexing!r}; expected 'ij' or 'xy'")
    is_list = len(tensors) == 1 and not isinstance(tensors[0], Tensor)
    vectors = list(tensors[0]) if is_list else list(tensors)
    shape = tuple(vector.numel() for vector in vectors)
    grids = []
    for place, vector in enumerate(vectors):
        line = [1] * len(vectors)
        line[place] = vector.numel()
        grid = vector.reshape(line).expand(shape)
        grids.append(grid.transpose(0, 1) if indexing == "xy" and len(vectors) > 1 else grid)
    return tuple(grids)


def hstack(tensors: Any) -> Tensor:
    """Put tensors side by side: along columns, or vectors end to end."""
    parts = [tensor.reshape(1) if tensor.ndim == 0 else tensor for tensor in tensors]
    return cat(parts, 0 if parts and parts[0].ndim == 1 else 1)


def vstack(tensors: Any) -> Tensor:
    """Put tensors below each other; vectors are rows.

    Examples
    --------
    >>> import schuss
    >>> schuss.vstack([schuss.zeros(2), schuss.ones(2)]).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    return cat([tensor.reshape(1, -1) if tensor.ndim < 2 else tensor for tensor in tensors], 0)


def isclose(
    input: Tensor,  # noqa: A002
    other: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> Tensor:
    """Whether ``|input - other| <= atol + rtol * |other|``, element by element.

    Examples
    --------
    >>> import schuss
    >>> schuss.isclose(schuss.ones(2), schuss.tensor([1.0, 1.1])).tolist()
    [True, False]
    """
    if not isinstance(other, Tensor):
        raise TypeError(f"other: got {type_name(other)}; expected a tensor")
    left, right = input.detach(), other.detach()
    near = (left == right) | ((left - right).abs() <= right.abs() * rtol + atol)
    if equal_nan:
        near = near | ((left != left) & (right != right))
    return near


def equal(input: Tensor, other: Tensor) -> bool:  # noqa: A002  (PyTorch's name)
    """Whether two tensors have the same shape and the same elements."""
    return input.shape == other.shape and bool((input == other).all())


def allclose(
    input: Tensor,  # noqa: A002
    other: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> bool:
    """Whether ``|input - other| <= atol + rtol * |other|`` everywhere.

    Examples
    --------
    >>> import schuss
    >>> schuss.allclose(schuss.ones(2), schuss.ones(2) + 1e-7)
    True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan).all())

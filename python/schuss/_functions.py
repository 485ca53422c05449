# SPDX-License-Identifier: MIT
"""Operations on tensors as functions: the methods of `Tensor` under the same names."""

from __future__ import annotations

from typing import Any

from schuss._schuss import Tensor, cat, stack, where

__all__ = [
    "abs",
    "add",
    "allclose",
    "argmax",
    "argmin",
    "cat",
    "clamp",
    "concat",
    "div",
    "dot",
    "eq",
    "equal",
    "erf",
    "exp",
    "expm1",
    "flatten",
    "log",
    "log1p",
    "log_softmax",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mm",
    "mul",
    "neg",
    "numel",
    "permute",
    "pow",
    "reciprocal",
    "relu",
    "reshape",
    "sigmoid",
    "softmax",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sub",
    "sum",
    "t",
    "tanh",
    "transpose",
    "unsqueeze",
    "var",
    "where",
]

# The methods themselves: a call costs nothing more.
abs = Tensor.abs  # noqa: A001  (PyTorch's name)
add = Tensor.add
argmax = Tensor.argmax
argmin = Tensor.argmin
clamp = Tensor.clamp
concat = cat
div = Tensor.div
dot = Tensor.dot
eq = Tensor.eq
erf = Tensor.erf
exp = Tensor.exp
expm1 = Tensor.expm1
flatten = Tensor.flatten
log = Tensor.log
log1p = Tensor.log1p
log_softmax = Tensor.log_softmax
matmul = Tensor.matmul
max = Tensor.max  # noqa: A001
maximum = Tensor.maximum
mean = Tensor.mean
min = Tensor.min  # noqa: A001
minimum = Tensor.minimum
mm = Tensor.mm
mul = Tensor.mul
neg = Tensor.neg
numel = Tensor.numel
permute = Tensor.permute
pow = Tensor.pow  # noqa: A001
reciprocal = Tensor.reciprocal
relu = Tensor.relu
reshape = Tensor.reshape
sigmoid = Tensor.sigmoid
softmax = Tensor.softmax
sqrt = Tensor.sqrt
square = Tensor.square
squeeze = Tensor.squeeze
std = Tensor.std
sub = Tensor.sub
sum = Tensor.sum  # noqa: A001
t = Tensor.t
tanh = Tensor.tanh
transpose = Tensor.transpose
unsqueeze = Tensor.unsqueeze
var = Tensor.var


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
    left, right = input.detach(), other.detach()
    near: Any = (left == right) | ((left - right).abs() <= right.abs() * rtol + atol)
    if equal_nan:
        near = near | ((left != left) & (right != right))
    return bool(near.all())

# SPDX-License-Identifier: MIT
"""Gradients as results, with PyTorch's names.

Examples
--------
>>> import schuss
>>> x = schuss.tensor([1.0, 2.0], requires_grad=True)
>>> (slope,) = schuss.autograd.grad((x**2).sum(), x)
>>> slope.tolist()
[2.0, 4.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schuss import _schuss
from schuss._grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled
from schuss._gradcheck import gradcheck
from schuss._options import type_name
from schuss._schuss import Tensor

__all__ = [
    "backward",
    "enable_grad",
    "grad",
    "gradcheck",
    "inference_mode",
    "no_grad",
    "set_grad_enabled",
]


def _tensors(value: Any, name: str) -> list[Tensor]:
    tensors = [value] if isinstance(value, Tensor) else list(value)
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: got {type_name(tensor)}; expected tensors")
    return tensors


def _gradients_for(tensors: list[Tensor], given: Any, name: str) -> list[Any]:
    if given is None:
        return [None] * len(tensors)
    gradients = list(given) if isinstance(given, (tuple, list)) else [given]
    if len(gradients) != len(tensors):
        raise ValueError(f"{name}: got {len(gradients)}; expected {len(tensors)}, one each")
    return gradients


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of the sum of `outputs` with respect to `inputs`; nobody's ``grad`` changes.

    Parameters
    ----------
    outputs : Tensor or sequence of Tensor
    inputs : Tensor or sequence of Tensor
        Leaves, or results on the way to `outputs`.
    grad_outputs : array-like or sequence of array-like, optional
        The gradient of each output; 1 for an output of one element.
    retain_graph : bool, optional
        Keep the graph for another call.
    create_graph : bool, default False
        Not to be had: gradients of gradients are not computed.
    allow_unused : bool, default False
        Give None for an input that the outputs do not depend on.

    Returns
    -------
    tuple of Tensor
        One for each input.

    Raises
    ------
    RuntimeError
        An input requires no gradient, the outputs do not depend on it, or the graph was freed.
    ValueError
        `create_graph` was asked for, or a shape differs.

    Examples
    --------
    >>> import schuss
    >>> x = schuss.tensor(3.0, requires_grad=True)
    >>> y = x * x
    >>> schuss.autograd.grad(y * 2, [x, y])
    (tensor(12.), tensor(2.))
    >>> x.grad is None
    True
    """
    if create_graph:
        raise ValueError(
            "create_graph: gradients of gradients are not computed; write the derivative as an "
            "expression and differentiate that"
        )
    roots, wanted = _tensors(outputs, "outputs"), _tensors(inputs, "inputs")
    d_roots = _gradients_for(roots, grad_outputs, "grad_outputs")
    found = _schuss.gradients(roots, d_roots, wanted, bool(retain_graph))
    for place, gradient in enumerate(found):
        if gradient is None and not allow_unused:
            raise RuntimeError(
                f"grad: the outputs do not depend on input {place}; pass allow_unused=True to get "
                "None for it"
            )
    return tuple(found)


def backward(
    tensors: Tensor | Sequence[Tensor], grad_tensors: Any = None, retain_graph: bool | None = None
) -> None:
    """Add the gradients of the sum of `tensors` to the leaves' ``grad``.

    Examples
    --------
    >>> import schuss
    >>> x = schuss.tensor(3.0, requires_grad=True)
    >>> y = x * x
    >>> schuss.autograd.backward([y, y + x])
    >>> x.grad
    tensor(13.)
    """
    roots = _tensors(tensors, "tensors")
    gradients = _gradients_for(roots, grad_tensors, "grad_tensors")
    for place, (root, gradient) in enumerate(zip(roots, gradients, strict=True)):
        # What an earlier one would free, a later one may share.
        root.backward(gradient, retain_graph=bool(retain_graph) or place + 1 < len(roots))

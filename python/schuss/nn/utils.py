# SPDX-License-Identifier: MIT
"""What training loops do to gradients and parameters, with PyTorch's names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schuss import _schuss
from schuss._grad_mode import no_grad
from schuss._options import as_flag, as_number
from schuss._schuss import Tensor, cat

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "parameters_to_vector",
    "vector_to_parameters",
]


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [tensor.grad for tensor in tensors if tensor.grad is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale gradients down so that the norm of all of them together is at most `max_norm`.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are passed over.
    max_norm : float
    norm_type : float, default 2.0
        ``inf`` is the largest element.
    error_if_nonfinite : bool, default False
        Raise a RuntimeError, before anything changes, where the norm is infinite or a NaN.

    Returns
    -------
    Tensor
        The norm before.

    Examples
    --------
    >>> import schuss
    >>> x = schuss.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x / 2).sum().backward()
    >>> schuss.nn.utils.clip_grad_norm_([x], max_norm=1.0)
    tensor(5.)
    >>> [round(g, 4) for g in x.grad.tolist()]
    [0.6, 0.8]
    """
    limit, kind = as_number(max_norm, "max_norm"), as_number(norm_type, "norm_type")
    raises = as_flag(error_if_nonfinite, "error_if_nonfinite")
    gradients = _gradients(parameters)
    with no_grad():
        if not gradients:
            return _schuss.tensor(0.0)
        norms = _schuss.stack([gradient.norm(kind) for gradient in gradients])
        total = norms.norm(kind)
        if raises and not bool(total.isfinite()):
            raise RuntimeError(f"clip_grad_norm_: the norm is {total.item()}; nothing was changed")
        scale = (limit / (total + 1e-6)).clamp(max=1.0)  # the constant is PyTorch's
        for gradient in gradients:
            gradient.mul_(scale)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of the gradients to ``[-clip_value, clip_value]``.

    Examples
    --------
    >>> import schuss
    >>> x = schuss.tensor([3.0, -0.5], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> schuss.nn.utils.clip_grad_value_(x, 2.0)
    >>> x.grad.tolist()
    [2.0, -1.0]
    """
    limit = as_number(clip_value, "clip_value")
    with no_grad():
        for gradient in _gradients(parameters):
            gradient.clamp_(-limit, limit)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements in one dimension; the history is kept.

    Examples
    --------
    >>> from schuss import nn
    >>> nn.utils.parameters_to_vector(nn.Linear(3, 2).parameters()).shape
    (8,)
    """
    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Any]) -> None:
    """Write the elements of `vec` into the parameters, in order.

    Examples
    --------
    >>> import schuss
    >>> layer = schuss.nn.Linear(2, 1)
    >>> schuss.nn.utils.vector_to_parameters(schuss.arange(3.0), layer.parameters())
    >>> layer.weight.tolist(), layer.bias.tolist()
    ([[0.0, 1.0]], [2.0])
    """
    targets = list(parameters)
    expected = sum(target.numel() for target in targets)
    if vec.shape != (expected,):
        raise ValueError(f"vec: got shape {vec.shape}; expected ({expected},)")
    start = 0
    with no_grad():
        for target in targets:
            count = target.numel()
            target.copy_(vec.detach()[start : start + count].reshape(target.shape))
            start += count

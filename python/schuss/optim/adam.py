# SPDX-License-Identifier: MIT
"""Adam, with weight decay in the gradient or apart from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schuss._options import known_options
from schuss.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from schuss.optim.optimizer import Params

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Adam, by PyTorch's formulas (Kingma and Ba, 2015).

    With gradient ``g`` (negated when `maximize`) and step count ``t``::

        g += weight_decay * p
        m  = beta1 * m + (1 - beta1) * g
        v  = beta2 * v + (1 - beta2) * g^2
        p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    Parameters
    ----------
    params : iterable of Parameter, or of dict
        ``model.parameters()``, or groups ``{"params": ..., "lr": ...}``.
    lr : float, default 0.001
        Learning rate, 0 or more.
    betas : pair of float, default (0.9, 0.999)
        Each at least 0 and below 1.
    eps : float, default 1e-8
        0 or more.
    weight_decay : float, default 0
        0 or more; added to the gradient.
    amsgrad : bool, default False
        Divide by the largest ``v`` so far (Reddi, Kale, Kumar, 2018).
    maximize : bool, default False
        Climb in place of descending.

    Raises
    ------
    TypeError
        `params` is not made of Parameters, or an option is unknown or of the wrong kind.
    ValueError
        There are no parameters, one comes twice, or an option is out of range.

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optimizer = optim.Adam(nn.Linear(2, 1).parameters(), lr=0.1)
    >>> optimizer.param_groups[0]["betas"]
    (0.9, 0.999)
    """

    _kind = "adam"
    _names = ("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize")

    @known_options
    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )


class AdamW(Optimizer):
    """Adam with decoupled weight decay, by PyTorch's formulas (Loshchilov and Hutter, 2019).

    As `Adam`, but the decay is ``p -= lr * weight_decay * p`` before the update, and no part of
    the gradient.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
        ``model.parameters()``, or groups ``{"params": ..., "lr": ...}``.
    lr : float, default 0.001
        Learning rate, 0 or more.
    betas : pair of float, default (0.9, 0.999)
        Each at least 0 and below 1.
    eps : float, default 1e-8
        0 or more.
    weight_decay : float, default 0.01
        0 or more.
    amsgrad : bool, default False
        Divide by the largest ``v`` so far.
    maximize : bool, default False
        Climb in place of descending.

    Raises
    ------
    TypeError
        `params` is not made of Parameters, or an option is unknown or of the wrong kind.
    ValueError
        There are no parameters, one comes twice, or an option is out of range.

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optim.AdamW(nn.Linear(2, 1).parameters()).param_groups[0]["weight_decay"]
    0.01
    """

    _kind = "adamw"
    _names = ("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize")

    @known_options
    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

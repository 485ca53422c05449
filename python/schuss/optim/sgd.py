# SPDX-License-Identifier: MIT
"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schuss._options import known_options
from schuss.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from schuss.optim.optimizer import Params

__all__ = ["SGD"]


class SGD(Optimizer):
    """Gradient descent with momentum, by PyTorch's formulas.

    With gradient ``g`` (negated when `maximize`)::

        g += weight_decay * p
        b  = g                                   the first time
        b  = momentum * b + (1 - dampening) * g  from then on
        g  = g + momentum * b                    nesterov
        g  = b                                   otherwise, when momentum is not 0
        p -= lr * g

    Momentum: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964;
    Nesterov's form as in Sutskever et al., "On the importance of initialization and momentum in
    deep learning", 2013.

    Parameters
    ----------
    params : iterable of Parameter, or of dict
        ``model.parameters()``, or groups ``{"params": ..., "lr": ...}``.
    lr : float, default 0.001
        Learning rate, 0 or more.
    momentum : float, default 0
        0 or more.
    dampening : float, default 0
    weight_decay : float, default 0
        0 or more.
    nesterov : bool, default False
        Needs ``momentum > 0`` and ``dampening == 0``.
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
    A parameter that no model owns, with a gradient worked out by hand:

    >>> import numpy as np
    >>> import schuss
    >>> w = schuss.Parameter(np.array([5.0]))
    >>> optimizer = schuss.optim.SGD([w], lr=0.1)
    >>> w.grad = 2 * (w.numpy() - 1)
    >>> optimizer.step()
    >>> w.tolist()
    [4.2]
    """

    _kind = "sgd"
    _names = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")

    @known_options
    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

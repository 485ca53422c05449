# SPDX-License-Identifier: MIT
"""A schedule that follows from what training achieves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from schuss import _schuss
from schuss._options import as_count, known_options
from schuss.optim.lr_scheduler.base import (
    LRScheduler,
    as_factor,
    as_one_of,
    checked_optimizer,
    rates_of,
)

if TYPE_CHECKING:
    from schuss.optim.optimizer import Optimizer

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(LRScheduler):
    """The rate times `factor` when a metric has not got better for more than `patience` epochs.

    Parameters
    ----------
    optimizer : optim.Optimizer
    mode : "min" or "max", default "min"
        Whether less or more is better.
    factor : float, default 0.1
        Below 1.
    patience : int, default 10
    threshold : float, default 1e-4
        How much better counts, relative to the best so far or absolute, as `threshold_mode` says.
    threshold_mode : "rel" or "abs", default "rel"
    cooldown : int, default 0
        Epochs after a reduction that do not count.
    min_lr : float or list of float, default 0
    eps : float, default 1e-8
        A reduction by no more than this is left out.

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     scheduler.step(loss)
    >>> optimizer.param_groups[0]["lr"]
    0.5
    """

    @known_options
    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        self.optimizer = checked_optimizer(optimizer)
        n_groups = len(optimizer.param_groups)
        self.mode = as_one_of(mode, "mode", ("min", "max"))
        self.threshold_mode = as_one_of(threshold_mode, "threshold_mode", ("rel", "abs"))
        self.factor = as_factor(factor, "factor")
        if self.factor >= 1.0:
            raise ValueError(f"factor: got {factor}; expected a number below 1")
        self.patience = as_count(patience, "patience", least=0)
        self.cooldown = as_count(cooldown, "cooldown", least=0)
        self.threshold = as_factor(threshold, "threshold")
        self.eps = as_factor(eps, "eps")
        several = isinstance(min_lr, (list, tuple))
        listed: list[Any] = list(min_lr) if several else [min_lr] * n_groups  # type: ignore[arg-type]
        if len(listed) != n_groups:
            raise ValueError(f"min_lr: got {len(listed)} numbers; expected {n_groups}, one a group")
        self.min_lrs = [as_factor(rate, "min_lr") for rate in listed]
        self.last_epoch = 0
        self.best = float("inf" if mode == "min" else "-inf")
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self._last_lr = rates_of(optimizer)

    @property
    def in_cooldown(self) -> bool:
        """Whether bad epochs do not count at present."""
        return self.cooldown_counter > 0

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """One epoch more, with its metric.

        Raises
        ------
        ValueError
            The optimizer has got more groups than the schedule knows.
        """
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            raise ValueError(
                f"optimizer: it has {len(groups)} groups, and had {len(self.min_lrs)} when the "
                "schedule was made; add groups first"
            )
        metric, want_less = float(metrics), self.mode == "min"
        relative = self.threshold_mode == "rel"
        self.last_epoch += 1
        if _schuss.is_better(metric, self.best, self.threshold, want_less, relative):
            self.best = metric
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(groups, self.min_lrs, strict=True):
                group["lr"] = _schuss.scheduled_reduction(group["lr"], self.factor, least, self.eps)
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = rates_of(self.optimizer)

# SPDX-License-Identifier: MIT
"""What the schedules share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schuss import _schuss
from schuss._options import as_count, as_number, type_name
from schuss.optim.optimizer import Optimizer

__all__ = ["LRScheduler", "as_factor", "as_one_of", "as_share", "checked_optimizer", "rates_of"]


class LRScheduler:
    """Base of the schedules: a subclass says in `get_lr` what the rates are at `last_epoch`.

    Parameters
    ----------
    optimizer : optim.Optimizer
        Its groups' rates at this moment are where the schedule starts (`base_lrs`).
    last_epoch : int, default -1
        Epochs that are over, less one. From 0 on, the groups have to remember where an earlier
        schedule started (``"initial_lr"``).

    Attributes
    ----------
    base_lrs : list of float
    last_epoch : int

    Examples
    --------
    >>> from schuss import nn, optim
    >>> class Halving(optim.lr_scheduler.LRScheduler):
    ...     def get_lr(self):
    ...         return [base / (1 + self.last_epoch) for base in self.base_lrs]
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    >>> scheduler = Halving(optimizer)
    >>> scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.05
    """

    optimizer: Optimizer
    base_lrs: list[float]
    last_epoch: int

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = checked_optimizer(optimizer)
        epoch = as_count(last_epoch, "last_epoch", least=-1)
        for number, group in enumerate(optimizer.param_groups):
            if epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"last_epoch: got {epoch}, but param_groups[{number}] has no initial_lr: load "
                    "the optimizer's state of that epoch first, or start with last_epoch=-1"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = epoch
        self._is_initial = True
        LRScheduler.step(self)
        self._is_initial = False

    def get_lr(self) -> list[float]:
        """The rate of each group at `last_epoch`; called by `step`, for subclasses to define."""
        return self._rates()

    def _rates(self) -> list[float]:
        raise NotImplementedError(f"{type(self).__name__} has no get_lr()")

    def get_last_lr(self) -> list[float]:
        """The rate of each group that the last `step` set."""
        return list(self._last_lr)

    def step(self) -> None:
        """One epoch more: give every group its rate.

        Raises
        ------
        ValueError
            The optimizer has got more groups than the schedule knows, or a rate is out of range.
        """
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ValueError(
                f"optimizer: it has {len(groups)} groups, and had {len(self.base_lrs)} when the "
                "schedule was made; add groups first"
            )
        self.last_epoch += 1
        try:
            rates = self.get_lr()
        except BaseException:
            self.last_epoch -= 1
            raise
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = rates_of(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave. The optimizer's rates are in the optimizer's state.

        Raises
        ------
        TypeError, ValueError
            `state_dict` is not what a schedule of this kind gave; nothing has changed.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict: got {type_name(state_dict)}; expected a dict")
        if set(state_dict) != set(self.state_dict()):
            raise ValueError(
                f"state_dict: got {sorted(state_dict)}; expected what the state_dict() of "
                f"another {type(self).__name__} gave"
            )
        vars(self).update(state_dict)

    def _scaled(self, factor: float) -> list[float]:
        return [_schuss.scheduled_product(rate, factor) for rate in rates_of(self.optimizer)]


# ---- arguments -----------------------------------------------------------------------------------


def rates_of(optimizer: Optimizer) -> list[float]:
    """Learning rates of the groups."""
    return [group["lr"] for group in optimizer.param_groups]


def checked_optimizer(optimizer: Any) -> Optimizer:
    """The argument, or a TypeError."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: got {type_name(optimizer)}; expected one of schuss.optim")
    return optimizer


def as_factor(value: Any, name: str) -> float:
    """A finite number that is not negative."""
    number = as_number(value, name)
    if not 0.0 <= number < float("inf"):
        raise ValueError(f"{name}: got {number}; expected a finite number that is not negative")
    return number


def as_share(value: Any, name: str, *, zero: bool) -> float:
    """A number of (0, 1], or with `zero` of [0, 1]."""
    number = as_number(value, name)
    if not (number >= 0.0 if zero else number > 0.0) or number > 1.0:
        interval = "[0, 1]" if zero else "(0, 1]"
        raise ValueError(f"{name}: got {number}; expected a number in {interval}")
    return number


def as_one_of(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """One of the words in `choices`."""
    if value not in choices:
        raise ValueError(f"{name}: got {value!r}; expected one of {', '.join(map(repr, choices))}")
    return str(value)

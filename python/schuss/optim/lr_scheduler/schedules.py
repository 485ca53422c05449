# SPDX-License-Identifier: MIT
"""Schedules that follow from the count of epochs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any

from schuss import _schuss
from schuss._options import as_count, as_number, known_options, type_name
from schuss.optim.lr_scheduler.base import (
    LRScheduler,
    as_factor,
    as_share,
    checked_optimizer,
    rates_of,
)

if TYPE_CHECKING:
    from schuss.optim.optimizer import Optimizer

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "PolynomialLR",
    "StepLR",
]


class LambdaLR(LRScheduler):
    """Each group's starting rate times a function of the epoch.

    Parameters
    ----------
    optimizer : optim.Optimizer
    lr_lambda : callable (epoch) -> factor, or a list of them, one a group
        The product is native; a factor has the bits that your function gives it.
    last_epoch : int, default -1

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=0.5)
    >>> scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    @known_options
    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        n_groups = len(checked_optimizer(optimizer).param_groups)
        several = isinstance(lr_lambda, (list, tuple))
        self.lr_lambdas: list[Any] = list(lr_lambda) if several else [lr_lambda] * n_groups  # type: ignore[arg-type]
        if len(self.lr_lambdas) != n_groups:
            raise ValueError(
                f"lr_lambda: got {len(self.lr_lambdas)} functions; expected {n_groups}, one a group"
            )
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"lr_lambda: got {type_name(function)}; expected a callable")
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[float]:
        return [
            _schuss.scheduled_product(base, as_number(function(self.last_epoch), "lr_lambda"))
            for base, function in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and plain functions; objects give their attributes."""
        state = super().state_dict()
        state["lr_lambdas"] = [
            None if isinstance(function, FunctionType) else dict(getattr(function, "__dict__", {}))
            for function in self.lr_lambdas
        ]
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave; plain functions stay the ones there are."""
        functions = self.lr_lambdas
        super().load_state_dict(state_dict)
        self.lr_lambdas = functions
        for function, attributes in zip(functions, state_dict["lr_lambdas"], strict=True):
            if attributes:
                vars(function).update(attributes)


class StepLR(LRScheduler):
    """The rate times `gamma` after every `step_size` epochs.

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for epoch in range(4):
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.25
    """

    @known_options
    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = as_count(step_size, "step_size")
        self.gamma = as_factor(gamma, "gamma")
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[float]:
        due = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return self._scaled(self.gamma) if due else rates_of(self.optimizer)


class MultiStepLR(LRScheduler):
    """The rate times `gamma` at each of the epochs `milestones`.

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> scheduler = optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> for epoch in range(4):
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.25
    """

    @known_options
    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = sorted(as_count(epoch, "milestones", least=0) for epoch in milestones)
        self.gamma = as_factor(gamma, "gamma")
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[float]:
        epoch, listed = self.last_epoch, self.milestones
        times = bisect_right(listed, epoch) - bisect_left(listed, epoch)
        return [
            _schuss.scheduled_power(rate, self.gamma, times) for rate in rates_of(self.optimizer)
        ]


class ConstantLR(LRScheduler):
    """The rate times `factor` for the first `total_iters` epochs.

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> scheduler = optim.lr_scheduler.ConstantLR(optimizer, factor=0.25, total_iters=3)
    >>> optimizer.param_groups[0]["lr"]
    0.25
    """

    @known_options
    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.factor = as_share(factor, "factor", zero=False)
        self.total_iters = as_count(total_iters, "total_iters", least=0)
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[float]:
        return [
            _schuss.scheduled_constant(rate, self.factor, self.total_iters, self.last_epoch)
            for rate in rates_of(self.optimizer)
        ]


class LinearLR(LRScheduler):
    """From `start_factor` to `end_factor` times the rate, in `total_iters` equal steps.

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> scheduler = optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=4)
    >>> scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.625
    """

    @known_options
    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = as_share(start_factor, "start_factor", zero=False)
        self.end_factor = as_share(end_factor, "end_factor", zero=True)
        self.total_iters = as_count(total_iters, "total_iters", least=0)
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[float]:
        if self._is_initial and self.last_epoch > 0:
            return rates_of(self.optimizer)
        options = (self.start_factor, self.end_factor, self.total_iters, self.last_epoch)
        return [_schuss.scheduled_linear(rate, *options) for rate in rates_of(self.optimizer)]


class ExponentialLR(LRScheduler):
    """The rate times `gamma` after every epoch.

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> scheduler = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> for epoch in range(3):
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.125
    """

    @known_options
    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = as_factor(gamma, "gamma")
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[float]:
        return rates_of(self.optimizer) if self._is_initial else self._scaled(self.gamma)


class PolynomialLR(LRScheduler):
    """The starting rate times ``(1 - epoch / total_iters) ** power``.

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> scheduler = optim.lr_scheduler.PolynomialLR(optimizer, total_iters=4, power=2.0)
    >>> scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.5625
    """

    @known_options
    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = as_count(total_iters, "total_iters", least=0)
        self.power = as_factor(power, "power")
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[float]:
        if self._is_initial:
            return rates_of(self.optimizer)
        return [
            _schuss.scheduled_polynomial(rate, self.power, self.total_iters, self.last_epoch)
            for rate in rates_of(self.optimizer)
        ]


class CosineAnnealingLR(LRScheduler):
    """Half a period of a cosine, from the starting rate to `eta_min` in `T_max` epochs, and back.

    Examples
    --------
    >>> from schuss import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    >>> for epoch in range(5):
    ...     scheduler.step()
    >>> round(optimizer.param_groups[0]["lr"], 12)
    0.5
    """

    @known_options
    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = as_count(T_max, "T_max")
        self.eta_min = as_factor(eta_min, "eta_min")
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[float]:
        if self._is_initial:
            return rates_of(self.optimizer)
        options = (self.eta_min, self.T_max, self.last_epoch)
        return [
            _schuss.scheduled_cosine(rate, base, *options)
            for rate, base in zip(rates_of(self.optimizer), self.base_lrs, strict=True)
        ]

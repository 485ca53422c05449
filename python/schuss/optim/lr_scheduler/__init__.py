# SPDX-License-Identifier: MIT
"""Learning rates that change with the epochs: PyTorch's names, formulas and state.

Each schedule writes ``optimizer.param_groups[i]["lr"]`` when it is made and at every `step`, which
comes after the epoch's updates. `schuss.fit` calls it when given ``scheduler=``. The numbers are
computed natively, with the same bits on every machine.
"""

from schuss.optim.lr_scheduler.base import LRScheduler
from schuss.optim.lr_scheduler.plateau import ReduceLROnPlateau
from schuss.optim.lr_scheduler.schedules import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "StepLR",
]

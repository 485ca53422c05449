# SPDX-License-Identifier: MIT
"""Optimizers, with PyTorch's names and formulas."""

from schuss.optim import lr_scheduler
from schuss.optim.adam import Adam, AdamW
from schuss.optim.optimizer import Optimizer, ParamGroup
from schuss.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "ParamGroup", "lr_scheduler"]

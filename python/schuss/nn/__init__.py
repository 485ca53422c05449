# SPDX-License-Identifier: MIT
"""Layers, activations, losses and containers, with PyTorch's names."""

from schuss._schuss import Parameter
from schuss.nn import functional, init, utils
from schuss.nn.activation import (
    ELU,
    GELU,
    Identity,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Step,
    Tanh,
)
from schuss.nn.container import Sequential
from schuss.nn.dropout import Dropout
from schuss.nn.flatten import Flatten
from schuss.nn.linear import Linear
from schuss.nn.lists import ModuleDict, ModuleList, ParameterDict, ParameterList
from schuss.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from schuss.nn.module import Module

__all__ = [
    "ELU",
    "GELU",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "HuberLoss",
    "Identity",
    "L1Loss",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Step",
    "Tanh",
    "functional",
    "init",
    "utils",
]

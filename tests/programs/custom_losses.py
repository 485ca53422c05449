# SPDX-License-Identifier: MIT
"""Losses written as expressions: quantile, log-cosh, and a weighted square."""

import numpy as np
import torch
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(21)
x = torch.tensor(rng.normal(size=(60, 2)), dtype=dtype)
noise = torch.tensor(rng.standard_t(3, (60, 1)), dtype=dtype)
y = x @ torch.tensor([[2.0], [-1.0]], dtype=dtype) + 0.3 * noise
importance = torch.tensor(rng.uniform(0.5, 1.5, (60, 1)), dtype=dtype)


def quantile(prediction, target):
    """Charge three times as much for too little."""
    error = target - prediction
    return torch.maximum(0.75 * error, -0.25 * error).mean()


def log_cosh(prediction, target):
    """Be square near zero and straight far off."""
    error = prediction - target
    return torch.log((torch.exp(error) + torch.exp(-error)) / 2).mean()


def weighted_square(prediction, target):
    """Let some rows count more."""
    return (importance * (prediction - target).pow(2)).sum() / importance.sum()


result = {}
for loss_fn in (quantile, log_cosh, weighted_square):
    model = nn.Linear(2, 1, dtype=dtype)
    model.load_state_dict(
        {
            "weight": torch.tensor([[0.1, 0.2]], dtype=dtype),
            "bias": torch.tensor([0.0], dtype=dtype),
        }
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(120):
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    result[loss_fn.__name__] = losses
    result[loss_fn.__name__ + "_weight"] = model.weight.tolist()

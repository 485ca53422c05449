# SPDX-License-Identifier: MIT
"""Huber's loss as an expression beside the ready one, on data with outliers."""

import numpy as np
import torch
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(91)
rows = rng.normal(size=(40, 1))
line = 2.0 * rows + 1.0
line[::10] += 20.0
x, y = torch.tensor(rows, dtype=dtype), torch.tensor(line, dtype=dtype)


def huber(prediction, target, delta=1.0):
    """Be a square up to delta and a line beyond."""
    size = (prediction - target).abs()
    inside = torch.clamp(size, max=delta)
    return (0.5 * inside**2 + delta * (size - inside)).mean()


result = {}
for name, loss_fn in (("by_hand", huber), ("ready", nn.HuberLoss()), ("square", nn.MSELoss())):
    model = nn.Linear(1, 1, dtype=dtype)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(150):
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    result[name] = losses
    result[name + "_line"] = [model.weight.item(), model.bias.item()]

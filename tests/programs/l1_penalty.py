# SPDX-License-Identifier: MIT
"""A penalty on absolute values drives the weights that do not matter towards zero."""

import numpy as np
import torch
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(83)
rows = rng.normal(size=(60, 8))
x = torch.tensor(rows, dtype=dtype)
y = torch.tensor(rows[:, :2] @ np.array([[2.0], [-3.0]]), dtype=dtype)

model = nn.Linear(8, 1, dtype=dtype)
nn.init.constant_(model.weight, 0.5)
nn.init.zeros_(model.bias)
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
losses, penalties = [], []
for step in range(300):
    loss = nn.functional.mse_loss(model(x), y)
    penalty = model.weight.abs().sum()
    optimizer.zero_grad()
    (loss + 0.1 * penalty).backward()
    optimizer.step()
    losses.append(loss.item())
    penalties.append(penalty.item())

result = {"losses": losses, "penalties": penalties}

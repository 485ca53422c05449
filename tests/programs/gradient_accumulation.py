# SPDX-License-Identifier: MIT
"""Gradients of four small batches add up to one step; the same as the large batch in one."""

import copy

import numpy as np
import torch
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(33)
x = torch.tensor(rng.normal(size=(32, 4)), dtype=dtype)
y = torch.tensor(rng.normal(size=(32, 2)), dtype=dtype)

model = nn.Sequential(nn.Linear(4, 6, dtype=dtype), nn.Tanh(), nn.Linear(6, 2, dtype=dtype))
with torch.no_grad():
    for parameter in model.parameters():
        parameter.copy_(torch.tensor(rng.normal(0.0, 0.4, tuple(parameter.shape)), dtype=dtype))
whole = copy.deepcopy(model)
criterion = nn.MSELoss()

optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
whole_optimizer = torch.optim.SGD(whole.parameters(), lr=0.2)
losses, whole_losses = [], []
for step in range(40):
    optimizer.zero_grad()
    total = 0.0
    for part in range(4):
        rows = slice(8 * part, 8 * part + 8)
        loss = criterion(model(x[rows]), y[rows]) / 4
        loss.backward()
        total += loss.item()
    optimizer.step()
    losses.append(total)

    whole_optimizer.zero_grad()
    loss = criterion(whole(x), y)
    loss.backward()
    whole_optimizer.step()
    whole_losses.append(loss.item())

result = {"losses": losses, "whole": whole_losses}
result["weights"] = [parameter.tolist() for parameter in model[0].parameters()]

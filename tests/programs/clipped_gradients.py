# SPDX-License-Identifier: MIT
"""Steps that would be too large, cut to a length; the loss stays level where they are not cut."""

import torch
from torch import nn, optim

dtype = torch.float64

angle = torch.arange(40, dtype=dtype) * 0.4
x = torch.stack([torch.cos(angle), torch.sin(angle)], dim=1) * (1 + angle[:, None] / 4)
y = torch.stack([angle % 1.5, torch.floor(angle) % 3], dim=-1)


def train(limit):
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            count = parameter.numel()
            values = torch.sin(torch.arange(count, dtype=dtype) * 1.7 + number)
            parameter.copy_(values.reshape(parameter.shape) * 0.6)
    optimizer = optim.SGD(model.parameters(), lr=0.3)
    losses, norms = [], []
    for _ in range(60):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), limit)))
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


free, _ = train(1e9)
clipped, norms = train(0.5)
result = {"free": free, "clipped": clipped, "norms": norms}

# SPDX-License-Identifier: MIT
"""Features of unlike sizes: centred and scaled with statistics of the training part."""

import numpy as np
import torch
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(107)
raw = rng.normal(size=(45, 3)) * np.array([1.0, 50.0, 0.01]) + np.array([10.0, -200.0, 0.5])
price = (raw - raw.mean(axis=0)) @ np.array([[1.0], [0.02], [100.0]])

x, y = torch.from_numpy(raw).to(dtype), torch.from_numpy(price).to(dtype)
mean = x.mean(dim=0)
spread = ((x - mean) ** 2).mean(dim=0).sqrt()
scaled = (x - mean) / spread

model = nn.Linear(3, 1, dtype=dtype)
nn.init.zeros_(model.weight)
nn.init.zeros_(model.bias)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
losses = []
for step in range(100):
    loss = nn.MSELoss()(model(scaled), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

result = {"losses": losses, "mean": mean.tolist(), "spread": spread.tolist()}
result["extremes"] = [scaled.min().item(), scaled.max().item()]

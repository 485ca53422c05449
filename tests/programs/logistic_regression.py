# SPDX-License-Identifier: MIT
"""Logistic regression on two clouds of points, the cost written out."""

import numpy as np
import torch

dtype = torch.float64
rng = np.random.default_rng(0)
points = np.concatenate([rng.normal(-1.0, 1.0, (40, 2)), rng.normal(1.0, 1.0, (40, 2))])

x = torch.tensor(points, dtype=dtype)
y = torch.cat([torch.zeros(40, 1, dtype=dtype), torch.ones(40, 1, dtype=dtype)])
W = torch.zeros((2, 1), dtype=dtype, requires_grad=True)
b = torch.zeros(1, dtype=dtype, requires_grad=True)
optimizer = torch.optim.SGD([W, b], lr=0.5)

costs = []
for epoch in range(200):
    hypothesis = torch.sigmoid(x @ W + b)
    cost = -(y * torch.log(hypothesis) + (1 - y) * torch.log(1 - hypothesis)).mean()
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
    costs.append(cost.item())

with torch.no_grad():
    right = ((torch.sigmoid(x @ W + b) > 0.5) == (y > 0.5)).sum().item()

result = {"costs": costs, "W": W.tolist(), "b": b.tolist(), "right": right}

# SPDX-License-Identifier: MIT
"""Three targets at once: a matrix of weights as a Parameter of a module of one's own."""

import numpy as np
import torch
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(97)
rows = rng.normal(size=(36, 4))
x = torch.tensor(rows, dtype=dtype)
y = torch.tensor(rows @ rng.normal(size=(4, 3)) + np.array([1.0, 0.0, -1.0]), dtype=dtype)


class Affine(nn.Module):
    """x @ weight + bias with parameters made of tensors."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 3, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(3, dtype=dtype))
        self.register_buffer("scale", torch.tensor([1.0, 0.5, 2.0], dtype=dtype))

    def forward(self, x):
        """Give three columns."""
        return x @ self.weight + self.bias


model = Affine()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
losses = []
for step in range(120):
    residual = model(x) - y
    loss = (model.scale * residual**2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

result = {"losses": losses, "weight": model.weight.tolist(), "bias": model.bias.tolist()}
result["columns"] = (residual**2).mean(dim=0).tolist()

# SPDX-License-Identifier: MIT
"""The line through thirty points once more, with a layer, a criterion and an optimizer."""

import torch
from torch import nn, optim

dtype = torch.float64

x = torch.linspace(1, 30, 30, dtype=dtype).view(-1, 1)
y = torch.tensor(
    [0.94, 1.98, 2.88, 3.92, 3.96, 4.55, 5.64, 6.3, 7.44, 9.1, 8.46, 9.5, 10.67, 11.16, 14.0,
     11.83, 14.4, 14.25, 16.2, 16.32, 17.46, 19.8, 18.0, 21.34, 22.0, 22.5, 24.57, 26.04, 21.6,
     28.8],
    dtype=dtype,
).view(-1, 1)  # fmt: skip
model = nn.Linear(1, 1, dtype=dtype)
nn.init.zeros_(model.weight)
nn.init.zeros_(model.bias)
criterion = nn.MSELoss()
optimizer = optim.SGD(model.parameters(), lr=0.001)

costs, weights, biases = [], [], []
for epoch in range(2_000):
    cost = criterion(model(x), y)
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
    costs.append(cost.item())
    weights.append(model.weight.item())
    biases.append(model.bias.item())

result = {"costs": costs, "weights": weights, "biases": biases}

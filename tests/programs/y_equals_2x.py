# SPDX-License-Identifier: MIT
"""y = 2x from three points: an optimizer over bare tensors, then the weight by itself."""

import torch
from torch import optim

dtype = torch.float64

x_train = torch.tensor([[1], [2], [3]], dtype=dtype)
y_train = torch.tensor([[2], [4], [6]], dtype=dtype)

W = torch.zeros(1, dtype=dtype, requires_grad=True)
b = torch.zeros(1, dtype=dtype, requires_grad=True)
optimizer = optim.SGD([W, b], lr=0.01)
costs, weights, biases = [], [], []
for epoch in range(1_000):
    hypothesis = x_train * W + b
    cost = torch.mean((hypothesis - y_train) ** 2)
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
    costs.append(cost.item())
    weights.append(W.item())
    biases.append(b.item())

V = torch.zeros(1, dtype=dtype)
alone, alone_costs = [], []
for epoch in range(10):
    hypothesis = x_train * V
    alone.append(V.item())
    alone_costs.append(torch.mean((hypothesis - y_train) ** 2).item())
    gradient = 2 * torch.mean((V * x_train - y_train) * x_train)
    V -= 0.1 * gradient

result = {
    "costs": costs,
    "weights": weights,
    "biases": biases,
    "alone": alone,
    "alone_costs": alone_costs,
}

# SPDX-License-Identifier: MIT
"""A straight line through thirty points: a bare weight and bias, descent by hand."""

import torch

dtype = torch.float64

x = torch.arange(1, 31, dtype=dtype)
y = torch.tensor(
    [0.94, 1.98, 2.88, 3.92, 3.96, 4.55, 5.64, 6.3, 7.44, 9.1, 8.46, 9.5, 10.67, 11.16, 14.0,
     11.83, 14.4, 14.25, 16.2, 16.32, 17.46, 19.8, 18.0, 21.34, 22.0, 22.5, 24.57, 26.04, 21.6,
     28.8],
    dtype=dtype,
)  # fmt: skip
weight = torch.zeros(1, dtype=dtype, requires_grad=True)
bias = torch.zeros(1, dtype=dtype, requires_grad=True)

costs, weights, biases = [], [], []
for epoch in range(10_000):
    hypothesis = weight * x + bias
    cost = torch.mean((hypothesis - y) ** 2)
    cost.backward()
    with torch.no_grad():
        weight -= 0.001 * weight.grad
        bias -= 0.001 * bias.grad
    weight.grad.zero_()
    bias.grad.zero_()
    costs.append(cost.item())
    weights.append(weight.item())
    biases.append(bias.item())

result = {"costs": costs, "weights": weights, "biases": biases}

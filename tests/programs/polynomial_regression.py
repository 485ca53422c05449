# SPDX-License-Identifier: MIT
"""A cubic through a sine, its powers stacked as columns."""

import torch

dtype = torch.float64

x = torch.linspace(-1, 1, 50, dtype=dtype)
y = 0.5 * x**3 - x + 0.2
powers = torch.stack([torch.ones(50, dtype=dtype), x, x**2, x**3], dim=1)
coefficients = torch.zeros(4, dtype=dtype, requires_grad=True)

losses = []
for step in range(1_000):
    prediction = (powers * coefficients).sum(dim=1)
    loss = (prediction - y).pow(2).mean()
    loss.backward()
    with torch.no_grad():
        coefficients -= 0.4 * coefficients.grad
        coefficients.grad.zero_()
    losses.append(loss.item())

result = {"losses": losses, "coefficients": coefficients.tolist()}

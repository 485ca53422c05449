# SPDX-License-Identifier: MIT
"""A cubic that follows a sine: coefficients as bare tensors, gradients by `autograd.grad`."""

import torch

dtype = torch.float64

x = torch.linspace(-3, 3, 61, dtype=dtype)
y = torch.sin(x) + 0.2 * torch.cos(2 * x)
coefficients = [torch.full((), 0.1, dtype=dtype, requires_grad=True) for _ in range(4)]

losses, norms = [], []
for step in range(300):
    prediction = sum(c * x**power for power, c in enumerate(coefficients))
    loss = (prediction - y).square().mean()
    slopes = torch.autograd.grad(loss, coefficients)
    with torch.no_grad():
        for c, slope in zip(coefficients, slopes, strict=True):
            c -= 0.002 * slope
    losses.append(loss.item())
    norms.append(torch.stack(list(slopes)).norm().item())

result = {"losses": losses, "norms": norms, "coefficients": [c.item() for c in coefficients]}

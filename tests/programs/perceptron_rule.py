# SPDX-License-Identifier: MIT
"""A neuron learns AND, OR and NAND by its sigmoid; all three weights in one matrix."""

import torch

dtype = torch.float64

x = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=dtype)
targets = torch.tensor([[0, 0, 1], [0, 1, 1], [0, 1, 1], [1, 1, 0]], dtype=dtype)
W = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
b = torch.zeros(3, dtype=dtype, requires_grad=True)

losses = []
for step in range(500):
    output = 1 / (1 + torch.exp(-(x @ W + b)))
    loss = ((output - targets) ** 2).sum()
    loss.backward()
    with torch.no_grad():
        for parameter in (W, b):
            parameter -= parameter.grad
            parameter.grad.zero_()
    losses.append(loss.item())

result = {"losses": losses, "W": W.tolist(), "b": b.tolist()}
result["table"] = (output > 0.5).tolist()

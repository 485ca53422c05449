# SPDX-License-Identifier: MIT
"""The same start under several learning rates; one is too small and one too large."""

import torch

dtype = torch.float64

x = torch.linspace(-1, 1, 21, dtype=dtype)
y = 3 * x - 1

finals, series = [], {}
for lr in (0.001, 0.01, 0.1, 0.5, 1.1):
    params = torch.zeros(2, dtype=dtype, requires_grad=True)
    optimizer = torch.optim.SGD([params], lr=lr)
    losses = []
    for _ in range(40):
        loss = ((params[0] * x + params[1] - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    finals.append(losses[-1])
    series[f"lr {lr}"] = losses

best = min(range(len(finals)), key=lambda i: finals[i])
result = {"finals": finals, "best": best, **series}

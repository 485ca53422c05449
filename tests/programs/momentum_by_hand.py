# SPDX-License-Identifier: MIT
"""Momentum and Nesterov written out beside the optimizer's."""

import torch

dtype = torch.float64
scale = torch.tensor([1.0, 10.0, 50.0], dtype=dtype)
start = [1.0, -2.0, 0.5]


def valley(w):
    """Be steep in one direction and flat in another."""
    return (scale * w**2).sum() / 2


result = {}
for name, nesterov in (("momentum", False), ("nesterov", True)):
    w = torch.tensor(start, dtype=dtype, requires_grad=True)
    velocity = torch.zeros_like(w)
    by_hand = []
    for _ in range(80):
        value = valley(w)
        value.backward()
        with torch.no_grad():
            velocity = 0.9 * velocity + w.grad
            w -= 0.01 * (w.grad + 0.9 * velocity if nesterov else velocity)
            w.grad.zero_()
        by_hand.append(value.item())

    v = torch.tensor(start, dtype=dtype, requires_grad=True)
    optimizer = torch.optim.SGD([v], lr=0.01, momentum=0.9, nesterov=nesterov)
    ready = []
    for _ in range(80):
        value = valley(v)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        ready.append(value.item())
    result[name] = by_hand
    result[name + " ready"] = ready
    result[name + " w"] = torch.stack([w.detach(), v.detach()]).tolist()

# SPDX-License-Identifier: MIT
"""Descent on (w - 1)^2 + 2 with several step sizes; one of them diverges."""

import torch

dtype = torch.float64


def descend(start, rate, steps):
    """Give the path of w."""
    w = torch.tensor(start, dtype=dtype, requires_grad=True)
    path = [w.item()]
    for _ in range(steps):
        value = (w - 1) ** 2 + 2
        value.backward()
        with torch.no_grad():
            w -= rate * w.grad
        w.grad = None
        path.append(w.item())
    return path


result = {
    "one_step": descend(5.0, 0.1, 1),
    "good": descend(2.0, 0.4, 100),
    "slow": descend(2.0, 0.001, 100),
    "diverges": descend(2.0, 10.0, 12),
}

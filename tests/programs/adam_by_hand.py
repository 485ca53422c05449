# SPDX-License-Identifier: MIT
"""Adam written out beside the optimizer's, on a curved valley."""

import torch

dtype = torch.float64


def banana(p):
    """Rosenbrock's function."""
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


p = torch.tensor([-1.2, 1.0], dtype=dtype, requires_grad=True)
first = torch.zeros(2, dtype=dtype)
second = torch.zeros(2, dtype=dtype)
by_hand = []
for t in range(1, 201):
    value = banana(p)
    value.backward()
    with torch.no_grad():
        g = p.grad
        first = 0.9 * first + 0.1 * g
        second = 0.999 * second + 0.001 * g * g
        step = first / (1 - 0.9**t) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        p -= 0.02 * step
        p.grad.zero_()
    by_hand.append(value.item())

q = torch.tensor([-1.2, 1.0], dtype=dtype, requires_grad=True)
optimizer = torch.optim.Adam([q], lr=0.02)
ready = []
for _ in range(200):
    value = banana(q)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    ready.append(value.item())

result = {"by_hand": by_hand, "ready": ready, "p": p.tolist(), "q": q.tolist()}

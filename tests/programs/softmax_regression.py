# SPDX-License-Identifier: MIT
"""Softmax regression on eight samples, with bare tensors and with the functional cost."""

import torch
import torch.nn.functional as F

dtype = torch.float64

x = torch.tensor(
    [[1, 2, 1, 1], [2, 1, 3, 2], [3, 1, 3, 4], [4, 1, 5, 5], [1, 7, 5, 5], [1, 2, 5, 6],
     [1, 6, 6, 6], [1, 7, 7, 7]],
    dtype=dtype,
)  # fmt: skip
y = torch.LongTensor([2, 2, 2, 1, 1, 1, 0, 0])


def train(cost_of):
    """Descend from zero with a cost of the logits."""
    W = torch.zeros((4, 3), dtype=dtype, requires_grad=True)
    b = torch.zeros((1, 3), dtype=dtype, requires_grad=True)
    optimizer = torch.optim.SGD([W, b], lr=0.1)
    costs = []
    for _ in range(300):
        cost = cost_of(x.matmul(W) + b)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    return costs, W.tolist()


one_hot = torch.zeros((8, 3), dtype=dtype)
one_hot[torch.arange(8), y] = 1.0
written, W1 = train(lambda z: (one_hot * -torch.log(F.softmax(z, dim=1))).sum(dim=1).mean())
ready, W2 = train(lambda z: F.cross_entropy(z, y))

result = {"written": written, "ready": ready, "W1": W1, "W2": W2}

# SPDX-License-Identifier: MIT
"""Weight decay written into the cost, and the same as the optimizer's option."""

import numpy as np
import torch
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(41)
x = torch.tensor(rng.normal(size=(20, 6)), dtype=dtype)
y = torch.tensor(rng.normal(size=(20, 1)), dtype=dtype)
start = torch.tensor(rng.normal(size=(1, 6)), dtype=dtype)


def train(decay_in_cost, decay_in_optimizer):
    """Give the losses without the penalty, and the weight."""
    model = nn.Linear(6, 1, bias=False, dtype=dtype)
    model.load_state_dict({"weight": start})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, weight_decay=decay_in_optimizer)
    losses = []
    for _ in range(100):
        loss = torch.mean((model(x) - y) ** 2)
        penalty = sum((p**2).sum() for p in model.parameters())
        cost = loss + decay_in_cost / 2 * penalty
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.weight.tolist()


by_cost, weight_by_cost = train(0.3, 0.0)
by_option, weight_by_option = train(0.0, 0.3)
result = {
    "by_cost": by_cost,
    "by_option": by_option,
    "weight_by_cost": weight_by_cost,
    "weight_by_option": weight_by_option,
}

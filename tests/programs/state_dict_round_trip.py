# SPDX-License-Identifier: MIT
"""Training stopped, carried over into a new model and a new optimizer, and gone on with."""

import numpy as np
import torch
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(103)
x = torch.tensor(rng.normal(size=(24, 3)), dtype=dtype)
y = torch.tensor(rng.normal(size=(24, 1)), dtype=dtype)
starts = [rng.normal(0.0, 0.5, shape) for shape in ((5, 3), (5,), (1, 5), (1,))]


def build():
    """Give a model and its optimizer."""
    model = nn.Sequential(nn.Linear(3, 5, dtype=dtype), nn.Sigmoid(), nn.Linear(5, 1, dtype=dtype))
    return model, torch.optim.Adam(model.parameters(), lr=0.05)


def train(model, optimizer, steps):
    """Give the losses."""
    losses = []
    for _ in range(steps):
        loss = nn.MSELoss()(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


straight, straight_optimizer = build()
with torch.no_grad():
    for parameter, start in zip(straight.parameters(), starts, strict=True):
        parameter.copy_(torch.tensor(start, dtype=dtype))
stopped, stopped_optimizer = build()
stopped.load_state_dict(straight.state_dict())

whole = train(straight, straight_optimizer, 60)
half = train(stopped, stopped_optimizer, 30)
resumed, resumed_optimizer = build()
resumed.load_state_dict(stopped.state_dict())
resumed_optimizer.load_state_dict(stopped_optimizer.state_dict())
rest = train(resumed, resumed_optimizer, 30)

result = {"whole": whole, "in_two_halves": half + rest}
result["names"] = [len(name) for name in resumed.state_dict()]

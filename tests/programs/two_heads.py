# SPDX-License-Identifier: MIT
"""Two heads on one encoder: a class and a number from the same features, with one cost."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(55)
features = rng.normal(size=(48, 5))
x = torch.tensor(features, dtype=dtype)
number = torch.tensor(np.tanh(features[:, :1]), dtype=dtype)
kind = torch.tensor((features[:, 1] > 0).astype(np.int64) + (features[:, 2] > 0))


class TwoHeads(nn.Module):
    """A shared layer, and a dictionary of heads."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(5, 12, dtype=dtype), nn.Tanh())
        self.heads = nn.ModuleDict(
            {"number": nn.Linear(12, 1, dtype=dtype), "kind": nn.Linear(12, 3, dtype=dtype)}
        )

    def forward(self, x):
        """Give both predictions."""
        shared = self.encoder(x)
        return self.heads["number"](shared), self.heads["kind"](shared)


model = TwoHeads()
with torch.no_grad():
    for parameter in model.parameters():
        parameter.copy_(torch.tensor(rng.normal(0.0, 0.3, tuple(parameter.shape)), dtype=dtype))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
costs, errors = [], []
for step in range(150):
    predicted, logits = model(x)
    error = F.mse_loss(predicted, number)
    cost = error + 0.5 * F.cross_entropy(logits, kind)
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
    costs.append(cost.item())
    errors.append(error.item())

result = {"costs": costs, "errors": errors, "encoder": model.encoder[0].weight.tolist()}

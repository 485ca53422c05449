# SPDX-License-Identifier: MIT
"""A data set of one's own, sampled in a fixed random order, and a linear model."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

dtype = torch.float64
rng = np.random.default_rng(12)
rows = rng.normal(size=(50, 3))
values = rows @ np.array([1.0, -2.0, 0.5]) + 0.25


class Table(Dataset):
    """Rows of a table, and a column of it."""

    def __init__(self, rows, values):
        self.rows = torch.tensor(rows, dtype=dtype)
        self.values = torch.tensor(values, dtype=dtype)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index], self.values[index]


table = Table(rows, values)
order = [int(i) for i in rng.permutation(40)]
train = DataLoader(table, batch_size=8, sampler=order)
held_out = DataLoader(Subset(table, range(40, 50)), batch_size=10)

model = nn.Linear(3, 1, dtype=dtype)
nn.init.zeros_(model.weight)
nn.init.constant_(model.bias, 0.5)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
losses, held_out_losses = [], []
for epoch in range(30):
    for x, y in train:
        loss = torch.mean((model(x).squeeze(1) - y) ** 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    for x, y in held_out:
        held_out_losses.append(torch.mean((model(x).squeeze(1) - y) ** 2).item())

result = {"losses": losses, "held_out": held_out_losses, "weight": model.weight.tolist()}

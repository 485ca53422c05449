# SPDX-License-Identifier: MIT
"""The thermometer with two readings held out, whose loss is watched without a graph."""

import torch
from torch import optim

dtype = torch.float64

t_c = torch.tensor([0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0], dtype=dtype)
t_u = torch.tensor([35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4], dtype=dtype)
train, held_out = torch.tensor([0, 2, 3, 5, 6, 7, 8, 9, 10]), torch.tensor([1, 4])
train_u, train_c = 0.1 * t_u[train], t_c[train]
valid_u, valid_c = 0.1 * t_u[held_out], t_c[held_out]

params = torch.tensor([1.0, 0.0], dtype=dtype, requires_grad=True)
optimizer = optim.SGD([params], lr=1e-2)
train_losses, valid_losses = [], []
for epoch in range(1, 2_001):
    train_loss = ((params[0] * train_u + params[1] - train_c) ** 2).mean()
    with torch.no_grad():
        valid_loss = ((params[0] * valid_u + params[1] - valid_c) ** 2).mean()
        assert not valid_loss.requires_grad
    optimizer.zero_grad()
    train_loss.backward()
    optimizer.step()
    if epoch <= 3 or epoch % 500 == 0:
        train_losses.append(train_loss.item())
        valid_losses.append(valid_loss.item())

result = {"train": train_losses, "valid": valid_losses, "params": params.tolist()}

# SPDX-License-Identifier: MIT
"""Training stops when the validation loss has not improved for a while; the best state returns."""

import copy

import numpy as np
import torch
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(77)
rows = rng.normal(size=(30, 12))
noisy = rows[:, :1] + 0.8 * rng.normal(size=(30, 1))
x, y = torch.tensor(rows, dtype=dtype), torch.tensor(noisy, dtype=dtype)
train_x, valid_x, train_y, valid_y = x[:15], x[15:], y[:15], y[15:]

model = nn.Sequential(nn.Linear(12, 16, dtype=dtype), nn.Tanh(), nn.Linear(16, 1, dtype=dtype))
with torch.no_grad():
    for parameter in model.parameters():
        parameter.copy_(torch.tensor(rng.normal(0.0, 0.3, tuple(parameter.shape)), dtype=dtype))
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

best, patience, waited, best_state = float("inf"), 10, 0, None
train_losses, valid_losses = [], []
for epoch in range(300):
    model.train()
    loss = criterion(model(train_x), train_y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        valid = criterion(model(valid_x), valid_y).item()
    train_losses.append(loss.item())
    valid_losses.append(valid)
    if valid < best:
        best, waited = valid, 0
        best_state = copy.deepcopy(model.state_dict())
    else:
        waited += 1
        if waited == patience:
            break

model.load_state_dict(best_state)
with torch.no_grad():
    again = criterion(model(valid_x), valid_y).item()
result = {
    "epochs": len(train_losses),
    "train": train_losses,
    "valid": valid_losses,
    "best": best,
    "again": again,
}

# SPDX-License-Identifier: MIT
"""Windows of a wave: layers on three dimensions, the mean over time, a class for each window."""

import torch
from torch import nn

dtype = torch.float64

time = torch.arange(12, dtype=dtype) / 12
speed = torch.tensor([1.0, 2.0, 1.1, 2.2, 0.9, 1.8, 1.2, 2.1], dtype=dtype)
phase = torch.arange(8, dtype=dtype)[:, None] / 3
wave = torch.sin(speed[:, None] * time * 6 + phase)
windows = torch.stack([wave, wave.flip(1)], dim=2)  # (8, 12, 2)
labels = (speed > 1.5).long()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.each = nn.Sequential(nn.Linear(2, 6), nn.ReLU())
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.each(x).mean(dim=1))


model = Net().to(dtype)
with torch.no_grad():
    for parameter in model.parameters():
        count = parameter.numel()
        values = torch.cos(torch.arange(count, dtype=dtype) * 2.3 + 1)
        parameter.copy_(values.reshape(parameter.shape))

losses, right = [], []
for _ in range(80):
    logits = model(windows)
    loss = nn.functional.cross_entropy(logits, labels)
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.5 * parameter.grad
    losses.append(loss.item())
    right.append((logits.argmax(dim=1) == labels).double().mean().item())

one = model.each(windows[0])  # a layer takes any dimensions before the features,
single = model.each(windows[0, 0])  # or none
result = {
    "losses": losses,
    "right": right,
    "one": one.detach().flatten().tolist(),
    "single": single.detach().tolist(),
    "best": logits.detach().topk(1, dim=1).values.flatten().tolist(),
}

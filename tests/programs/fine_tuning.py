# SPDX-License-Identifier: MIT
"""A trained body is frozen, its head replaced and trained alone; then all with two rates."""

import numpy as np
import torch
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(101)
x = torch.tensor(rng.normal(size=(40, 4)), dtype=dtype)
first_y = torch.tanh(x.sum(dim=1, keepdim=True))
second_y = torch.cat([first_y**2, x[:, :1]], dim=1)


def layer(n_in, n_out):
    """Make a layer whose start both libraries share."""
    made = nn.Linear(n_in, n_out, dtype=dtype)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(rng.normal(0.0, 0.4, (n_out, n_in)), dtype=dtype))
        made.bias.zero_()
    return made


def train(model, optimizer, target, steps):
    """Give the losses."""
    losses = []
    for _ in range(steps):
        loss = nn.functional.mse_loss(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


body = nn.Sequential(layer(4, 10), nn.Tanh())
model = nn.Sequential(body, layer(10, 1))
pretrained = train(model, torch.optim.SGD(model.parameters(), lr=0.1), first_y, 60)

for parameter in body.parameters():
    parameter.requires_grad = False
frozen = body[0].weight.detach().numpy().copy()
model[1] = layer(10, 2)
trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
head_only = train(model, torch.optim.SGD(trainable, lr=0.1), second_y, 60)
unmoved = bool((body[0].weight.detach().numpy() == frozen).all())

body.requires_grad_(True)
groups = [{"params": body.parameters(), "lr": 0.01}, {"params": model[1].parameters()}]
both = train(model, torch.optim.SGD(groups, lr=0.1, momentum=0.9), second_y, 60)

result = {"pretrained": pretrained, "head_only": head_only, "unmoved": unmoved, "both": both}

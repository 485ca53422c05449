# SPDX-License-Identifier: MIT
"""Eight numbers through a neck of three, and back."""

import numpy as np
import torch
from torch import nn

dtype = torch.float64
rng = np.random.default_rng(61)
x = torch.tensor(rng.normal(size=(40, 3)) @ rng.normal(size=(3, 8)) / 3, dtype=dtype)


class AutoEncoder(nn.Module):
    """Encoder and decoder, each a Sequential."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(8, 6, dtype=dtype), nn.Tanh(), nn.Linear(6, 3, dtype=dtype)
        )
        self.decoder = nn.Sequential(
            nn.Linear(3, 6, dtype=dtype), nn.Tanh(), nn.Linear(6, 8, dtype=dtype)
        )

    def forward(self, x):
        """Give the reconstruction."""
        return self.decoder(self.encoder(x))


def start(module):
    """Fill a layer with values that both libraries share."""
    if isinstance(module, nn.Linear):
        with torch.no_grad():
            shape = tuple(module.weight.shape)
            module.weight.copy_(torch.tensor(rng.normal(0.0, 0.4, shape), dtype=dtype))
            module.bias.zero_()


model = AutoEncoder().apply(start)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
losses = []
for epoch in range(200):
    rebuilt = model(x)
    loss = nn.functional.mse_loss(rebuilt, x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

with torch.no_grad():
    code = model.encoder(x[:5])
result = {"losses": losses, "code": code.tolist()}

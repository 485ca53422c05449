# SPDX-License-Identifier: MIT
"""XOR with a module of one's own."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim

dtype = torch.float64
rng = np.random.default_rng(4)


class XorNet(nn.Module):
    """Two layers with a tanh between them."""

    def __init__(self, hidden):
        super().__init__()
        self.fc1 = nn.Linear(2, hidden, dtype=dtype)
        self.fc2 = nn.Linear(hidden, 1, dtype=dtype)

    def forward(self, x):
        """Give the logit."""
        return self.fc2(torch.tanh(self.fc1(x)))


X = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=dtype)
Y = torch.tensor([[0], [1], [1], [0]], dtype=dtype)
model = XorNet(8)
with torch.no_grad():
    for parameter in model.parameters():
        parameter.copy_(torch.tensor(rng.normal(0.0, 0.7, tuple(parameter.shape)), dtype=dtype))
optimizer = optim.SGD(model.parameters(), lr=0.5)

losses = []
model.train()
for step in range(400):
    optimizer.zero_grad()
    loss = F.binary_cross_entropy_with_logits(model(X), Y)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

model.eval()
with torch.no_grad():
    predicted = (torch.sigmoid(model(X)) > 0.5).tolist()

result = {
    "losses": losses,
    "predicted": predicted,
    **{name: parameter.tolist() for name, parameter in model.named_parameters()},
}

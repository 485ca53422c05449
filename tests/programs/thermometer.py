# SPDX-License-Identifier: MIT
"""A thermometer of unknown units: one parameter vector, its gradient zeroed by hand, then Adam."""

import torch
from torch import optim

dtype = torch.float64

t_c = torch.tensor([0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0], dtype=dtype)
t_u = torch.tensor([35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4], dtype=dtype)
t_un = 0.1 * t_u


def model(t_u, w, b):
    """Give the reading in known units."""
    return w * t_u + b


def loss_fn(t_p, t_c):
    """Give the mean squared difference."""
    squared_diffs = (t_p - t_c) ** 2
    return squared_diffs.mean()


def training_loop(n_epochs, learning_rate, params, t_u, t_c):
    """Descend, and keep the losses."""
    losses = []
    for _ in range(n_epochs):
        if params.grad is not None:
            params.grad.zero_()
        loss = loss_fn(model(t_u, *params), t_c)
        loss.backward()
        with torch.no_grad():
            params -= learning_rate * params.grad
        losses.append(loss.item())
    return losses


params = torch.tensor([1.0, 0.0], dtype=dtype, requires_grad=True)
first_loss = loss_fn(model(t_u, *params), t_c)
first_loss.backward()
first_gradient = params.grad.tolist()

params = torch.tensor([1.0, 0.0], dtype=dtype, requires_grad=True)
losses = training_loop(5_000, 1e-2, params, t_un, t_c)

raw = torch.tensor([1.0, 0.0], dtype=dtype, requires_grad=True)
optimizer = optim.Adam([raw], lr=1e-1)
adam_losses = []
for epoch in range(2_000):
    loss = loss_fn(model(t_u, *raw), t_c)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    adam_losses.append(loss.item())

result = {
    "first_loss": first_loss.item(),
    "first_gradient": first_gradient,
    "losses": losses,
    "params": params.tolist(),
    "adam_losses": adam_losses,
    "adam_params": raw.tolist(),
}

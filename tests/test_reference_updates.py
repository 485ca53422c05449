# SPDX-License-Identifier: MIT
"""Every update, and whole training, against NumPy in float64, through the public interface."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import schuss
from schuss import nn, optim

EPS = 2.0**-53  # the relative error of a rounding

# ---- updates -------------------------------------------------------------------------------------


class SgdReference:
    """PyTorch's formulas: see `schuss.optim.SGD`."""

    def __init__(self, p, **options):
        self.p, self.o, self.buffer = p.copy(), options, None

    def step(self, g):
        mu, o = self.o.get("momentum", 0.0), self.o
        g = (-g if o.get("maximize") else g) + o.get("weight_decay", 0.0) * self.p
        if mu:
            kept = 1.0 - o.get("dampening", 0.0)
            self.buffer = g if self.buffer is None else mu * self.buffer + kept * g
            g = g + mu * self.buffer if o.get("nesterov") else self.buffer
        self.p = self.p - o["lr"] * g


class AdamReference:
    """PyTorch's formulas: see `schuss.optim.Adam` and `AdamW`."""

    def __init__(self, p, *, decoupled, **options):
        self.p, self.o, self.decoupled = p.copy(), options, decoupled
        self.m, self.v, self.most, self.t = 0.0 * p, 0.0 * p, 0.0 * p, 0

    def step(self, g):
        o, lr = self.o, self.o["lr"]
        beta1, beta2 = o.get("betas", (0.9, 0.999))
        decay = o.get("weight_decay", 0.01 if self.decoupled else 0.0)
        self.t += 1
        g = -g if o.get("maximize") else g
        if self.decoupled:
            self.p = self.p - lr * decay * self.p
        else:
            g = g + decay * self.p
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g * g
        self.most = np.maximum(self.most, self.v)
        v = self.most if o.get("amsgrad") else self.v
        denominator = np.sqrt(v) / np.sqrt(1 - beta2**self.t) + o.get("eps", 1e-8)
        self.p = self.p - lr / (1 - beta1**self.t) * self.m / denominator


SGD_OPTIONS = [
    {"lr": 0.1, **momentum, **decay, **maximize}
    for momentum, decay, maximize in itertools.product(
        [{}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.4},
         {"momentum": 0.9, "nesterov": True}],
        [{}, {"weight_decay": 0.1}],
        [{}, {"maximize": True}],
    )
]  # fmt: skip
ADAM_OPTIONS = [
    {"lr": 0.01, **betas, **decay, **amsgrad, **maximize}
    for betas, decay, amsgrad, maximize in itertools.product(
        [{}, {"betas": (0.5, 0.8), "eps": 1e-3}, {"betas": (0.0, 0.0)}],
        [{}, {"weight_decay": 0.0}, {"weight_decay": 0.2}],
        [{}, {"amsgrad": True}],
        [{}, {"maximize": True}],
    )
]
UPDATES = [("SGD", o) for o in SGD_OPTIONS]
UPDATES += [(name, o) for name in ("Adam", "AdamW") for o in ADAM_OPTIONS]


def make_reference(name, p, options):
    if name == "SGD":
        return SgdReference(p, **options)
    return AdamReference(p, decoupled=name == "AdamW", **options)


@pytest.mark.parametrize(("name", "options"), UPDATES, ids=str)
def test_update_follows_the_formula(name, options):
    """Twenty steps of parameters of two shapes, one of which misses every third gradient."""
    rng = np.random.default_rng(3)
    model = nn.Linear(6, 7, dtype=schuss.float64)
    references = [make_reference(name, p.numpy(), options) for p in model.parameters()]
    optimizer = getattr(optim, name)(model.parameters(), **options)
    for step in range(20):
        optimizer.zero_grad()
        for number, (p, reference) in enumerate(zip(model.parameters(), references, strict=True)):
            g = rng.standard_normal(p.shape)
            if number == 0 or step % 3:
                p.grad = g
                reference.step(g)
        optimizer.step()
    for p, reference in zip(model.parameters(), references, strict=True):
        # 20 steps of 16 operations each; buffers and parameters stay below 64.
        bound = 20 * 16 * 64 * EPS
        np.testing.assert_allclose(p.numpy(), reference.p, rtol=0, atol=2 * bound)


# ---- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("name", "options"), [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("AdamW", {"lr": 0.01}),
], ids=str)  # fmt: skip
def test_fit_is_the_loop_in_numpy(name, options, shuffle):
    """A 6-16-4 network on cross-entropy: forward, gradients and updates of four epochs."""
    rng = np.random.default_rng(8)
    X, y = rng.standard_normal((90, 6)), rng.integers(0, 4, 90)
    schuss.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(6, 16, dtype=schuss.float64), nn.Tanh(), nn.Linear(16, 4, dtype=schuss.float64)
    )
    w1, b1, w2, b2 = (make_reference(name, p.numpy(), options) for p in model.parameters())
    losses = []
    batches = schuss.DataLoader(X, y, batch_size=32, shuffle=shuffle, seed=7)
    for _ in range(4):
        total = 0.0
        for x, labels in batches:
            h = np.tanh(x @ w1.p.T + b1.p)
            logits = h @ w2.p.T + b2.p
            probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            chosen = np.arange(len(labels)), labels
            total -= np.log(probabilities[chosen]).sum()
            d = probabilities
            d[chosen] -= 1.0
            d /= len(labels)
            d_z = d @ w2.p * (1 - h * h)
            gradients = (d_z.T @ x, d_z.sum(axis=0), d.T @ h, d.sum(axis=0))
            for reference, g in zip((w1, b1, w2, b2), gradients, strict=True):
                reference.step(g)
        losses.append(total / 90)
    optimizer = getattr(optim, name)(model.parameters(), **options)
    history = schuss.fit(
        model, nn.CrossEntropyLoss(), optimizer, X, y,
        epochs=4, batch_size=32, shuffle=shuffle, seed=7,
    )  # fmt: skip
    # A step adds at most about 200 roundings of numbers of the order of 1, and twelve steps of a
    # smooth problem pass them on with a factor of at most 2 each.
    np.testing.assert_allclose(history.loss, losses, rtol=0, atol=200 * 2.0**12 * EPS)
    for p, reference in zip(model.parameters(), (w1, b1, w2, b2), strict=True):
        np.testing.assert_allclose(p.numpy(), reference.p, rtol=0, atol=200 * 2.0**12 * EPS)

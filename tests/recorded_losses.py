# SPDX-License-Identifier: MIT
"""Losses written as expressions, for the tests of recording: (function, columns, target)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import schuss
from schuss import Tensor, _schuss, nn, optim


def weighted_huber(p: Tensor, y: Tensor) -> Tensor:
    """Quadratic near 0, linear beyond 0.5; positive errors count more."""
    e = p - y
    size = e.abs()
    loss = schuss.where(size <= 0.5, 0.5 * e * e, 0.5 * (size - 0.25))
    return (loss * schuss.where(e > 0, 3.0, 1.0)).mean()


def quantile(p: Tensor, y: Tensor) -> Tensor:
    """Pinball loss."""
    e = y - p
    return schuss.maximum(0.9 * e, -0.1 * e).mean()


def squared(p: Tensor, y: Tensor) -> Tensor:
    """Mean squared error."""
    return ((p - y) ** 2).mean()


def by_columns(p: Tensor, y: Tensor) -> Tensor:
    """Columns have weights; a sum divided by the number of rows."""
    weights = schuss.tensor([0.5, 2.0, 1.0], dtype=p.dtype)
    return (weights * (p - y).square()).sum() / len(p)


def log_cosh(p: Tensor, y: Tensor) -> Tensor:
    """A smooth absolute error, scaled and shifted after the mean."""
    e = (p - y).clamp(-8.0, 8.0)
    return 2.0 * schuss.log((e.exp() + (-e).exp()) / 2.0).mean() - 0.25


def gaussian(p: Tensor, y: Tensor) -> Tensor:
    """Negative log-likelihood of a normal whose mean and log-variance are predicted."""
    centre, log_variance = p[:, 0:1], p[:, 1:2]
    return (0.5 * (log_variance + (y - centre) ** 2 / log_variance.exp())).mean()


def gaussian_vectors(p: Tensor, y: Tensor) -> Tensor:
    """The same on vectors."""
    centre, log_variance = p[:, 0], p[:, 1]
    return (0.5 * (log_variance + (y - centre) ** 2 / log_variance.exp())).mean()


def cross_entropy(p: Tensor, y: Tensor) -> Tensor:
    """Of class probabilities."""
    return -(y * p.log_softmax(1)).sum(dim=1).mean()


def one_hot_focal(p: Tensor, y: Tensor) -> Tensor:
    """Focal loss of labels, compared with the class numbers."""
    chosen = y.unsqueeze(1) == schuss.arange(3)
    probability = (p.softmax(1) * chosen.to(p.dtype)).sum(dim=1)
    return -(((1.0 - probability) ** 2) * probability.log()).mean()


def margin(p: Tensor, y: Tensor) -> Tensor:
    """Multi-class hinge: row maxima, broadcast rows."""
    best = (p * y).sum(dim=1, keepdim=True)
    worst = (p - y).max(dim=1, keepdim=True).values
    return (
        schuss.maximum(worst - best + 1.0, 0.0 * best) + (p - best).mean(dim=1, keepdim=True)
    ).mean()


def centred(p: Tensor, y: Tensor) -> Tensor:
    """Each row around its own mean, which counts for the gradient or not."""
    inner = p - p.mean(dim=1, keepdim=True)
    fixed = p - p.detach().mean(dim=1, keepdim=True)
    return ((inner - y) * (fixed + y) * p).mean()


def many_uses(p: Tensor, y: Tensor) -> Tensor:
    """Gradients from many places meet in p."""
    a = p * y
    b = a.tanh() + p.sigmoid()
    c = b * a - p / (1.0 + p.square())
    return (a * b + c * p - (c.abs() + 0.5).sqrt() + 1.0 / (2.0 + b) + c**3).mean()


def stacked(p: Tensor, y: Tensor) -> Tensor:
    """Columns taken apart and put together again."""
    both = schuss.cat([p[:, 1:], -p[:, :1], y * p], dim=1)
    return (both.relu() - 0.1 * both + schuss.zeros_like(both)).square().sum() * 0.125


def logical(p: Tensor, y: Tensor) -> Tensor:
    """Comparisons put together; a constant condition."""
    inside = (p > -0.5) & (p < 0.5) | ~(y >= 0)
    kept = schuss.where(inside, p, 2.0 * p)
    return 3.0 - schuss.where(schuss.tensor([True, False, True]), kept, kept * y).mean()


def extremes(p: Tensor, y: Tensor) -> Tensor:
    """maximum and minimum with equal operands, reciprocal, powers."""
    high = schuss.maximum(p, y).clamp(min=0.1)
    low = schuss.minimum(p, p * 1.0)
    return ((high.reciprocal() + low) ** 2 + high**1.5 + (high + 1.0).log1p().expm1()).sum()


def flat(p: Tensor, y: Tensor) -> Tensor:
    """Every operation of the tape, and gradients that are handed over, added to, and negated."""
    e = p - y
    a = e + 1.0
    b = 2.0 - e
    c = schuss.maximum(a, b) - schuss.minimum(p, y) * schuss.maximum(y, p)
    d = (a + a) * (b - c) / (1.5 + e.abs())
    chosen = ((p > 0) | (y <= 0.5)) ^ (e != 0.25) & ~(p == y)
    f = schuss.where(chosen, d, -c) + chosen.to(p.dtype) * e.square()
    g = schuss.where(p >= y, 1.0, schuss.where(p < -1.0, e, 0.5))
    return (f * g + e.clone().sigmoid() * schuss.minimum(e, 0.0) - a**2 + p).mean()


Case = tuple[Callable[[Any, Any], Any], int, str]

#: target: "numbers" of the prediction's shape, "column", "vector" or "labels".
LOSSES: dict[str, Case] = {
    "weighted_huber": (weighted_huber, 1, "numbers"),
    "weighted_huber_wide": (weighted_huber, 5, "numbers"),
    "quantile": (quantile, 1, "numbers"),
    "squared": (squared, 10, "numbers"),
    "by_columns": (by_columns, 3, "numbers"),
    "log_cosh": (log_cosh, 2, "numbers"),
    "gaussian": (gaussian, 2, "column"),
    "gaussian_vectors": (gaussian_vectors, 2, "vector"),
    "cross_entropy": (cross_entropy, 17, "numbers"),
    "one_hot_focal": (one_hot_focal, 3, "labels"),
    "margin": (margin, 4, "numbers"),
    "centred": (centred, 3, "numbers"),
    "many_uses": (many_uses, 2, "numbers"),
    "flat": (flat, 1, "numbers"),
    "flat_wide": (flat, 3, "numbers"),
    "stacked": (stacked, 3, "numbers"),
    "logical": (logical, 3, "numbers"),
    "extremes": (extremes, 3, "numbers"),
}


def data(name: str, rows: int, dtype: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets, with zeros, equal elements and large ones among them."""
    _, columns, kind = LOSSES[name]
    generator = np.random.default_rng(seed)
    prediction = generator.normal(size=(rows, columns)).astype(dtype)
    prediction[::7] = 0.0
    prediction[3::11] *= 9.0
    if kind == "labels":
        return prediction, generator.integers(0, columns, rows)
    wide = columns if kind == "numbers" else 1
    target = np.round(generator.normal(size=(rows, wide)), 1).astype(dtype)
    return prediction, target[:, 0] if kind == "vector" else target


def eager(function: Callable[..., Any], prediction: np.ndarray, target: np.ndarray) -> Any:
    leaf = schuss.tensor(prediction)
    leaf.requires_grad = True
    cost = function(leaf, schuss.tensor(target))
    cost.backward()
    return cost.item(), leaf.grad.numpy()


def native(function: Callable[..., Any], prediction: np.ndarray, target: np.ndarray) -> Any:
    loss = schuss.compile(function, (prediction[:6], target[:6]))._loss
    assert loss is not None
    return loss.value_and_grad(prediction, target)


def same_bits(one: Any, other: Any) -> bool:
    return bool(np.asarray(one).tobytes() == np.asarray(other).tobytes())


def by_hand(
    model: nn.Module, function: Any, optimizer: Any, X: np.ndarray, y: Any, batch: int, epochs: int
) -> list[float]:
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for first in range(0, len(X), batch):
            rows = _schuss.batch_rows(len(X), first, min(batch, len(X) - first), 5, epoch)
            cost = function(model(X[rows]), schuss.tensor(y[rows]))
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            total += cost.item() * len(rows)
        losses.append(total / len(X))
    return losses


def made(columns: int, dtype: str, hidden: int = 16) -> tuple[nn.Module, Any]:
    schuss.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(9, hidden, dtype=dtype), nn.Tanh(), nn.Linear(hidden, columns, dtype=dtype)
    )
    return model, optim.SGD(model.parameters(), lr=0.01, momentum=0.5)

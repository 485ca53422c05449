# SPDX-License-Identifier: MIT
"""What one epoch must give: the job in float64 NumPy, and how far float32 may be from it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from cases import Index, Parameters, Problem

EPS = float(np.finfo(np.float32).eps)
SURENESS = 8.0  # standard deviations: beyond them lies 1e-15 of a normal distribution
F64 = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Expected:
    """Parameters after one epoch, and the largest difference that rounding explains, one each."""

    parameters: Parameters
    tolerance: list[float]


def _output_gradient(output: F64, y: npt.NDArray[np.float32 | np.int64]) -> F64:
    if y.ndim == 2:
        return 2.0 / output.size * (output - y)
    shifted = np.exp(output - output.max(axis=1, keepdims=True))
    probability: F64 = shifted / shifted.sum(axis=1, keepdims=True)
    probability[np.arange(len(y)), y] -= 1.0
    probability /= len(y)
    return probability


def train_reference(problem: Problem, order: Index) -> Expected:
    """Train one epoch in float64 and derive the tolerance of a float32 run.

    In whatever order k products are summed, rounding errors are as good as independent, and the
    sum is off by at most SURENESS * sqrt(k) * eps/2 * (sum of |a*b|), all but surely. A gradient is
    such a sum over the rows of a batch, of factors that went through the sums of every layer: its
    k is rows + 2 * (all widths), and `sum |a*b|` is formed here from absolute values. Differences
    of steps add up; an update itself rounds once, relative to the parameter.

    A ReLU whose input lies within its own rounding of zero may switch the other way. Then the
    gradient through this unit for this row is in doubt, whole, and so is what follows from it in
    the layers before.
    """
    case = problem.case
    flat = [p.astype(np.float64) for pair in problem.weights for p in pair]
    weights, biases = flat[0::2], flat[1::2]
    n_layers = len(weights)
    rounding = SURENESS * (case.batch_rows + 2 * sum(case.layers)) ** 0.5 * EPS / 2
    tolerance = [0.0] * (2 * n_layers)
    for first in range(0, case.n_rows, case.batch_rows):
        rows = order[first : first + case.batch_rows]
        activations = [problem.X[rows].astype(np.float64)]
        near_zero = []
        for layer in range(n_layers):
            x = activations[-1]
            z = x @ weights[layer].T + biases[layer]
            if layer < n_layers - 1:
                terms = np.abs(x) @ np.abs(weights[layer]).T + np.abs(biases[layer])
                depth = 2 * sum(case.layers[: layer + 1])
                near_zero.append(np.abs(z) <= SURENESS * depth**0.5 * EPS / 2 * terms)
                z = np.maximum(z, 0.0)
            activations.append(z)
        d_output = _output_gradient(activations[-1], problem.y[rows])
        doubt = np.zeros_like(d_output)
        for layer in reversed(range(n_layers)):
            x, weight = activations[layer], weights[layer]
            uncertain = rounding * np.abs(d_output) + doubt
            d_weight, d_bias = d_output.T @ x, d_output.sum(axis=0)
            tolerance[2 * layer] += case.lr * float((uncertain.T @ np.abs(x)).max())
            tolerance[2 * layer + 1] += case.lr * float(uncertain.sum(axis=0).max())
            if layer > 0:
                d_output = d_output @ weight
                doubt = (doubt @ np.abs(weight)) * (x > 0)
                doubt += near_zero[layer - 1] * np.abs(d_output)
                d_output *= x > 0
            tolerance[2 * layer] += EPS / 2 * float(np.abs(weight).max())
            tolerance[2 * layer + 1] += EPS / 2 * float(np.abs(biases[layer]).max())
            weights[layer] = weight - case.lr * d_weight
            biases[layer] = biases[layer] - case.lr * d_bias
    parameters = [p for pair in zip(weights, biases, strict=True) for p in pair]
    return Expected(parameters, tolerance)


def check(name: str, found: Parameters, expected: Expected) -> float:
    """Compare and return the largest difference in tolerances; raise where it exceeds one.

    Raises
    ------
    AssertionError
        Naming contender, parameter, difference and tolerance.
    """
    worst = 0.0
    for i, (f, e, allowed) in enumerate(
        zip(found, expected.parameters, expected.tolerance, strict=True)
    ):
        label = f"{i // 2}.{'weight' if i % 2 == 0 else 'bias'}"
        assert f.shape == e.shape, f"{name}: {label} has shape {f.shape}; expected {e.shape}"
        difference = float(np.abs(f - e).max())
        assert difference <= allowed, (
            f"{name}: {label} differs from the float64 reference by {difference:.3g}; "
            f"rounding explains {allowed:.3g}. Its times would compare different work."
        )
        worst = max(worst, difference / allowed)
    return worst

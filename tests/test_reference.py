# SPDX-License-Identifier: MIT
"""Every forward pass, loss and gradient against NumPy, through the public interface.

Tolerances count roundings. A sum of n products is off by at most n + 1 roundings of the sum of
their sizes, whatever its order. Errors pass on through sums and factors: the reference carries them
along, to first order, beside the numbers themselves.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim

EPS = {np.float32: 2.0**-24, np.float64: 2.0**-53}  # the relative error of a rounding
DTYPES = list(EPS)
erf = np.vectorize(math.erf, otypes=[float])


def phi(z):
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def sigmoid(z):
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def inner(z):
    """The argument of tanh in GELU's approximation, and its derivative."""
    c = math.sqrt(2 / math.pi)
    return c * (z + 0.044715 * z**3), c * (1 + 3 * 0.044715 * z**2)


def gelu_tanh(z):
    return z / 2 * (1 + np.tanh(inner(z)[0]))


def d_gelu_tanh(z):
    u, d_u = inner(z)
    return (1 + np.tanh(u)) / 2 + z / 2 * (1 - np.tanh(u) ** 2) * d_u


# Module, function, derivative. |f'| <= 1.2, and |f''| <= 1 where there is one.
ACTIVATIONS: dict[str, Any] = {
    "Identity": (nn.Identity, lambda z: z, np.ones_like),
    "ReLU": (nn.ReLU, lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "LeakyReLU": (
        lambda: nn.LeakyReLU(0.2),
        lambda z: np.where(z > 0, z, 0.2 * z),
        lambda z: np.where(z > 0, 1.0, 0.2),
    ),
    "ELU": (
        lambda: nn.ELU(0.7),
        lambda z: np.where(z > 0, z, 0.7 * np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, 1.0, 0.7 * np.exp(np.minimum(z, 0))),
    ),
    "GELU": (
        nn.GELU,
        lambda z: z * (1 + erf(z / math.sqrt(2))) / 2,
        lambda z: (1 + erf(z / math.sqrt(2))) / 2 + z * phi(z),
    ),
    "GELU(tanh)": (lambda: nn.GELU("tanh"), gelu_tanh, d_gelu_tanh),
    "SiLU": (
        nn.SiLU,
        lambda z: z * sigmoid(z),
        lambda z: sigmoid(z) * (1 + z * (1 - sigmoid(z))),
    ),
    "Softplus": (
        lambda: nn.Softplus(beta=2.0),
        lambda z: np.log1p(np.exp(-np.abs(2 * z))) / 2 + np.maximum(z, 0),
        lambda z: sigmoid(2 * z),
    ),
    "Sigmoid": (nn.Sigmoid, sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "Tanh": (nn.Tanh, np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "Step": (nn.Step, lambda z: (z > 0) * 1.0, np.zeros_like),
}
SMOOTH = ["Identity", "GELU", "GELU(tanh)", "SiLU", "Softplus", "Sigmoid", "Tanh"]
# An elementary function is good to 2.2 units in the last place (4.4 roundings), and at most 8
# operations more lead to a value or derivative: 12.4 of numbers up to 1.2, twice: NumPy rounds too.
K_ACTIVATION = 32


def assert_within(got, expected, roundings, size, dtype=np.float64):
    """|got - expected| <= roundings * eps * size, elementwise."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    error = np.abs(got - expected)
    allowed = roundings * EPS[dtype] * np.broadcast_to(size, error.shape)
    worst = np.unravel_index(np.argmax(error - allowed), error.shape) if error.size else ()
    assert (error <= allowed).all(), (worst, got[worst], expected[worst], allowed[worst])


# ---- activations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7), (300, 3), (1, 1)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_and_its_gradient_follow_the_formula(name, shape):
    make, function, derivative = ACTIVATIONS[name]
    rng = np.random.default_rng(2)
    z, upstream = rng.normal(0, 3, shape), rng.standard_normal(shape)
    x = schuss.Parameter(z)
    y = make()(x)
    y.backward(upstream)
    # z itself is a factor of some results: up to |z| roundings more.
    size = 1 + np.abs(z)
    assert_within(y.numpy(), function(z), K_ACTIVATION, size)
    assert_within(x.grad.numpy(), derivative(z) * upstream, K_ACTIVATION, size * np.abs(upstream))


@pytest.mark.parametrize("cols", [1, 2, 8, 9, 100])
@pytest.mark.parametrize("log", [False, True])
def test_softmax_and_its_gradient_follow_the_formula(log, cols):
    rng = np.random.default_rng(cols)
    z, upstream = rng.normal(0, 3, (20, cols)), rng.standard_normal((20, cols))
    x = schuss.Parameter(z)
    y = (nn.LogSoftmax() if log else nn.Softmax())(x)
    y.backward(upstream)
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    total = upstream.sum(axis=1, keepdims=True)
    inner_product = (p * upstream).sum(axis=1, keepdims=True)
    d = upstream - p * total if log else p * (upstream - inner_product)
    # The exponential of a rounded difference of size s is off by s roundings; cols are summed.
    size = (1 + np.abs(shifted).max()) * (1 + np.abs(upstream).sum(axis=1, keepdims=True))
    assert_within(y.numpy(), log_p if log else p, 2 * cols + K_ACTIVATION, size)
    assert_within(x.grad.numpy(), d, 2 * cols + K_ACTIVATION, size)


# ---- networks ------------------------------------------------------------------------------------


@dataclass
class Value:
    """A number, and how many roundings of 1.0 it may be off by, to first order."""

    value: np.ndarray
    error: np.ndarray


def exact(x):
    x = np.asarray(x, np.float64)
    return Value(x, np.zeros_like(x))


def dot(a, b, terms):
    """Errors of both factors pass on; the sum adds a rounding a term and one."""
    value_a, value_b = np.abs(a.value), np.abs(b.value)
    passed = a.error @ value_b + value_a @ b.error
    return Value(a.value @ b.value, passed + (terms + 1) * (value_a @ value_b))


def transposed(a):
    return Value(a.value.T, a.error.T)


class Reference:
    """A network of Linear layers with one activation between them, in NumPy."""

    def __init__(self, weights, biases, name):
        self.weights = [exact(w) for w in weights]
        self.biases = biases
        _, self.function, self.derivative = ACTIVATIONS[name]

    def forward(self, x):
        self.inputs, self.sums = [exact(x)], []
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = self.inputs[-1]
            z = dot(h, transposed(weight), h.value.shape[1])
            if bias is not None:
                z = Value(z.value + bias, z.error + np.abs(z.value) + np.abs(bias))
            self.sums.append(z)
            if layer + 1 < len(self.weights):
                own = K_ACTIVATION * (1 + np.abs(z.value))
                self.inputs.append(Value(self.function(z.value), 1.2 * z.error + own))
        return self.sums[-1]

    def backward(self, d):
        """Gradients of weights and biases, layer by layer, and of the input."""
        d_weights, d_biases = [], []
        for layer in reversed(range(len(self.weights))):
            h, rows = self.inputs[layer], len(d.value)
            # A chain of at most 256 rows, up to 64 chunks in order, and the levels above.
            terms = min(rows, 256 + 64 * 2)
            d_weights.insert(0, dot(transposed(d), h, terms))
            size = np.abs(d.value).sum(axis=0)
            d_biases.insert(0, Value(d.value.sum(axis=0), d.error.sum(axis=0) + terms * size))
            d = dot(d, self.weights[layer], d.value.shape[1])
            if layer > 0:
                z = self.sums[layer - 1]
                slope = self.derivative(z.value)
                # |f''| <= 1; the derivative's own roundings, and one of the product.
                slope_error = z.error + K_ACTIVATION * (1 + np.abs(z.value))
                error = d.error * np.abs(slope) + np.abs(d.value) * slope_error
                d = Value(d.value * slope, error)
        return d_weights, d_biases, d


SHAPES = [[3, 1], [3, 2, 1], [20, 4, 3], [5, 9, 7], [17, 33, 16, 2], [4, 64, 65, 10], [1, 5, 1, 5]]


def assert_gradients(widths, name, dtype, rows, bias):
    schuss.manual_seed(5)
    layers = [nn.Linear(a, b, bias=bias, dtype=dtype) for a, b in itertools.pairwise(widths)]
    modules = [layers[0]]
    for layer in layers[1:]:
        modules += [ACTIVATIONS[name][0](), layer]
    model = nn.Sequential(*modules)
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, widths[0])).astype(dtype)
    target = rng.standard_normal((rows, widths[-1])).astype(dtype)

    reference = Reference(
        [layer.weight.numpy() for layer in layers],
        [layer.bias.numpy().astype(np.float64) if bias else None for layer in layers],
        name,
    )
    y = reference.forward(x)
    t, n = target.astype(np.float64), target.size
    residual = np.abs(y.value - t)
    d = Value(2 * (y.value - t) / n, 2 * (y.error + 4 * residual) / n)
    d_weights, d_biases, d_x = reference.backward(d)

    given = schuss.Parameter(x)
    output = model(given)
    cost = nn.MSELoss()(output, target)
    cost.backward()
    sides = 2 if dtype is np.float64 else 1  # NumPy rounds in float64

    def check(got, expected):
        assert_within(got, expected.value, sides, expected.error, dtype)

    check(output.numpy(), y)
    # (residual + error)^2, rounded; columns are summed in lanes, rows in float64.
    loss_error = (2 * residual * y.error + (widths[-1] + 4) * residual**2).mean()
    check(cost.item(), Value((residual**2).mean(), loss_error))
    for layer, d_weight, d_bias in zip(layers, d_weights, d_biases, strict=True):
        check(layer.weight.grad.numpy(), d_weight)
        if bias:
            check(layer.bias.grad.numpy(), d_bias)
    check(given.grad.numpy(), d_x)
    np.testing.assert_array_equal(schuss.predict(model, x), output.numpy())


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("widths", SHAPES, ids=str)
def test_network_and_its_gradients_follow_the_chain_rule(widths, name):
    for rows, bias in [(1, True), (7, False), (33, True)]:
        assert_gradients(widths, name, np.float64, rows, bias)


@pytest.mark.parametrize("name", SMOOTH)  # float32 rounding takes z across a kink now and then
@pytest.mark.parametrize("widths", SHAPES, ids=str)
def test_float32_network_and_its_gradients_follow_the_chain_rule(widths, name):
    assert_gradients(widths, name, np.float32, 33, bias=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [255, 256, 257, 600, 64 * 256 + 3])
def test_gradients_of_many_chunks_follow_the_chain_rule(rows, dtype):
    for widths in ([2, 3], [20, 2], [6, 5]):  # rows in lanes, narrow, wide
        assert_gradients(widths, "Identity", dtype, rows, bias=True)


@pytest.mark.parametrize("n_out", [1, 3, 8])
@pytest.mark.parametrize("native", [False, True])
def test_mean_gradient_of_millions_of_equal_rows_does_not_decay(native, n_out):
    """A single float32 chain over so many equal terms would be off by percents."""
    rows = 4_000_000 if n_out == 1 else 1_000_000
    model = nn.Linear(1, n_out)
    for parameter in model.parameters():
        parameter.zero_()
    x, target = np.full((rows, 1), 0.1, np.float32), np.full((rows, n_out), -1.0, np.float32)
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    if native:
        schuss.fit(model, nn.MSELoss(), optimizer, x, target, batch_size=None)
    else:
        nn.MSELoss()(model(x), target).backward()
        optimizer.step()
    # d_bias = 2 * mean(0 + 1) / n_out, d_weight = 0.1 of that.
    np.testing.assert_allclose(model.bias.numpy(), np.full(n_out, -2.0 / n_out), rtol=1e-5)
    np.testing.assert_allclose(model.weight.numpy(), np.full((n_out, 1), -0.2 / n_out), rtol=1e-5)


# ---- losses --------------------------------------------------------------------------------------


def softmax_rows(x):
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p, np.exp(log_p)


def loss_elementwise(kind, x, t, options):
    """(values, derivatives) of PyTorch's formulas."""
    e, size = x - t, np.abs(x - t)
    if kind == "MSELoss":
        return e * e, 2 * e
    if kind == "L1Loss":
        return size, np.sign(e)
    if kind == "HuberLoss":
        delta = options.get("delta", 1.0)
        value = np.where(size <= delta, e * e / 2, delta * (size - delta / 2))
        return value, np.clip(e, -delta, delta)
    if kind == "SmoothL1Loss":
        beta = options.get("beta", 1.0)
        if beta == 0.0:
            return size, np.sign(e)
        value = np.where(size < beta, e * e / (2 * beta), size - beta / 2)
        return value, np.clip(e / beta, -1, 1)
    weight = np.asarray(options.get("weight", 1.0))
    if kind == "BCELoss":
        value = -(t * np.log(x) + (1 - t) * np.log1p(-x))
        return weight * value, weight * (e / (x * (1 - x)))
    positive = np.asarray(options.get("pos_weight", 1.0))
    softplus = np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, 0)  # -log(sigmoid(x))
    value = positive * t * softplus + (1 - t) * (x + softplus)
    return weight * value, weight * ((1 - t) * sigmoid(x) - positive * t * (1 - sigmoid(x)))


def loss_by_row(kind, x, target, options):
    """(values, derivatives, what the mean divides by)."""
    rows, cols = x.shape
    weight = np.asarray(options.get("weight", np.ones(cols)))
    smoothing = options.get("label_smoothing", 0.0)
    if target.ndim == 2:
        q = weight * ((1 - smoothing) * target + smoothing / cols)
        divisor = rows
    else:
        counts = target != options.get("ignore_index", -100)
        labels = np.where(counts, target, 0)
        q = weight * ((1 - smoothing) * np.eye(cols)[labels] + smoothing / cols)
        q = q * counts[:, None]
        divisor = (weight[labels] * counts).sum()
    if kind == "NLLLoss":
        return -(q * x).sum(axis=1), -q, divisor
    log_p, p = softmax_rows(x)
    return -(q * log_p).sum(axis=1), p * q.sum(axis=1, keepdims=True) - q, divisor


ELEMENTWISE = [
    ("MSELoss", {}), ("L1Loss", {}), ("HuberLoss", {}), ("HuberLoss", {"delta": 0.3}),
    ("SmoothL1Loss", {}), ("SmoothL1Loss", {"beta": 0.3}), ("SmoothL1Loss", {"beta": 0.0}),
    ("BCELoss", {}), ("BCELoss", {"weight": 1}), ("BCEWithLogitsLoss", {}),
    ("BCEWithLogitsLoss", {"weight": 1}), ("BCEWithLogitsLoss", {"pos_weight": 1}),
    ("BCEWithLogitsLoss", {"weight": 1, "pos_weight": 1}),
]  # fmt: skip
BY_ROW = [
    ("CrossEntropyLoss", {**weight, **ignore, **smoothing}, target)
    for weight, ignore, smoothing, target in itertools.product(
        [{}, {"weight": 1}],
        [{}, {"ignore_index": 1}],
        [{}, {"label_smoothing": 0.1}, {"label_smoothing": 1.0}],
        ["labels", "probabilities"],
    )
    if target == "labels" or not ignore
]
BY_ROW += [
    ("NLLLoss", {**weight, **ignore}, "labels")
    for weight, ignore in itertools.product([{}, {"weight": 1}], [{}, {"ignore_index": 1}])
]
REDUCTIONS = ["none", "mean", "sum"]


def filled(options, cols, rng):
    """The options with arrays of random weights."""
    arrays = {name: rng.uniform(0.5, 2, cols) for name in ("weight", "pos_weight")}
    return {name: arrays.get(name, value) for name, value in options.items()}


def assert_loss(loss, x, target, values, slopes, divisor, terms):
    """Value and gradient, with history and without."""
    rng = np.random.default_rng(9)
    upstream = np.ones(())
    expected, factor = values, 1.0
    if loss.reduction == "none":
        upstream = rng.standard_normal(values.shape)
    else:
        factor = 1.0 / divisor if loss.reduction == "mean" else 1.0
        expected = values.sum() * factor
    by_row = values.ndim == 1 and slopes.ndim == 2
    d = slopes * (upstream[:, None] if by_row and upstream.ndim else upstream) * factor
    # Logits and weights of a size of up to 12 and 2 go in; 32 operations make a term.
    roundings = 2 * (terms + 32)
    scale = (12 + np.abs(values)) if loss.reduction == "none" else (12 + np.abs(values)).sum()
    d_size = (12 + np.abs(slopes)) * np.abs(factor) * (1 + np.abs(upstream).max())

    given = schuss.Parameter(x)
    cost = loss(given, target)
    cost.backward(None if loss.reduction != "none" else upstream)
    assert_within(cost.numpy(), expected, roundings, scale * np.abs(factor))
    assert_within(given.grad.numpy(), d, roundings, d_size)
    if loss.reduction != "none":
        value, gradient = loss.value_and_grad(x, target)
        assert value == cost.item()
        np.testing.assert_array_equal(gradient, given.grad.numpy())
    np.testing.assert_array_equal(loss(x, target).numpy(), cost.numpy())


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("kind", "options"), ELEMENTWISE, ids=str)
def test_elementwise_loss_follows_the_formula(kind, options, reduction):
    for rows, cols in [(1, 1), (7, 1), (5, 9), (300, 3)]:
        rng = np.random.default_rng([rows, cols])
        named = filled(options, cols, rng)
        loss = getattr(nn, kind)(reduction=reduction, **named)
        x, t = rng.normal(0, 3, (rows, cols)), rng.normal(0, 3, (rows, cols))
        if kind.startswith("BCE"):
            t = rng.uniform(0, 1, (rows, cols)).round(1)
        if kind == "BCELoss":
            x = rng.uniform(0.05, 0.95, (rows, cols))
        values, slopes = loss_elementwise(kind, x, t, named)
        assert_loss(loss, x, t, values, slopes, values.size, rows + cols)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("kind", "options", "classes"), BY_ROW, ids=str)
def test_loss_of_classes_follows_the_formula(kind, options, classes, reduction):
    for rows, cols in [(2, 2), (7, 3), (5, 17), (300, 10)]:
        rng = np.random.default_rng([rows, cols])
        named = filled(options, cols, rng)
        loss = getattr(nn, kind)(reduction=reduction, **named)
        x = rng.normal(0, 3, (rows, cols))
        if classes == "probabilities":
            target = rng.dirichlet(np.ones(cols), rows)
        else:
            target = rng.integers(0, cols, rows)
            target[0] = 0  # not every row is ignored
        values, slopes, divisor = loss_by_row(kind, x, target, named)
        assert_loss(loss, x, target, values, slopes, divisor, rows + cols)


@pytest.mark.parametrize("kind", ["CrossEntropyLoss", "NLLLoss"])
def test_loss_with_every_label_ignored_is_nan_for_mean_and_zero_for_sum(kind):
    x, labels = np.log([[0.2, 0.8], [0.5, 0.5]]), np.array([-100, -100])
    assert math.isnan(getattr(nn, kind)()(x, labels).item())
    assert getattr(nn, kind)(reduction="sum")(x, labels).item() == 0.0
    assert getattr(nn, kind)(reduction="none")(x, labels).tolist() == [0.0, 0.0]

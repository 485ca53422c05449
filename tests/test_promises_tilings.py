# SPDX-License-Identifier: MIT
"""Tiling, packing, blocks and threads choose no arithmetic: `fit` on both sides of every switch.

The reference trains with emulated fused multiply-adds in the order that docs/ARCHITECTURE.md
promises, knowing nothing of blocks; the bits have to be equal. It has the constants of the
arithmetic (256 rows a chunk, 4 narrow outputs, 4 small inputs), and none of the tiling.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from test_kernels_products import fma, in_lanes, relu

import schuss
from schuss import _schuss, nn, optim

CHUNK, NARROW, SMALL = 256, 4, 4
THREADS = (1, 2, 3, 7)
LR = np.float32(0.25)  # exact, so that the rate adds no rounding of its own
Array = np.ndarray[Any, Any]
Layers = list[tuple[Array, Array]]  # weights (n_out, n_in) and biases


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    before = schuss.get_num_threads()
    yield
    schuss.set_num_threads(before)


def chain(a: Array, b: Array, start: Array) -> Array:
    """start + a @ b: for each element one chain over the inner dimension."""
    total = start
    for depth in range(a.shape[1]):
        total = fma(a[:, depth, None], b[None, depth, :], total)
    return total


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def forward(x: Array, weight: Array, bias: Array) -> Array:
    n_out, n_in = weight.shape
    if n_out > NARROW:
        return chain(x, weight.T, np.broadcast_to(bias, (len(x), n_out)))
    columns = [in_lanes(x.T, np.broadcast_to(w[:, None], (n_in, len(x)))) for w in weight]
    return np.stack(columns, axis=1) + bias


def parameter_gradients(x: Array, d: Array) -> tuple[Array, Array]:
    """Of one chunk."""
    n_in, n_out = x.shape[1], d.shape[1]
    if n_out > NARROW:
        d_bias = zeros(n_out)
        for row in d:
            d_bias = d_bias + row
        return chain(d.T, x, zeros(n_out, n_in)), d_bias
    if n_in > SMALL:
        return chain(d.T, x, zeros(n_out, n_in)), in_lanes(d)
    d_weight = [[in_lanes(x[:, i], d[:, o]) for i in range(n_in)] for o in range(n_out)]
    return np.array(d_weight, np.float32), in_lanes(d)


def reference_step(layers: Layers, x: Array, y: Array) -> Layers:
    """One step of plain descent on the mean squared error of a net with ReLU between layers."""
    scale = np.float32(1.0 / y.size)
    sums: list[Array] = []
    for first in range(0, len(x), CHUNK):
        outputs = [x[first : first + CHUNK]]
        for number, (weight, bias) in enumerate(layers):
            z = forward(outputs[-1], weight, bias)
            outputs.append(z if number == len(layers) - 1 else relu(z))
        difference = outputs[-1] - y[first : first + CHUNK]
        d = (difference + difference) * scale
        found: list[Array] = []
        for number in reversed(range(len(layers))):
            found = [*parameter_gradients(outputs[number], d), *found]
            if number > 0:
                weight = layers[number][0]
                d = chain(d, weight, zeros(len(d), weight.shape[1]))
                d = np.where(outputs[number] <= 0, np.float32(0), d)
        # The tree adds the first 64 chunks in order; no case here has more.
        sums = [s + f for s, f in zip(sums, found, strict=True)] if sums else found
    flat = [p for layer in layers for p in layer]
    assert len(x) <= 64 * CHUNK
    stepped = [fma(-LR, g, p) for g, p in zip(sums, flat, strict=True)]
    return list(zip(stepped[::2], stepped[1::2], strict=True))


# Widths of the layers, rows of the data and of a batch; what is switched between neighbours.
CASES: dict[str, list[tuple[list[int], int, int | None]]] = {
    "weights packed or in place": [([64, n, 6], 40, None) for n in (63, 64, 65)],
    "rows that pay for packing": [([90, 70, 6], rows, None) for rows in (11, 12, 13)],
    "a single row, and few": [([33, 40, 7], rows, None) for rows in (1, 2, 3, 4, 5)],
    "depth blocks": [([n, 21, 6], 30, None) for n in (255, 256, 257, 513)],
    "depth blocks of d_input": [([9, 12, n], 20, None) for n in (255, 256, 257)],
    "row blocks": [([200, 300, 100], rows, None) for rows in (47, 48, 49, 97)],
    "chunks": [([20, 17, 5], rows, None) for rows in (255, 256, 257, 511, 513)],
    "short last batches": [([20, 17, 5], rows, 64) for rows in (64, 65, 127)],
    "panels": [([10, n, 5], 26, None) for n in (7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49)],
    "narrow or wide outputs": [([30, n], 70, None) for n in (3, 4, 5)],
    "narrow hidden layers": [([12, n, 9, 2], 70, None) for n in (3, 4, 5)],
    "small or narrow inputs": [([n, 2], 300, None) for n in (3, 4, 5)],
    "one column": [([n, 1], 530, None) for n in (1, 4, 5, 17)],
    "one or more threads, by tiles": [([150, 120, 30], rows, None) for rows in (10, 24, 50, 110)],
    "one or more threads, by chunks": [([16, 12, 3], rows, None) for rows in (512, 1500, 2600)],
    "by chunks or by tiles": [([128, n, 5], 520, None) for n in (112, 113)],
}


def numbers(widths: list[int], rows: int) -> tuple[Layers, Array, Array]:
    rng = np.random.default_rng([*widths, rows])
    layers: Layers = []
    for n_in, n_out in itertools.pairwise(widths):
        weight = rng.standard_normal((n_out, n_in)) / np.sqrt(n_in)
        layers.append((weight.astype(np.float32), rng.standard_normal(n_out).astype(np.float32)))
    x = rng.standard_normal((rows, widths[0])).astype(np.float32)
    return layers, x, rng.standard_normal((rows, widths[-1])).astype(np.float32)


def model_of(layers: Layers) -> nn.Sequential:
    modules: list[nn.Module] = []
    for weight, bias in layers:
        modules += [nn.Linear(weight.shape[1], weight.shape[0]), nn.ReLU()]
        modules[-2].load_state_dict({"weight": weight, "bias": bias})
    return nn.Sequential(*modules[:-1])


def parameters_of(model: nn.Sequential) -> list[bytes]:
    return [values.tobytes() for values in model.state_dict().values()]


@pytest.mark.parametrize("name", CASES)
def test_fit_around_a_switch_has_the_bits_of_the_reference(name: str) -> None:
    for widths, rows, batch_size in CASES[name]:
        layers, x, y = numbers(widths, rows)
        expected = layers
        for first in range(0, rows, batch_size or rows):
            last = first + (batch_size or rows)
            expected = reference_step(expected, x[first:last], y[first:last])
        wanted = [np.ascontiguousarray(p).tobytes() for layer in expected for p in layer]
        output = x
        for number, (weight, bias) in enumerate(layers):
            z = forward(output, weight, bias)
            output = z if number == len(layers) - 1 else relu(z)
        assert schuss.predict(model_of(layers), x).tobytes() == output.tobytes(), (widths, rows)
        for threads in THREADS:
            schuss.set_num_threads(threads)
            model = model_of(layers)
            optimizer = optim.SGD(model.parameters(), lr=float(LR))
            order: dict[str, Any] = {"batch_size": batch_size, "shuffle": False}
            schuss.fit(model, nn.MSELoss(), optimizer, x, y, **order)
            assert parameters_of(model) == wanted, (widths, rows, batch_size, threads)


def test_cases_are_on_both_sides_of_the_thread_switch() -> None:
    schuss.set_num_threads(3)
    for name in ("one or more threads, by tiles", "one or more threads, by chunks"):
        used = set()
        for widths, rows, batch_size in CASES[name]:
            layers, x, y = numbers(widths, rows)
            model = model_of(layers)
            optimizer = optim.SGD(model.parameters(), lr=0.1)
            network, loss = nn.native.network_of(model, x), nn.MSELoss()._loss
            order = (batch_size, False, False, 0, 0)
            used.add(_schuss.Trainer(network, loss, optimizer._native, x, y, *order, True).threads)
        assert min(used) == 1, name
        assert max(used) > 1, name

# SPDX-License-Identifier: MIT
"""One layer read from the user's rows: the bits of the general kernels, from every source of rows.

`fit` takes networks of one layer through kernels of their own (kernels/fused.hpp, kernels/few.hpp).
The loop written out step by step uses the general ones, and is what they are compared with.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import schuss
from schuss import _schuss, nn, optim

F32, F64 = schuss.float32, schuss.float64


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    before = schuss.get_num_threads()
    yield
    schuss.set_num_threads(before)


# n_in around lanes, registers and several tiles of a gradient; n_out on both sides of what is
# narrow (up to 4), and what fills more than half a cache line (9..16, float64: 5..8).
NARROW = ((5, 1), (16, 1), (20, 1), (33, 2), (100, 1), (129, 3), (7, 4), (300, 4))
FEW = ((784, 10), (17, 9), (33, 16), (3, 12), (100, 11))
SHAPES = (
    *((n_in, n_out, F32) for n_in, n_out in (*NARROW, *FEW, (20, 8), (20, 17))),
    *((n_in, n_out, F64) for n_in, n_out in ((20, 1), (9, 3), (100, 2), (20, 7), (31, 5), (8, 8))),
)

Rows = Callable[[np.ndarray], np.ndarray]


def rows_apart(x: np.ndarray) -> np.ndarray:
    wide = np.full((len(x), x.shape[1] + 3), np.nan, x.dtype)
    wide[:, 1:-2] = x
    return wide[:, 1:-2]


# The values are small integers, which all of these hold.
SOURCES: dict[str, Rows] = {
    "as they are": lambda x: x,
    "apart": rows_apart,
    "backwards in memory": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "Fortran order": np.asfortranarray,
    "float64": lambda x: x.astype(np.float64),
    "int8": lambda x: x.astype(np.int8),
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
}


def data_of(n_in: int, n_out: int, rows: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n_in * 100 + n_out)
    x = rng.integers(-4, 5, (rows, n_in)).astype(dtype)
    return x, rng.standard_normal((rows, n_out)).astype(dtype)


def model_of(n_in: int, n_out: int, dtype: type, bias: bool = True) -> nn.Linear:
    schuss.manual_seed(4)
    return nn.Linear(n_in, n_out, bias=bias, dtype=dtype)


def bits(model: nn.Module) -> bytes:
    return b"".join(value.tobytes() for value in model.state_dict().values())


def fitted(
    model: nn.Linear, loss: nn.Module, x: np.ndarray, y: np.ndarray, batch: int, shuffle: bool
) -> tuple[bytes, list[float]]:
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.5)
    options = {"epochs": 2, "batch_size": batch, "shuffle": shuffle, "seed": 9}
    history = schuss.fit(model, loss, optimizer, x, y, **options)
    return bits(model), list(history.loss)


def stepped(
    model: nn.Linear, loss: nn.Module, x: np.ndarray, y: np.ndarray, batch: int, shuffle: bool
) -> bytes:
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.5)
    loader = schuss.DataLoader(x, y, batch_size=batch, shuffle=shuffle, seed=9)
    for _ in range(2):
        for xb, yb in loader:
            optimizer.zero_grad()
            loss(model(xb), yb).backward()
            optimizer.step()
    return bits(model)


@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
@pytest.mark.parametrize("batch", [1, 9, 32, 300, 1030])
@pytest.mark.parametrize(("n_in", "n_out", "dtype"), SHAPES)
def test_fit_gives_the_bits_of_the_general_kernels(
    n_in: int, n_out: int, dtype: type, batch: int, shuffle: bool
) -> None:
    rows = 70 if batch < 30 else 1100
    x, y = data_of(n_in, n_out, rows, dtype)
    arguments = (nn.MSELoss(), x, y, batch, shuffle)
    expected = stepped(model_of(n_in, n_out, dtype), *arguments)
    runs = set()
    for threads in (1, 2, 5):
        schuss.set_num_threads(threads)
        parameters, losses = fitted(model_of(n_in, n_out, dtype), *arguments)
        assert parameters == expected
        runs.add(tuple(losses))
    assert len(runs) == 1


@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
@pytest.mark.parametrize("batch", [95, 96, 128, 256])
@pytest.mark.parametrize(
    ("n_in", "n_out", "dtype"), [(784, 10, F32), (256, 9, F32), (301, 16, F32), (300, 7, F64)]
)
def test_threads_that_share_inputs_give_the_bits_of_one(
    n_in: int, n_out: int, dtype: type, batch: int, shuffle: bool
) -> None:
    """Two threads, from 96 rows and 256 inputs on: the chains of a row go from one to the other."""
    x, y = data_of(n_in, n_out, 700, dtype)
    arguments = (nn.MSELoss(), x, y, batch, shuffle)
    schuss.set_num_threads(1)
    expected = fitted(model_of(n_in, n_out, dtype), *arguments)
    schuss.set_num_threads(2)
    _schuss.testing.set_work_per_thread(1.0)  # every step is shared
    try:
        shared = fitted(model_of(n_in, n_out, dtype), *arguments)
    finally:
        _schuss.testing.set_work_per_thread(0.0)
    assert shared == expected


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("n_out", [1, 3, 10])
@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
def test_every_source_of_rows_gives_the_same_bits(source: str, n_out: int, shuffle: bool) -> None:
    x, y = data_of(37, n_out, 700, F32)
    expected = stepped(model_of(37, n_out, F32), nn.MSELoss(), x, y, 260, shuffle)
    model = model_of(37, n_out, F32)
    assert fitted(model, nn.MSELoss(), SOURCES[source](x), y, 260, shuffle)[0] == expected


LOSSES: dict[str, tuple[nn.Module, str]] = {
    "L1": (nn.L1Loss(), "real"),
    "Huber": (nn.HuberLoss(), "real"),
    "logistic": (nn.BCEWithLogitsLoss(), "binary"),
    "sum": (nn.MSELoss(reduction="sum"), "real"),
    "labels": (nn.CrossEntropyLoss(), "label"),
    "labels, weighted and ignored": (
        nn.CrossEntropyLoss(weight=np.array([0.5, 2.0, 1.0, *[1.5] * 9]), ignore_index=1),
        "label",
    ),
    "probabilities": (nn.CrossEntropyLoss(label_smoothing=0.1), "probability"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n_out", [3, 12])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_every_kind_of_target_gives_the_same_bits(name: str, n_out: int, bias: bool) -> None:
    loss, kind = LOSSES[name]
    if n_out == 3 and "weighted" in name:
        loss = nn.CrossEntropyLoss(weight=np.array([0.5, 2.0, 1.0]), ignore_index=1)
    x, y = data_of(21, n_out, 600, F32)
    if kind == "binary":
        y = (y > 0).astype(np.float32)
    elif kind == "label":
        y = np.argmax(y, axis=1)
    elif kind == "probability":
        y = np.abs(y) / np.abs(y).sum(axis=1, keepdims=True)
    expected = stepped(model_of(21, n_out, F32, bias), loss, x, y, 70, True)
    assert fitted(model_of(21, n_out, F32, bias), loss, x, y, 70, True)[0] == expected


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("n_out", [1, 10])
def test_frozen_parameter_stays_and_the_other_gets_its_bits(frozen: str, n_out: int) -> None:
    x, y = data_of(19, n_out, 300, F32)
    results = []
    for train in (stepped, lambda *a: fitted(*a)[0]):
        model = model_of(19, n_out, F32)
        before = getattr(model, frozen).detach().numpy().copy()
        getattr(model, frozen).requires_grad = False
        results.append(train(model, nn.MSELoss(), x, y, 64, True))
        np.testing.assert_array_equal(getattr(model, frozen).detach().numpy(), before)
    assert results[0] == results[1]


@pytest.mark.parametrize("n_out", [1, 10])
@pytest.mark.parametrize("threads", [1, 2])
def test_infinity_in_a_row_is_reported_with_its_step(n_out: int, threads: int) -> None:
    schuss.set_num_threads(threads)
    x, y = data_of(50, n_out, 3000, F32)
    x[2100, 49] = np.inf
    model = model_of(50, n_out, F32)
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    with pytest.raises(schuss.NonFiniteError, match="step 2"):
        schuss.fit(model, nn.MSELoss(), optimizer, x, y, epochs=1, batch_size=1000)


@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
@pytest.mark.parametrize("n_out", [1, 10])
@pytest.mark.parametrize("threads", [1, 2])
def test_overflow_in_flight_is_named_and_changes_nothing(
    n_out: int, threads: int, shuffle: bool
) -> None:
    schuss.set_num_threads(threads)
    x, y = data_of(50, n_out, 3000, F32)
    x = x.astype(np.float64)
    x[2100, 7] = 1e300
    model = model_of(50, n_out, F32)
    before = bits(model)
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    with pytest.raises(ValueError, match=r"(?s)2100.*7"):
        schuss.fit(model, nn.MSELoss(), optimizer, x, y, epochs=1, batch_size=1000, shuffle=shuffle)
    assert bits(model) == before


_DIGESTS = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import test_walks as t
found = hashlib.sha256()
for n_in, n_out, dtype in t.SHAPES:
    x, y = t.data_of(n_in, n_out, 700, dtype)
    for batch in (32, 600):
        model = t.model_of(n_in, n_out, dtype)
        found.update(t.fitted(model, t.nn.MSELoss(), x, y, batch, True)[0])
print(t.schuss.info()["isa"], found.hexdigest())
"""


def test_every_instruction_set_gives_the_same_bits() -> None:
    found: dict[str, str] = {}
    for isa in schuss._schuss.testing.isas():
        command = [sys.executable, "-c", _DIGESTS, str(Path(__file__).parent)]
        environment = {**os.environ, "SCHUSS_ISA": isa}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        name, digest = run.stdout.split()
        assert name == isa
        found[isa] = digest
    assert len(set(found.values())) == 1, found

# SPDX-License-Identifier: MIT
"""Same bits: instruction sets, threads, alignment, data sources, step by step and `fit`.

Run as a program, this file prints the digests of every case as JSON; the tests run it under one
instruction set after another.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import schuss
from schuss import nn, optim

Data = tuple[np.ndarray, np.ndarray]
F32, F64 = schuss.float32, schuss.float64


class Case(NamedTuple):
    """A training run; layers are widths with an activation between each two."""

    widths: tuple[int, ...]
    activation: Callable[[], nn.Module]
    loss: Callable[[], nn.Module]
    optimizer: Callable[[Any], optim.Optimizer]
    rows: int
    batch_size: int | None
    target: str = "real"
    dtype: type = F32
    bias: bool = True


def sgd(**options: Any) -> Callable[[Any], optim.Optimizer]:
    return lambda parameters: optim.SGD(parameters, **{"lr": 0.05, **options})


def adam(**options: Any) -> Callable[[Any], optim.Optimizer]:
    return lambda parameters: optim.Adam(parameters, **{"lr": 0.01, **options})


def adamw(**options: Any) -> Callable[[Any], optim.Optimizer]:
    return lambda parameters: optim.AdamW(parameters, **{"lr": 0.01, **options})


# Widths on both sides of the narrow-output rule and of a register; batches on both sides of a
# chunk of 256 rows; every activation, loss and optimizer at least once; "big-work" has steps
# that are worth a second thread.
CASES: dict[str, Case] = {
    "line": Case((1, 1), nn.Identity, nn.MSELoss, sgd(), 30, None),
    "linear": Case((13, 1), nn.Identity, nn.MSELoss, sgd(momentum=0.9, nesterov=True), 300, 32),
    "wide-linear": Case((130, 1), nn.Identity, nn.L1Loss, sgd(lr=1e-3), 531, 300),
    "no-bias": Case((17, 5), nn.Identity, nn.MSELoss, sgd(weight_decay=0.1), 100, 7, bias=False),
    "softmax": Case(
        (20, 7),
        nn.Identity,
        lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
        sgd(momentum=0.9, dampening=0.5),
        200,
        32,
        "label",
    ),
    "log-softmax": Case((9, 16, 4), nn.LogSoftmax, nn.CrossEntropyLoss, adam(), 120, 40, "label"),
    "logistic": Case((33, 1), nn.Identity, nn.BCEWithLogitsLoss, adamw(), 200, 64, "binary"),
    "relu": Case((33, 65, 17, 3), nn.ReLU, nn.CrossEntropyLoss, sgd(), 600, 64, "label"),
    "big-batch": Case((20, 64, 1), nn.ReLU, nn.MSELoss, adam(amsgrad=True), 1100, None),
    "big-work": Case((64, 128, 96, 10), nn.ReLU, nn.CrossEntropyLoss, sgd(), 2500, None, "label"),
    "leaky": Case((8, 48, 2), nn.LeakyReLU, nn.SmoothL1Loss, sgd(), 100, 16),
    "elu": Case((8, 31, 2), nn.ELU, nn.HuberLoss, adam(weight_decay=0.01), 100, 16),
    "gelu": Case((15, 49, 16), nn.GELU, nn.MSELoss, adamw(), 100, 33),
    "gelu-tanh": Case((15, 16, 1), lambda: nn.GELU("tanh"), nn.MSELoss, adam(), 100, 16),
    "silu": Case((15, 16, 3), nn.SiLU, nn.MSELoss, adam(), 100, 16),
    "softplus": Case((15, 16, 3), nn.Softplus, nn.MSELoss, adam(), 100, 16),
    "sigmoid": Case((15, 33, 3), nn.Sigmoid, nn.MSELoss, sgd(lr=1.0), 100, 16),
    "tanh": Case((3, 2, 2, 1), nn.Tanh, nn.MSELoss, sgd(maximize=True, lr=1e-3), 100, 16),
    "softmax-hidden": Case((6, 20, 4), lambda: nn.Softmax(dim=1), nn.MSELoss, sgd(), 70, 16),
    "double": Case((13, 9, 1), nn.Tanh, nn.MSELoss, adam(), 300, 50, dtype=F64),
    "double-softmax": Case(
        (20, 33, 7), nn.GELU, nn.CrossEntropyLoss, sgd(momentum=0.9), 300, 50, "label", F64
    ),
}


def data_of(case: Case) -> Data:
    """Values that float32 holds exactly, so that every dtype can carry them."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((case.rows, case.widths[0])).astype(np.float32)
    if case.target == "label":
        return X, rng.integers(0, case.widths[-1], case.rows)
    y = rng.standard_normal((case.rows, case.widths[-1])).astype(np.float32)
    return X, (y > 0).astype(np.float32) if case.target == "binary" else y


def model_of(case: Case, seed: int = 3) -> nn.Sequential:
    schuss.manual_seed(seed)
    layers: list[nn.Module] = []
    for n_in, n_out in zip(case.widths, case.widths[1:], strict=False):
        layers += [nn.Linear(n_in, n_out, bias=case.bias, dtype=case.dtype), case.activation()]
    return nn.Sequential(*layers[:-1])


def digest(*arrays: np.ndarray) -> str:
    """Of values and signs of zero; payloads of NaNs are outside the promise."""
    found = hashlib.sha256()
    for array in arrays:
        plain = np.array(array, order="C")
        plain[np.isnan(plain)] = np.nan
        found.update(f"{plain.dtype}{plain.shape}".encode() + plain.tobytes())
    return found.hexdigest()[:16]


def fitted(case: Case, X: Any, y: Any, seed: int = 11) -> str:
    """Digest of parameters, optimizer state, losses, predictions and an evaluation."""
    model = model_of(case)
    optimizer = case.optimizer(model.parameters())
    options: dict[str, Any] = {"epochs": 3, "batch_size": case.batch_size, "seed": seed}
    history = schuss.fit(model, case.loss(), optimizer, X, y, **options)
    evaluated = schuss.evaluate(model, case.loss(), X, y)["loss"]
    state = [
        np.asarray(value, np.float64)
        for values in optimizer.state_dict()["state"].values()
        for _, value in sorted(values.items())
    ]
    return digest(
        *model.state_dict().values(),
        *state,
        np.array([*history.loss, evaluated]),
        schuss.predict(model, X),
    )


def stepped(case: Case, X: Any, y: Any) -> list[np.ndarray]:
    """Parameters after the loop written out."""
    model = model_of(case)
    optimizer = case.optimizer(model.parameters())
    loss = case.loss()
    loader = schuss.DataLoader(X, y, batch_size=case.batch_size, shuffle=True, seed=11)
    for _ in range(3):
        for xb, yb in loader:
            optimizer.zero_grad()
            loss(model(xb), yb).backward()
            optimizer.step()
    return list(model.state_dict().values())


# ---- instruction sets and threads ----------------------------------------------------------------


def main() -> None:
    """Print what ran and the digest of each case."""
    schuss.set_num_threads(int(sys.argv[1]))
    digests = {name: fitted(case, *data_of(case)) for name, case in CASES.items()}
    print(json.dumps({"isa": schuss.info()["isa"], "digests": digests}))


def program(isa: str, threads: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, __file__, str(threads)],
        env={**os.environ, "SCHUSS_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )


@cache
def digests_under(isa: str, threads: int) -> dict[str, str]:
    run = program(isa, threads)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["isa"] == isa  # the forced one really ran
    digests: dict[str, str] = found["digests"]
    return digests


ISAS: list[str] = schuss.info()["isas"]


def test_scalar_code_is_always_there_to_compare_with() -> None:
    assert ISAS[0] == "scalar"
    assert schuss.info()["isa"] in ISAS


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set_and_thread_count_gives_the_same_bits(isa: str, threads: int) -> None:
    assert digests_under(isa, threads) == digests_under("scalar", 1)


def test_process_of_its_own_gives_the_bits_of_this_one() -> None:
    here = {name: fitted(case, *data_of(case)) for name, case in CASES.items()}
    assert here == digests_under("scalar", 1)


@pytest.mark.parametrize("isa", ["banana", "AVX2", "neon" if "avx2" in ISAS else "avx2"])
def test_unknown_instruction_set_is_an_error_at_import(isa: str) -> None:
    run = program(isa, 1)
    assert run.returncode != 0
    assert f'SCHUSS_ISA: got "{isa}"; this machine has: {", ".join(ISAS)}' in run.stderr


def test_digest_sees_one_bit_the_sign_of_zero_and_another_seed() -> None:
    values = np.ones(100, np.float32)
    other = values.copy()
    other[63] = np.nextafter(np.float32(1), np.float32(2))
    assert digest(values) != digest(other)
    assert digest(np.array([0.0])) != digest(np.array([-0.0]))
    assert len({*digests_under("scalar", 1).values()}) == len(CASES)
    case = CASES["relu"]
    assert fitted(case, *data_of(case), seed=12) != fitted(case, *data_of(case))


# ---- step by step --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_fit_gives_the_bits_of_the_loop_written_out(name: str) -> None:
    case = CASES[name]
    X, y = data_of(case)
    model = model_of(case)
    schuss.fit(
        model,
        case.loss(),
        case.optimizer(model.parameters()),
        X,
        y,
        epochs=3,
        batch_size=case.batch_size,
        seed=11,
    )
    assert digest(*model.state_dict().values()) == digest(*stepped(case, X, y))


# ---- data sources --------------------------------------------------------------------------------


def shifted(array: np.ndarray, offset: int) -> np.ndarray:
    """The same values, `offset` bytes after a multiple of 64."""
    raw = np.empty(array.nbytes + 128, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    view = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert view.ctypes.data % 64 == offset
    return view


def strided(array: np.ndarray) -> np.ndarray:
    wide = np.zeros((2 * len(array), *(3 * n for n in array.shape[1:])), array.dtype)
    view = wide[::2] if array.ndim == 1 else wide[::2, 1::3]
    view[...] = array
    return view


def backwards(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array[::-1])[::-1]


def read_only(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def mapped(array: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")  # stays readable when its name is gone


def other_dtype(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64 if array.dtype == np.float32 else np.int16)


SOURCES: dict[str, Callable[[np.ndarray], Any]] = {
    "aligned": lambda a: shifted(a, 0),
    "4 bytes off": lambda a: shifted(a, 4 if a.itemsize == 4 else 8),
    "1 byte off": lambda a: shifted(a, 1),
    "60 bytes off": lambda a: shifted(a, 60),
    "Fortran": np.asfortranarray,
    "strided": strided,
    "backwards": backwards,
    "read-only": read_only,
    "memory map": mapped,
    "other dtype": other_dtype,
    "other dtype in a map": lambda a: mapped(other_dtype(a)),
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "list": lambda a: a.tolist(),
}


@cache
def plain_digest(name: str) -> str:
    return fitted(CASES[name], *data_of(CASES[name]))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["line", "linear", "softmax", "relu", "big-batch", "double"])
def test_every_source_of_the_same_values_gives_the_same_bits(name: str, source: str) -> None:
    case = CASES[name]
    X, y = data_of(case)
    assert fitted(case, SOURCES[source](X), SOURCES[source](y)) == plain_digest(name)


@pytest.mark.parametrize("source", SOURCES)
def test_loop_written_out_takes_every_source_too(source: str) -> None:
    case = CASES["leaky"]
    X, y = data_of(case)
    found = stepped(case, SOURCES[source](X), SOURCES[source](y))
    assert digest(*found) == digest(*stepped(case, X, y))


if __name__ == "__main__":
    main()

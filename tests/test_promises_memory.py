# SPDX-License-Identifier: MIT
"""Constant memory: what a call needs beyond its data does not grow with rows or batch.

Each measurement is a process of its own, this file run as a program: a peak belongs to a process
and never falls again.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim

pytestmark = [
    pytest.mark.no_sanitizer,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc"),
]

ROWS, FEATURES = 2_000_000, 20
# The promise is parameters plus a chunk of rows, less than 1 MB here (measured: 0.9). 6 MB leaves
# room for what the allocator rounds up, and is less than the smallest thing that grows with the
# rows: a copy of the float32 targets is 7.6 MB, and so is the result of `predict`.
LIMIT_MB = 6
RESULT_MB = ROWS * 4 / 2**20
# Address space is taken in larger steps (arenas, stacks): less than the 153 MB of a float32 copy.
LIMIT_PRIVATE_MB = 64

Data = tuple[np.ndarray, np.ndarray]


def made() -> tuple[nn.Sequential, optim.Optimizer]:
    schuss.manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 1))
    return model, optim.Adam(model.parameters(), lr=1e-3)


# ---- data ----------------------------------------------------------------------------------------


def filled(dtype: Any, order: Any = "C") -> Data:
    """Data of which no second copy ever existed."""
    rng = np.random.default_rng(0)
    X = np.empty((ROWS, FEATURES), dtype, order=order)
    for first in range(0, ROWS, 100_000):
        part = X[first : first + 100_000]
        part[...] = rng.random(part.shape, np.float32)
    return X, np.ones((ROWS, 1), dtype)


def mapped(path: str) -> Data:
    """Data in a file with holes: all zero, and nowhere in memory."""
    X = np.lib.format.open_memmap(path, "w+", np.float64, (ROWS, FEATURES))
    X._mmap.close()  # type: ignore[attr-defined]
    return np.load(path, mmap_mode="r"), np.zeros((ROWS, 1), np.float32)


DATA: dict[str, Callable[[], Data]] = {
    "float32": lambda: filled(np.float32),
    "float64": lambda: filled(np.float64),
    "int16": lambda: filled(np.int16),
    "Fortran": lambda: filled(np.float32, "F"),
    "mapped": lambda: mapped(sys.argv[3]),
}


# ---- what is measured ----------------------------------------------------------------------------


def fit(batch_size: int | None) -> Callable[[Any, Any], object]:
    def call(X: Any, y: Any) -> object:
        model, optimizer = made()
        return schuss.fit(model, nn.MSELoss(), optimizer, X, y, batch_size=batch_size, seed=0)

    return call


CALLS: dict[str, Callable[[Any, Any], object]] = {
    "fit whole": fit(None),
    "fit batches": fit(200_000),
    "predict": lambda X, y: schuss.predict(made()[0], X),
    "evaluate": lambda X, y: schuss.evaluate(made()[0], nn.MSELoss(), X, y),
    "copy": lambda X, y: X.astype(np.float32),
}


def status_mb(name: str) -> float:
    """A line of /proc/self/status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def main() -> None:
    """Print by how many MB a call raised the peak; with a file, whether it went without a copy."""
    X, y = DATA[sys.argv[2]]()
    call = CALLS[sys.argv[1]]
    if sys.argv[2] == "mapped":
        # Pages of the file count as resident, so here the limit is on private memory: a copy of
        # the data cannot be had.
        allowed = int((status_mb("VmData") + LIMIT_PRIVATE_MB) * 2**20)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
        try:
            call(X, y)
        except MemoryError:
            print("no")
        else:
            print("yes")
        return
    before, peak = status_mb("VmRSS"), status_mb("VmHWM")
    assert peak < before + 16, "the peak of making the data hides what comes after"
    call(X, y)
    print(status_mb("VmHWM") - before)


def measured(call: str, data: str, path: Path | str = "") -> str:
    run = subprocess.run(
        [sys.executable, __file__, call, data, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def grown_mb(call: str, data: str) -> float:
    """MB beyond the data and the result."""
    return float(measured(call, data)) - (RESULT_MB if call == "predict" else 0.0)


# ---- tests ---------------------------------------------------------------------------------------


def test_measurement_sees_a_copy() -> None:
    copy_mb = ROWS * FEATURES * 4 / 2**20
    assert grown_mb("copy", "float32") > 0.9 * copy_mb


def test_limit_keeps_a_copy_of_mapped_data_out(tmp_path: Path) -> None:
    assert measured("copy", "mapped", tmp_path / "X.npy") == "no"


@pytest.mark.parametrize("call", ["fit whole", "predict", "evaluate"])
def test_memory_beyond_the_data_is_small(call: str) -> None:
    assert grown_mb(call, "float32") < LIMIT_MB


@pytest.mark.parametrize("call", ["fit whole", "predict"])
def test_mapped_data_of_another_dtype_is_never_copied_whole(call: str, tmp_path: Path) -> None:
    assert measured(call, "mapped", tmp_path / "X.npy") == "yes"


def test_converted_data_is_never_copied_whole() -> None:
    assert grown_mb("fit whole", "float64") < LIMIT_MB


@pytest.mark.slow
@pytest.mark.parametrize("data", ["float64", "int16", "Fortran"])
@pytest.mark.parametrize("call", ["fit whole", "fit batches", "predict", "evaluate"])
def test_no_layout_or_dtype_is_copied_whole(call: str, data: str) -> None:
    assert grown_mb(call, data) < LIMIT_MB


if __name__ == "__main__":
    main()

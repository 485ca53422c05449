# SPDX-License-Identifier: MIT
"""Whatever the process around it does: control words, dead units, threads, cores, quotas."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import _schuss, nn, optim

testing: Any = _schuss.testing
TINY = {"float32": 2.0**-126, "float64": 2.0**-1022}
RNG = np.random.default_rng(4)
X = RNG.standard_normal((600, 120)).astype(np.float32)
Y = RNG.standard_normal((600, 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    before = schuss.get_num_threads()
    yield
    schuss.set_num_threads(before)


def net() -> nn.Sequential:
    schuss.manual_seed(1)
    layers = nn.Linear(120, 96), nn.GELU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 4)
    return nn.Sequential(*layers)


def digest(model: nn.Module, *more: Any) -> str:
    whole = hashlib.sha256()
    for values in [*model.state_dict().values(), *more]:
        whole.update(np.ascontiguousarray(values).tobytes())
    return whole.hexdigest()


# ---- dead units ----------------------------------------------------------------------------------


def subnormals(values: np.ndarray) -> int:
    tiny = TINY[values.dtype.name]
    return int(((values != 0) & (np.abs(values) < tiny)).sum())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_units_that_die_leave_no_subnormal_behind(method: str, dtype: str) -> None:
    """Subnormal state would make every update many times slower, for good."""
    schuss.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 40, dtype=dtype), nn.ReLU(), nn.Linear(40, 1, dtype=dtype))
    # In float64 a buffer needs 708 / -ln(momentum) steps to become subnormal: 5000 would not do
    # with 0.9.
    if method == "sgd":
        optimizer: Any = optim.SGD(model.parameters(), lr=1e-3, momentum=0.85)
    else:
        optimizer = optim.Adam(model.parameters(), lr=1e-4, betas=(0.85, 0.85))
    x, y = X[:64, :3], Y[:64, :1]
    options: dict[str, Any] = {"batch_size": None, "seed": 0}
    schuss.fit(model, nn.MSELoss(), optimizer, x, y, epochs=5, **options)
    dead = np.arange(40) % 2 == 0
    bias = model[0].bias.numpy()
    bias[dead] = -100.0  # no input reaches them any more
    buffers = "momentum_buffer" if method == "sgd" else "exp_avg"
    before = optimizer.state_dict()["state"][0][buffers]
    assert (before[dead] != 0).any()  # what is to die away was there
    schuss.fit(model, nn.MSELoss(), optimizer, x, y, epochs=5000, **options)
    state = optimizer.state_dict()["state"]
    assert not state[0][buffers][dead].any()
    for values in model.state_dict().values():
        assert subnormals(values) == 0
    for kept in state.values():
        for value in kept.values():
            if isinstance(value, np.ndarray):
                assert subnormals(value) == 0


# ---- control words -------------------------------------------------------------------------------


FLUSH = 0x8040  # of MXCSR: FTZ and DAZ
ROUNDING = {"down": 0x2000, "up": 0x4000, "to zero": 0x6000}


class ControlWord:
    """MXCSR by way of the C library: its fenv_t on x86-64 is 28 bytes of x87 state, then MXCSR."""

    def __init__(self) -> None:
        self._libm = ctypes.CDLL("libm.so.6")

    def read(self) -> int:
        environment = (ctypes.c_uint32 * 8)()
        assert self._libm.fegetenv(environment) == 0
        return environment[7]

    def write(self, value: int) -> None:
        environment = (ctypes.c_uint32 * 8)()
        assert self._libm.fegetenv(environment) == 0
        environment[7] = value
        assert self._libm.fesetenv(environment) == 0


def everything(x: np.ndarray) -> list[str]:
    """Digests of what the native calls compute, sensitive to rounding and to subnormals."""
    model = net()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    order: dict[str, Any] = {"batch_size": 200, "seed": 2, "epochs": 2}
    history = schuss.fit(model, nn.MSELoss(), optimizer, x, Y, scheduler=scheduler, **order)
    found = [digest(model, np.array(history.loss), np.array(scheduler.get_last_lr()))]
    found.append(digest(model, schuss.predict(model, x)))
    found.append(schuss.evaluate(model, nn.MSELoss(), x, Y)["loss"].hex())
    output = model(x)
    cost = nn.CrossEntropyLoss()(output, np.arange(600) % 4)
    optimizer.zero_grad()
    cost.backward()
    found.append(digest(model, *(p.grad.numpy() for p in model.parameters())))
    optimizer.step()
    found.append(digest(model, np.float64(cost.item())))
    return found


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the x86 control word")
@pytest.mark.parametrize("rounding", ROUNDING)
def test_rounding_mode_and_flushing_of_others_change_no_bit(rounding: str) -> None:
    word = ControlWord()
    schuss.set_num_threads(2)
    x = X.copy()
    x[:, ::7] *= np.float32(1e-41)  # subnormal features
    expected = everything(x)
    before = word.read()
    changed = before | FLUSH | ROUNDING[rounding]
    ones = np.array([1, -1], np.float32)
    nearest = ones / np.float32(3)
    word.write(changed)
    try:
        third = ones / np.float32(3)
        found = everything(x)
        after = word.read()
    finally:
        word.write(before)
    assert (third != nearest).any()  # the mode was really set
    assert found == expected
    # Bits 0 to 5 are flags of what happened; the settings are the caller's again.
    assert after & ~0x3F == changed & ~0x3F


# ---- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("thrower", [0, 1, 2, 6])
def test_exception_in_a_thread_of_a_region_surfaces(thrower: int) -> None:
    with pytest.raises(ValueError, match=f"thread {thrower} of 7"):
        testing.throw_in_region(7, thrower)
    assert testing.throw_in_region(7, -1) == 7  # and the team works on


def trained(threads: int | None = None, model: nn.Sequential | None = None) -> str:
    model = net() if model is None else model
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    history = schuss.fit(
        model, nn.MSELoss(), optimizer, X, Y, batch_size=200, seed=2, epochs=3, num_threads=threads
    )
    return digest(model, np.array(history.loss))


def at_once(*calls: Callable[[], str]) -> list[str]:
    found = [""] * len(calls)

    def run(number: int) -> None:
        found[number] = calls[number]()

    workers = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return found


def test_more_threads_than_cores_and_fits_at_once_come_to_their_end() -> None:
    alone = trained(1)
    models = [net() for _ in range(3)]  # made here: threads share the state of manual_seed
    assert at_once(*[functools.partial(trained, 7, model) for model in models]) == [alone] * 3


def in_subprocess(code: str, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_threads_by_default_are_the_cores_that_affinity_leaves() -> None:
    cores = sorted(os.sched_getaffinity(0))
    for count in {1, len(cores)}:
        code = (
            f"import os; os.sched_setaffinity(0, {cores[:count]})\n"
            "import schuss; print(schuss.get_num_threads())"
        )
        assert int(in_subprocess(code)) <= count
    assert in_subprocess(f"import os; os.sched_setaffinity(0, [{cores[0]}])\n"
                         "import schuss; print(schuss.get_num_threads())") == "1"  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", 0),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("149000 100000\n", 1),
        ("250000 100000\n", 3),
        ("400000 100000\n", 4),
        ("", 0),
        ("nonsense\n", 0),
        ("100000 0\n", 0),
    ],
)
def test_quota_of_the_control_group_counts_in_whole_cores(
    text: str, cores: int, tmp_path: Any
) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert testing.quota_cores(str(tmp_path), "/") == cores


def test_least_quota_among_the_groups_above_holds(tmp_path: Any) -> None:
    inner = tmp_path / "user.slice" / "job"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("300000 100000\n")
    assert testing.quota_cores(str(tmp_path), "/user.slice/job") == 3
    (inner.parent / "cpu.max").write_text("200000 100000\n")
    assert testing.quota_cores(str(tmp_path), "/user.slice/job") == 2
    (inner / "cpu.max").write_text("max 100000\n")
    assert testing.quota_cores(str(tmp_path), "/user.slice/job") == 2
    assert testing.quota_cores(str(tmp_path), "/") == 0

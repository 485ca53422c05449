# SPDX-License-Identifier: MIT
"""No allocation: a steady-state native training step takes no memory from anywhere.

A small library counts every call that obtains memory; loaded before the C library, it sees those
of NumPy, of the C++ runtime and of the extension. An epoch of twice as many steps then has to make
exactly as many such calls.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import _schuss, nn, optim

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

pytestmark = [
    pytest.mark.no_sanitizer,
    pytest.mark.skipif(
        COMPILER is None or platform.libc_ver()[0] != "glibc",
        reason="compiles a library that stands in front of glibc's allocator",
    ),
]

# operator new ends in malloc or aligned_alloc. glibc's own names reach the real functions without
# a search, which would allocate.
COUNTER = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

static long calls;
static void count(void) { __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED); }
long allocation_calls(void) { return __atomic_load_n(&calls, __ATOMIC_RELAXED); }

void* malloc(size_t n) { count(); return __libc_malloc(n); }
void* calloc(size_t n, size_t size) { count(); return __libc_calloc(n, size); }
void* realloc(void* p, size_t n) { count(); return __libc_realloc(p, n); }
void* memalign(size_t a, size_t n) { count(); return __libc_memalign(a, n); }
void* aligned_alloc(size_t a, size_t n) { count(); return __libc_memalign(a, n); }
int posix_memalign(void** p, size_t a, size_t n) {
  count();
  void* found = __libc_memalign(a, n);
  if (found == NULL) return ENOMEM;
  *p = found;
  return 0;
}
void* mmap(void* at, size_t n, int prot, int flags, int fd, off_t offset) {
  count();
  return (void*)syscall(SYS_mmap, at, n, prot, flags, fd, offset);
}
"""

STEPS, BATCH = 500, 8


# ---- the program ---------------------------------------------------------------------------------

Made = tuple[nn.Sequential, nn.Module, optim.Optimizer, np.ndarray, np.ndarray]


def regression(steps: int, kind: Any = optim.SGD, dtype: Any = np.float32, **options: Any) -> Made:
    schuss.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 33), nn.GELU(), nn.Linear(33, 2))
    X = np.arange(steps * BATCH * 20, dtype=np.int64).reshape(-1, 20) % 17
    optimizer = kind(model.parameters(), lr=1e-3, **options)
    return model, nn.MSELoss(), optimizer, X.astype(dtype), np.ones((len(X), 2), dtype)


def softmax(steps: int) -> Made:
    schuss.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 7))
    X = np.arange(steps * BATCH * 20, dtype=np.float32).reshape(-1, 20) % 17
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    return model, nn.CrossEntropyLoss(), optimizer, X, np.arange(len(X)) % 7


def line(steps: int) -> Made:
    schuss.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 1))
    X = np.arange(steps * BATCH, dtype=np.float32).reshape(-1, 1) % 3
    return model, nn.MSELoss(), optim.SGD(model.parameters(), lr=1e-3), X, 2 * X + 1


def recorded(steps: int) -> Made:
    """A loss written in Python, in its native form."""

    def loss(prediction: schuss.Tensor, target: schuss.Tensor) -> schuss.Tensor:
        error = prediction - target
        size = error.abs()
        return schuss.where(size < 1.0, error * size, 2.0 * size.sum(1, keepdim=True)).mean()

    model, _, optimizer, X, y = regression(steps)
    criterion: Any = schuss.compile(loss, (y[:4], y[:4]))
    return model, criterion, optimizer, X, y


CASES: dict[str, Callable[[int], Made]] = {
    "line": line,
    "softmax": softmax,
    "SGD": regression,
    "Nesterov": lambda n: regression(n, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda n: regression(n, optim.Adam, amsgrad=True),
    "AdamW": lambda n: regression(n, optim.AdamW),
    "recorded loss": recorded,
    "float64 data": lambda n: regression(n, dtype=np.float64),
    "int16 data": lambda n: regression(n, dtype=np.int16),
    "shards": regression,
}


def trainer(case: str, steps: int) -> _schuss.Trainer:
    model, loss, optimizer, X, y = CASES[case](steps)
    return _schuss.Trainer(
        _schuss.Network(list(model._layers(""))),
        loss._loss,
        optimizer._native,
        X,
        y,
        batch_size=BATCH,
        shuffle=True,
        drop_last=False,
        seed=0,
        first_epoch=0,
        restore=True,
        shards=8 if case == "shards" else 1,
    )


def by_hand(case: str, steps: int) -> None:
    """The same steps out of Python, which has to allocate for each."""
    model, loss, optimizer, X, y = CASES[case](steps)
    for xb, yb in schuss.DataLoader(X, y, batch_size=BATCH):
        optimizer.zero_grad()
        loss(model(xb), yb).backward()
        optimizer.step()


def main() -> None:
    """Print, for each case, the calls of one epoch and of one with twice the steps."""
    calls = ctypes.CDLL(None).allocation_calls
    calls.restype = ctypes.c_long

    def counted(action: Callable[[], object]) -> int:
        before = calls()
        action()
        return int(calls() - before)

    found: dict[str, list[int]] = {}
    for case in CASES:
        trainer(case, 2).run(1, 60.0)  # what happens once in a process
        loops = [trainer(case, STEPS), trainer(case, 2 * STEPS)]
        found[case] = [counted(lambda loop=loop: loop.run(1, 60.0)) for loop in loops]
        # The first epoch is behind these, and everything is there already.
        found[f"{case}, again"] = [counted(lambda loop=loop: loop.run(2, 60.0)) for loop in loops]
        assert [loop.epochs_done for loop in loops] == [2, 2]
    by_hand("SGD", 2)  # what happens once in a process
    found["by hand"] = [counted(lambda n=n: by_hand("SGD", n)) for n in (STEPS, 2 * STEPS)]
    for case in ("line", "SGD"):
        loop = trainer(case, 4)
        loop.run(1, 60.0)
        found[f"{case}, many epochs"] = [
            counted(lambda loop=loop, n=n: loop.run(n, 60.0)) for n in (1000, 3000)
        ]
    print(json.dumps(found))


# ---- tests ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    folder: Path = tmp_path_factory.mktemp("counter")
    source, library = folder / "counter.c", folder / "counter.so"
    source.write_text(COUNTER)
    assert COMPILER is not None
    subprocess.run([COMPILER, "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    run = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, list[int]] = json.loads(run.stdout)
    return found


def test_counter_sees_steps_that_allocate(counts: dict[str, list[int]]) -> None:
    once, twice = counts["by hand"]
    # Several calls a step: arrays of the batch, the output, the cost, the graph.
    assert once > 4 * STEPS
    assert twice - once > 4 * STEPS


@pytest.mark.parametrize("case", CASES)
def test_native_step_allocates_nothing(case: str, counts: dict[str, list[int]]) -> None:
    once, twice = counts[case]
    assert once == twice


@pytest.mark.parametrize("case", CASES)
def test_second_epoch_allocates_nothing_either(case: str, counts: dict[str, list[int]]) -> None:
    once, twice = counts[f"{case}, again"]
    assert once == twice
    # What the call itself takes: its arguments and result as Python objects, and room for the
    # epoch's loss and time.
    assert once <= 16


@pytest.mark.parametrize("case", ["line", "SGD"])
def test_epochs_allocate_only_room_for_their_losses(
    case: str, counts: dict[str, list[int]]
) -> None:
    # Two growing lists, of losses and of seconds: doubling from 1 to 4096 is 12 calls each, and
    # what a single call takes comes on top.
    for calls in counts[f"{case}, many epochs"]:
        assert calls <= 2 * 12 + 16


if __name__ == "__main__":
    main()

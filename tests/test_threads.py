# SPDX-License-Identifier: MIT
"""The worker team: the same bits on any number of threads, and manners towards the process."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import multiprocessing
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import _schuss, nn, optim

THREADS = (1, 2, 3, 7)


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    before = schuss.get_num_threads()
    yield
    schuss.set_num_threads(before)


def wide() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(200, 300), nn.ReLU(), nn.Linear(300, 200), nn.Tanh(), nn.Linear(200, 3)
    )


def shared() -> nn.Sequential:
    square = nn.Linear(128, 128)
    return nn.Sequential(
        nn.Linear(64, 128), nn.GELU(), square, nn.ReLU(), square, nn.Linear(128, 7)
    )


def frozen() -> nn.Sequential:
    model = wide()
    model[0].weight.requires_grad = False
    model[2].bias.requires_grad = False
    return model


def narrow() -> nn.Sequential:
    return nn.Sequential(nn.Linear(100, 1))


def without_bias() -> nn.Sequential:
    return nn.Sequential(nn.Linear(400, 33, bias=False))


#: model, features, outputs, rows, batch size (None: all rows), shuffled.
#: By tiles: the wide ones. By chunks of rows: small gradients with several chunks a batch.
CASES: dict[str, tuple[Callable[[], nn.Sequential], int, int, int, int | None, bool]] = {
    "tiles": (wide, 200, 3, 700, 200, True),
    "tiles, several chunks": (wide, 200, 3, 1500, 700, False),
    "tiles, a shared layer": (shared, 64, 7, 600, 300, True),
    "tiles, frozen parts": (frozen, 200, 3, 700, 200, True),
    "tiles, no bias": (without_bias, 400, 33, 1000, 250, True),
    "chunks": (narrow, 100, 1, 10_000, 5000, True),
    "chunks, small batches": (narrow, 100, 1, 5000, 1024, True),
    "chunks, all rows": (narrow, 100, 1, 20_001, None, False),
    "chunks, several levels of the tree": (narrow, 100, 1, 64 * 256 * 2 + 300, None, False),
}


def data_of(case: str) -> tuple[np.ndarray, np.ndarray]:
    _, n_in, n_out, rows, _, _ = CASES[case]
    rng = np.random.default_rng(5)
    x = rng.standard_normal((rows, n_in)).astype(np.float32)
    return x, rng.standard_normal((rows, n_out)).astype(np.float32)


def made(case: str) -> nn.Sequential:
    schuss.manual_seed(3)
    return CASES[case][0]()


def trained(case: str, model: nn.Sequential) -> str:
    """Digest of losses, parameters and predictions after two epochs."""
    *_, batch_size, shuffle = CASES[case]
    x, y = data_of(case)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    options = {"epochs": 2, "batch_size": batch_size, "shuffle": shuffle, "seed": 1}
    history = schuss.fit(model, nn.MSELoss(), optimizer, x, y, **options)
    digest = hashlib.sha256(np.array(history.loss).tobytes())
    for values in model.state_dict().values():
        digest.update(values.tobytes())
    digest.update(schuss.predict(model, x[:100]).tobytes())
    return digest.hexdigest()


def threads_of(
    model: nn.Sequential, x: np.ndarray, y: np.ndarray, batch_size: int | None, shuffle: bool
) -> int:
    """How many threads would share a step of this training."""
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    network, loss = schuss.nn.native.network_of(model, x), nn.MSELoss()._loss
    order = (batch_size, shuffle, False, 0, 0)
    return _schuss.Trainer(network, loss, optimizer._native, x, y, *order, True).threads


def train(case: str, threads: int) -> str:
    schuss.set_num_threads(threads)
    return trained(case, made(case))


@pytest.mark.parametrize("case", CASES)
def test_training_is_the_same_on_any_number_of_threads(case: str) -> None:
    assert len({train(case, threads) for threads in THREADS}) == 1


@pytest.mark.parametrize("case", CASES)
def test_cases_are_large_enough_to_be_shared(case: str) -> None:
    *_, batch_size, shuffle = CASES[case]
    for threads in (1, 2):
        schuss.set_num_threads(threads)
        assert threads_of(made(case), *data_of(case), batch_size, shuffle) == threads


def test_tiny_step_stays_on_one_thread() -> None:
    schuss.set_num_threads(7)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    x, y = np.zeros((64, 4), np.float32), np.zeros((64, 1), np.float32)
    assert threads_of(model, x, y, 32, True) == 1


@pytest.fixture
def work_per_thread() -> Iterator[Callable[[float], float]]:
    yield _schuss.testing.set_work_per_thread
    _schuss.testing.set_work_per_thread(0.0)


@pytest.mark.parametrize("width", [3, 40, 130])
@pytest.mark.parametrize("batch", [23, 24, 255, 256, 257, 700])
def test_step_that_is_forced_to_share_has_the_bits_of_one_that_is_not(
    work_per_thread: Callable[[float], float], width: int, batch: int
) -> None:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((900, width)).astype(np.float32)
    y = rng.standard_normal((900, 2)).astype(np.float32)
    schuss.set_num_threads(2)
    trained_with = {}
    for work in (1.0, 1e18):
        work_per_thread(work)
        schuss.manual_seed(3)
        model = nn.Sequential(nn.Linear(width, 48), nn.ReLU(), nn.Linear(48, 2))
        threads = threads_of(model, x, y, batch, True)
        assert threads == (2 if work == 1.0 and batch >= 24 else 1)
        optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        schuss.fit(
            model, nn.MSELoss(), optimizer, x, y, epochs=2, batch_size=batch, shuffle=True, seed=1
        )
        trained_with[work] = {name: p.tobytes() for name, p in model.state_dict().items()}
    assert trained_with[1.0] == trained_with[1e18]


@pytest.fixture
def trial_mode() -> Iterator[Callable[[Any], Any]]:
    yield _schuss.testing.set_trial_mode
    _schuss.testing.set_trial_mode(_schuss.testing.TrialMode.TIMED)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_steps_that_are_shared_now_and_then_have_the_bits_of_one_thread(
    case: str,
    threads: int,
    work_per_thread: Callable[[float], float],
    trial_mode: Callable[[Any], Any],
) -> None:
    alone = train(case, 1)
    work_per_thread(1.0)
    trial_mode(_schuss.testing.TrialMode.ALTERNATING)
    assert train(case, threads) == alone


@pytest.mark.parametrize("case", ["tiles", "chunks"])
@pytest.mark.parametrize("bad", range(4))
def test_bad_row_in_a_shared_step_or_one_between_changes_nothing(
    case: str,
    bad: int,
    work_per_thread: Callable[[float], float],
    trial_mode: Callable[[Any], Any],
) -> None:
    work_per_thread(1.0)
    trial_mode(_schuss.testing.TrialMode.ALTERNATING)
    schuss.set_num_threads(2)
    model = made(case)
    before = {name: p.tobytes() for name, p in model.state_dict().items()}
    x, y = data_of(case)
    x, size = x.astype(np.float64), len(x) // 4
    x[bad * size + 1, 2] = 1e300
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    with pytest.raises(ValueError, match=rf"{bad * size + 1}.*overflow|overflow.*{bad * size + 1}"):
        schuss.fit(model, nn.MSELoss(), optimizer, x, y, epochs=3, batch_size=size)
    assert {name: p.tobytes() for name, p in model.state_dict().items()} == before


#: A number for each simulated shape: what one trial finds is for the same shape only.
shapes = itertools.count(1 << 40)


def simulated(alone: list[float], shared: list[float], guess: bool = True, **at: int) -> list[bool]:
    """Which steps are shared, by what they take either way (microseconds)."""
    shape = at.get("shape", next(shapes))
    seconds = ([1e-6 * t for t in times] for times in (alone, shared))
    return _schuss.testing.simulate_trial(shape, guess, 1e-6 * alone[0], *seconds)


def taken(was_shared: list[bool], alone: list[float], shared: list[float]) -> float:
    steps = zip(was_shared, alone, shared, strict=True)
    return sum(s if is_shared else a for is_shared, a, s in steps)


@pytest.mark.parametrize("guess", [True, False])
@pytest.mark.parametrize("step", [10.0, 50.0, 400.0, 3000.0])
@pytest.mark.parametrize("ratio", [0.55, 0.8, 1.2, 2.0, 10.0])
def test_trial_finds_the_faster_way_whatever_the_estimate(
    step: float, ratio: float, guess: bool
) -> None:
    n = int(1e6 / step)  # a second on one thread
    alone, shared = [step] * n, [ratio * step] * n
    best = min(sum(alone), sum(shared))
    # Four steps of the wrong way, or one of more than eight; soon a 64th of the time.
    first = 4 * (4 * abs(step - ratio * step) + 4 * step)
    assert taken(simulated(alone, shared, guess), alone, shared) <= 1.03 * best + first


def test_trial_follows_a_price_that_changes() -> None:
    n = 20_000
    alone = [50.0] * (4 * n)
    shared = [30.0] * n + [120.0] * n + [30.0] * n + [500.0] * n
    found = simulated(alone, shared)
    for start, is_shared in ((0, True), (n, False), (2 * n, True), (3 * n, False)):
        # A probe loses up to 8 steps, so after 400 steps alone comes the next.
        late = found[start + 5000 : start + n]
        assert sum(was == is_shared for was in late) >= 0.97 * len(late)


def test_trial_forgives_a_single_stall() -> None:
    n = 4000
    shared = [30.0] * n
    shared[1000] = shared[2500] = 5000.0  # another program had the processor
    found = simulated([50.0] * n, shared)
    assert sum(found) >= 0.95 * n


def test_next_fit_of_a_shape_knows_what_the_last_one_found() -> None:
    n, shape = 100, next(shapes)
    for ratio, is_shared in ((3.0, False), (0.5, True)):
        alone, shared = [40.0] * n, [40.0 * ratio] * n
        for _ in range(100):  # 0.4 s: longer than any pause after losses of a few steps
            found = simulated(alone, shared, shape=shape)
        assert found == [is_shared] * n


def test_short_fits_go_by_the_estimate() -> None:
    for guess in (True, False):
        assert simulated([20.0] * 20, [20.0] * 20, guess) == [guess] * 20


def test_two_models_train_side_by_side() -> None:
    alone = {case: train(case, 2) for case in ("tiles", "chunks")}
    models = {case: made(case) for case in alone}
    together: dict[str, str] = {}

    def work(case: str) -> None:
        together[case] = trained(case, models[case])

    workers = [threading.Thread(target=work, args=(case,)) for case in alone]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert together == alone


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_affinity_is_as_it_was_after_threads_shared_a_step() -> None:
    before = os.sched_getaffinity(0)
    train("tiles", 2)
    tasks = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    assert len(tasks) > 1
    assert all(os.sched_getaffinity(task) == before for task in tasks)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_process_confined_to_one_processor_trains_the_same() -> None:
    expected = train("tiles", 2)
    before = os.sched_getaffinity(0)
    tasks = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    try:
        for task in tasks:
            os.sched_setaffinity(task, {min(before)})
        assert train("tiles", 2) == expected
    finally:
        for task in tasks:
            os.sched_setaffinity(task, before)


def _child(case: str, queue: multiprocessing.Queue[str]) -> None:
    queue.put(train(case, 2))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python warns of forks beside threads
def test_forked_child_trains_with_threads_of_its_own() -> None:
    parent = train("tiles", 2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=("tiles", queue))
    child.start()
    assert queue.get(timeout=60) == parent
    child.join(timeout=60)
    assert child.exitcode == 0
    assert train("tiles", 2) == parent


@pytest.mark.parametrize("count", [0, -1, 257])
def test_number_of_threads_out_of_range_is_an_error(count: int) -> None:
    before = schuss.get_num_threads()
    with pytest.raises(ValueError, match="num_threads"):
        schuss.set_num_threads(count)
    assert schuss.get_num_threads() == before


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SCHUSS_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "5"}, "5"),
        ({"SCHUSS_NUM_THREADS": "2", "OMP_NUM_THREADS": "5"}, "2"),
    ],
)
def test_environment_chooses_the_threads(environment: dict[str, str], expected: str) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    code = "import schuss; print(schuss.get_num_threads())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the x86 control word")
def test_flush_to_zero_of_another_library_changes_no_bit() -> None:
    libm = ctypes.CDLL("libm.so.6")
    # glibc's fenv_t on x86-64: 28 bytes of x87 state, then MXCSR.
    environment = (ctypes.c_uint32 * 8)()
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    x = np.full((40, 3), 1e-39, np.float32)  # subnormal: flushed to zero when the flags are set
    expected = schuss.predict(model, x).tobytes(), train("tiles", 2)
    assert libm.fegetenv(environment) == 0
    before = environment[7]
    environment[7] = before | 0x8040  # FTZ and DAZ
    assert libm.fesetenv(environment) == 0
    try:
        flushed = float(np.float32(1e-39) * np.float32(1.0))
        found = schuss.predict(model, x).tobytes(), train("tiles", 2)
        after = (ctypes.c_uint32 * 8)()
        libm.fegetenv(after)
        kept = after[7] & 0x8040
    finally:
        environment[7] = before
        libm.fesetenv(environment)
    assert flushed == 0.0  # the flags were really set
    assert found == expected
    assert kept == 0x8040  # and are the caller's again


@pytest.mark.parametrize("case", ["tiles", "chunks"])
@pytest.mark.parametrize("threads", THREADS)
def test_the_first_of_several_bad_rows_is_named(case: str, threads: int) -> None:
    """Threads that are done early take rows from the others: the report does not depend on it."""
    make, n_in, n_out, rows, batch, _ = CASES[case]
    schuss.manual_seed(0)
    model = make()
    X = np.random.default_rng(0).normal(size=(rows, n_in))
    y = np.zeros((rows, n_out))
    X[[61, 83, 120, 199], 1] = 1e300
    with pytest.raises(ValueError, match=r"X\[61, 1\] is 1e\+300"):
        schuss.fit(
            model,
            nn.MSELoss(),
            optim.SGD(model.parameters(), lr=0.01),
            X,
            y,
            batch_size=batch,
            shuffle=False,
            num_threads=threads,
        )

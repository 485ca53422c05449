# SPDX-License-Identifier: MIT
"""The step-by-step API, `predict` and `evaluate` on several threads: the bits of one."""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
from collections.abc import Callable

import numpy as np
import pytest

import schuss
from schuss import _schuss, nn, optim

pytestmark = pytest.mark.usefixtures("restored_threads")

THREADS = (1, 2, 3, 7)
#: Multiply-adds that make a thread worth having: by estimates, always, never.
WAYS = {"estimated": 0.0, "forced": 1.0, "never": 1e18}


def wide() -> nn.Module:
    return nn.Sequential(
        nn.Linear(200, 300), nn.ReLU(), nn.Linear(300, 200), nn.Tanh(), nn.Linear(200, 5)
    )


def shared() -> nn.Module:
    square = nn.Linear(64, 64)
    return nn.Sequential(nn.Linear(200, 64), nn.GELU(), square, nn.ReLU(), square, nn.Linear(64, 5))


def far() -> nn.Module:
    """Weights beyond a second-level cache, one of them frozen, and no bias."""
    model = nn.Sequential(
        nn.Linear(200, 700, bias=False), nn.Sigmoid(), nn.Linear(700, 400), nn.Linear(400, 5)
    )
    model[2].weight.requires_grad = False
    return model


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(200, 3), nn.ReLU(), nn.Linear(3, 5))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "wide": wide,
    "shared": shared,
    "far": far,
    "small": small,
}
OPTIMIZERS: dict[str, Callable[[nn.Module], optim.Optimizer]] = {
    "wide": lambda m: optim.SGD(m.parameters(), lr=0.01, momentum=0.9),
    "shared": lambda m: optim.Adam(m.parameters(), lr=0.01, amsgrad=True),
    "far": lambda m: optim.AdamW(m.parameters(), lr=0.01),
    "small": lambda m: optim.SGD(m.parameters(), lr=0.01),
}


def data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((rows, 200)).astype(np.float32)
    return x, rng.integers(0, 5, rows)


SEED = threading.Lock()


def made(name: str) -> nn.Module:
    """A model of its own: the state of `manual_seed` is the process's."""
    with SEED:
        schuss.manual_seed(3)
        return MODELS[name]()


def stepped(name: str, rows: int) -> str:
    """Digest of everything that three steps make, the second with gradients added up."""
    model = made(name)
    criterion, optimizer = nn.CrossEntropyLoss(), OPTIMIZERS[name](model)
    x, y = data(rows)
    digest = hashlib.sha256()
    for step in range(3):
        xb = schuss.tensor(x, requires_grad=True) if step == 2 else x
        for _ in range(2 if step == 1 else 1):
            output = model(xb)
            cost = criterion(output, y)
            cost.backward()
            digest.update(output.detach().numpy().tobytes())
            digest.update(cost.detach().numpy().tobytes())
        for p in model.parameters():
            digest.update(b"" if p.grad is None else p.grad.numpy().tobytes())
        if step == 2:
            digest.update(xb.grad.numpy().tobytes())
        optimizer.step()
        optimizer.zero_grad()
    for values in model.state_dict().values():
        digest.update(values.tobytes())
    with schuss.no_grad():
        digest.update(model(x).numpy().tobytes())
    return digest.hexdigest()


def looked_at(name: str, rows: int) -> str:
    """Digest of predictions and of what `evaluate` finds."""
    model = made(name)
    x, y = data(rows)
    digest = hashlib.sha256(schuss.predict(model, x).tobytes())
    digest.update(schuss.predict(model, x.astype(np.float64)).tobytes())
    weights = nn.CrossEntropyLoss(weight=np.arange(1.0, 6.0), ignore_index=2)
    found = schuss.evaluate(model, weights, x, y, metrics=["accuracy"])
    mean = schuss.evaluate(model, nn.MSELoss(), x, np.eye(5)[y])
    digest.update(np.array([found["loss"], found["accuracy"], mean["loss"]]).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("what", [stepped, looked_at])
@pytest.mark.parametrize("rows", [11, 23, 24, 257, 700])
@pytest.mark.parametrize("name", MODELS)
def test_bits_are_the_same_on_any_number_of_threads(
    name: str, rows: int, what: Callable[[str, int], str]
) -> None:
    digests = set()
    for way, work in WAYS.items():
        _schuss.testing.set_work_per_thread(work)
        for threads in THREADS if way != "never" else (2,):
            schuss.set_num_threads(threads)
            digests.add(what(name, rows))
    assert len(digests) == 1


def test_many_chunks_have_the_bits_of_one_thread() -> None:
    """More chunks than the gradient tree's first level holds, and windows of several chunks."""
    rows = 64 * 256 + 300
    digests = set()
    for threads in (1, 3):
        schuss.set_num_threads(threads)
        _schuss.testing.set_work_per_thread(1.0)
        digests.add((stepped("small", rows), looked_at("small", rows)))
    assert len(digests) == 1


def test_threads_are_as_many_as_the_work_is_worth() -> None:
    schuss.set_num_threads(4)
    assert _schuss.testing.crew_size(1e4, 1000) == 1
    assert _schuss.testing.crew_size(1e9, 1000) == 4
    assert _schuss.testing.crew_size(1e9, 3) == 3
    schuss.set_num_threads(1)
    assert _schuss.testing.crew_size(1e9, 1000) == 1


def test_two_models_step_side_by_side() -> None:
    schuss.set_num_threads(2)
    _schuss.testing.set_work_per_thread(1.0)
    alone = {name: stepped(name, 257) + looked_at(name, 700) for name in ("wide", "far")}
    together: dict[str, str] = {}

    def work(name: str) -> None:
        for _ in range(4):
            together[name] = stepped(name, 257) + looked_at(name, 700)

    workers = [threading.Thread(target=work, args=(name,)) for name in alone]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert together == alone


def _child(queue: multiprocessing.Queue[str]) -> None:
    queue.put(stepped("wide", 257) + looked_at("wide", 700))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python warns of forks beside threads
def test_forked_child_steps_with_threads_of_its_own() -> None:
    schuss.set_num_threads(2)
    _schuss.testing.set_work_per_thread(1.0)
    parent = stepped("wide", 257) + looked_at("wide", 700)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == parent
    child.join(timeout=60)
    assert child.exitcode == 0
    assert stepped("wide", 257) + looked_at("wide", 700) == parent


@pytest.mark.parametrize("threads", THREADS)
def test_the_first_of_several_bad_rows_is_named(threads: int) -> None:
    """Also where a later row's piece is done first."""
    schuss.set_num_threads(threads)
    _schuss.testing.set_work_per_thread(1.0)
    x, y = data(2000)
    bad = x.astype(np.float64)
    bad[[61, 83, 700, 1999], 1] = 1e300
    model = wide()
    with pytest.raises(ValueError, match=r"X\[61, 1\] is 1e\+300"):
        schuss.predict(model, bad)
    with pytest.raises(ValueError, match=r"X\[61, 1\] is 1e\+300"):
        schuss.evaluate(model, nn.CrossEntropyLoss(), bad, y)
    targets = np.eye(5)[y]
    targets[[5, 1500], 2] = 1e300  # row 5 comes before row 61, but features before targets
    with pytest.raises(ValueError, match=r"X\[61, 1\] is 1e\+300"):
        schuss.evaluate(model, nn.MSELoss(), bad, targets)
    with pytest.raises(ValueError, match=r"y\[5, 2\] is 1e\+300"):
        schuss.evaluate(model, nn.MSELoss(), x, targets)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2", "?"])
def test_large_shuffled_batches_are_the_rows_of_the_array(threads: int, dtype: str) -> None:
    schuss.set_num_threads(threads)
    _schuss.testing.set_work_per_thread(1.0)
    x = np.random.default_rng(1).integers(0, 2, (700, 30, 17)).astype(dtype)
    loader = schuss.DataLoader(x, np.arange(700), batch_size=300, shuffle=True, seed=4)
    sizes = []
    for xb, yb in loader:
        assert xb.dtype == x.dtype
        assert xb.tobytes() == x[yb].tobytes()
        sizes.append(len(xb))
    assert sizes == [300, 300, 100]


def test_rows_that_are_not_there_are_an_error() -> None:
    x = np.zeros((10, 4), np.float32)
    with pytest.raises(IndexError, match="rows: got 10; expected 0 to 9"):
        _schuss.take_rows(x, np.array([1, 10]))
    with pytest.raises(IndexError, match="rows: got -1; expected 0 to 9"):
        _schuss.take_rows(x, np.array([-1]))
    with pytest.raises(TypeError, match="C-contiguous"):
        _schuss.take_rows(x.T, np.array([1]))
    assert _schuss.take_rows(x, np.zeros(0, np.int64)).shape == (0, 4)

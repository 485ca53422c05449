# SPDX-License-Identifier: MIT
"""Who may use a model when, and when the memory of a graph comes back."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim

X = np.linspace(-1, 1, 18).reshape(6, 3)
Y = X * X


def made(width: int = 3, hidden: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, width))


# ---- one thread at a time ------------------------------------------------------------------------

Busy = tuple[nn.Sequential, optim.SGD, schuss.Tensor]


@pytest.fixture(scope="module")
def busy() -> Iterator[Busy]:
    """A model that another thread trains, without a pause, until the tests are over."""
    model = made()
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    cost = nn.MSELoss()(model(X), Y)
    view = model[0].weight.numpy()
    before = view.copy()

    def train() -> None:
        with contextlib.suppress(schuss.NonFiniteError):
            schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=1_000_000_000, batch_size=2)

    thread = threading.Thread(target=train)
    thread.start()
    while thread.is_alive() and np.array_equal(view, before):
        pass
    yield model, optimizer, cost
    assert thread.is_alive()
    view[...] = np.nan  # the next step finds it, and training ends
    thread.join()


BUSY_CALLS: dict[str, Callable[[nn.Sequential, optim.SGD, schuss.Tensor], Any]] = {
    "fit": lambda m, o, c: schuss.fit(m, nn.MSELoss(), o, X, Y),
    "fit with another optimizer": lambda m, o, c: schuss.fit(
        m, nn.MSELoss(), optim.SGD(m.parameters(), lr=0.1), X, Y
    ),
    "fit of a model around it": lambda m, o, c: schuss.fit(nn.Sequential(m), nn.MSELoss(), o, X, Y),
    "backward": lambda m, o, c: c.backward(),
    "step": lambda m, o, c: o.step(),
    "call": lambda m, o, c: m(X),
    "evaluate": lambda m, o, c: schuss.evaluate(m, nn.MSELoss(), X, Y),
    "load model": lambda m, o, c: m.load_state_dict(m.state_dict()),
    "load layer": lambda m, o, c: m[2].load_state_dict(m[2].state_dict()),
    "load optimizer": lambda m, o, c: o.load_state_dict(o.state_dict()),
}


@pytest.mark.parametrize("call", BUSY_CALLS)
def test_call_on_a_busy_model_is_an_error(call: str, busy: Busy) -> None:
    with pytest.raises(RuntimeError, match="one model from one thread"):
        BUSY_CALLS[call](*busy)
    assert all(p.grad is None for p in busy[0].parameters())


def test_predict_on_a_busy_model_is_an_error(busy: Busy) -> None:
    with pytest.raises(RuntimeError, match="one model from one thread"):
        schuss.predict(busy[0], X)


def test_other_model_trains_meanwhile(busy: Busy) -> None:
    results = []
    for _ in range(2):
        schuss.manual_seed(0)
        model = made()
        schuss.fit(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), X, Y, epochs=50)
        results.append(schuss.predict(model, X).tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_model_is_free_again_after_an_error(error: type[BaseException]) -> None:
    model = made()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def callback(epoch: int, history: schuss.History) -> None:
        raise error

    with pytest.raises(error):
        schuss.fit(model, nn.MSELoss(), optimizer, X, Y, callback=callback)
    thread_errors: list[Exception] = []

    def use() -> None:
        try:
            schuss.fit(model, nn.MSELoss(), optimizer, X, Y)
            nn.MSELoss()(model(X), Y).backward()
            optimizer.step()
        except RuntimeError as found:
            thread_errors.append(found)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert thread_errors == []


# ---- memory --------------------------------------------------------------------------------------


def resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise KeyError("VmRSS")


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Reference counts have to do: a cycle would keep its memory."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_graph_dies_with_its_last_reference(no_collector: None) -> None:
    net = made()
    output = net(X)
    cost = nn.MSELoss()(output, Y)
    cost.backward()
    model = weakref.ref(net)
    del net
    assert model() is None  # the graph keeps parameters, not modules
    array = output.numpy()
    kept = array.copy()
    del output, cost
    for _ in range(10):
        made()(X)
    assert np.array_equal(array, kept)  # an array outlives its tensor


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


@needs_proc
@pytest.mark.no_sanitizer
@pytest.mark.parametrize("backward", [True, False])
def test_memory_comes_back_after_every_step(backward: bool, no_collector: None) -> None:
    net = made(64, 256)
    x, y = np.ones((256, 64), np.float32), np.zeros((256, 64), np.float32)

    def steps(count: int) -> None:
        for _ in range(count):
            cost = nn.MSELoss()(net(x), y)
            if backward:
                cost.backward()

    steps(20)
    before = resident_mb()
    steps(200)
    # Activations of a step are 256 x (256 + 64) floats, 0.3 MB: kept, they would be 62 MB.
    assert resident_mb() - before < 16


@needs_proc
@pytest.mark.no_sanitizer
def test_many_live_outputs_take_memory_and_give_it_back(no_collector: None) -> None:
    net = made(64, 256)
    x = np.ones((256, 64), np.float32)
    ends = []
    for _ in range(6):
        outputs = [net(x) for _ in range(100)]
        first = outputs[0]
        first.backward(np.ones(first.shape))
        del outputs, first
        ends.append(resident_mb())
    # A round holds 31 MB; the allocator may keep one for the next.
    assert ends[-1] - ends[0] < 16

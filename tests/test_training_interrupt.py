# SPDX-License-Identifier: MIT
"""Ctrl-C: training stops at a step boundary, and goes on from there with the same bits."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim
from schuss._busy import claim
from schuss._chains import training_mode
from schuss.evaluation import thread_count

RNG = np.random.default_rng(0)
ROWS = 4096
X = RNG.standard_normal((ROWS, 16)).astype(np.float32)
Y = X[:, :1] * 0.5
FIT: dict[str, Any] = {"batch_size": 8, "shuffle": True, "seed": 5}


def made() -> tuple[nn.Sequential, optim.SGD]:
    schuss.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1))
    return model, optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)


def interrupt_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def walked(steps: int) -> nn.Sequential:
    """The model after so many steps of the loop written out."""
    model, optimizer = made()
    loss = nn.MSELoss()
    loader = schuss.DataLoader(X, Y, **FIT)
    done = 0
    while done < steps:
        for xb, yb in loader:
            optimizer.zero_grad()
            loss(model(xb), yb).backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    return model


def assert_equal(one: nn.Module, two: nn.Module) -> None:
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert np.array_equal(a, b), name


@pytest.mark.parametrize("native", [True, False])
def test_interrupt_stops_at_a_step_boundary_and_training_goes_on(native: bool) -> None:
    model, optimizer = made()
    loss: Any = nn.MSELoss() if native else nn.MSELoss().value_and_grad
    epochs = 1_000_000
    timer = interrupt_after(0.05)
    with pytest.raises(KeyboardInterrupt):
        schuss.fit(model, loss, optimizer, X, Y, epochs=epochs, **FIT)
    timer.join()
    progress = optimizer.state_dict()["progress"]
    steps = progress["epoch"] * (ROWS // 8) + progress["step"]
    assert 0 < steps < epochs * (ROWS // 8)
    assert optimizer.state_dict()["state"][0]["step"] == steps
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert_equal(model, walked(steps))
    # The rest of the epoch, and two more: as if nothing had happened.
    schuss.fit(model, loss, optimizer, X, Y, epochs=3, **FIT)
    whole = progress["epoch"] + 3
    twin, twin_optimizer = made()
    schuss.fit(twin, nn.MSELoss(), twin_optimizer, X, Y, epochs=whole, **FIT)
    assert_equal(model, twin)


class Signals(nn.Sequential):
    """Sends SIGINT where the Python loop has updated the parameters and drops their gradients."""

    at = 0  # the call of zero_grad
    calls = 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        type(self).calls += 1
        if self.calls == self.at:
            signal.raise_signal(signal.SIGINT)
        super().zero_grad(set_to_none)


@pytest.mark.parametrize("steps", [3, ROWS // 8, ROWS // 8 + 1])
def test_interrupt_right_after_an_update_waits_for_the_books(steps: int) -> None:
    handler = signal.getsignal(signal.SIGINT)
    plain, optimizer = made()
    model = Signals(*plain)
    Signals.at, Signals.calls = 1 + steps, 0  # the first call is before the first step
    with pytest.raises(KeyboardInterrupt):
        schuss.fit(model, nn.MSELoss().value_and_grad, optimizer, X, Y, epochs=3, **FIT)
    assert signal.getsignal(signal.SIGINT) is handler
    progress = optimizer.state_dict()["progress"]
    assert progress["epoch"] * (ROWS // 8) + progress["step"] == steps
    assert optimizer.state_dict()["state"][0]["step"] == steps
    assert_equal(plain, walked(steps))
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=2, **FIT)
    assert_equal(plain, walked((progress["epoch"] + 2) * ROWS // 8))


def test_interrupt_between_epochs_keeps_what_was_learned() -> None:
    model, optimizer = made()
    histories: list[schuss.History] = []

    def callback(epoch: int, history: schuss.History) -> None:
        histories.append(history)
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=9, callback=callback, **FIT)
    assert histories[-1].stopped == "interrupted"
    assert histories[-1].epochs == 2
    assert_equal(model, walked(2 * ROWS // 8))


def test_interrupt_ends_prediction_and_evaluation() -> None:
    rows = np.broadcast_to(X[:1], (100_000_000, 16))  # no memory, and more than a second of work
    model, _ = made()
    targets = np.broadcast_to(np.float32(0), (100_000_000, 1))
    timer = interrupt_after(0.05)
    with pytest.raises(KeyboardInterrupt):
        schuss.evaluate(model, nn.MSELoss(), rows, targets)
    timer.join()
    assert schuss.predict(model, X).shape == (ROWS, 1)


def test_guards_let_go_though_their_exit_is_not_reached() -> None:
    """A second Ctrl-C may come as ``__exit__`` begins."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    threads = schuss.get_num_threads()
    guards = [claim(model.parameters(), "a test"), training_mode(model, False), thread_count(3)]
    for guard in guards:
        guard.__enter__()
    assert not model.training
    del guard, guards[:]
    assert model.training
    assert schuss.get_num_threads() == threads
    others = []

    def elsewhere() -> None:
        with claim(model.parameters(), "another test"):
            others.append("got it")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert others == ["got it"]

# SPDX-License-Identifier: MIT
"""Exact resume: stopped at any step boundary and gone on, with the bits of one run."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import _schuss, nn, optim

RNG = np.random.default_rng(5)
ROWS, BATCH, EPOCHS, SEED = 53, 8, 3, 9
STEPS = -(-ROWS // BATCH)  # an epoch's, the last one shorter
X = RNG.standard_normal((ROWS, 6)).astype(np.float32)
Y = RNG.standard_normal((ROWS, 2)).astype(np.float32)
FIT: dict[str, Any] = {"batch_size": BATCH, "seed": SEED}

Pair = tuple[nn.Sequential, optim.Optimizer]

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
}


def made(kind: str, dtype: type = schuss.float32) -> Pair:
    schuss.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 19, dtype=dtype), nn.GELU(), nn.Linear(19, 2, dtype=dtype))
    return model, OPTIMIZERS[kind](model.parameters())


def bits(model: nn.Module, optimizer: optim.Optimizer) -> list[tuple[Any, ...]]:
    """Every bit of parameters and optimizer state."""
    state = optimizer.state_dict()["state"]
    named = [(f"state {i} {k}", v) for i, s in state.items() for k, v in sorted(s.items())]
    arrays = [(n, np.asarray(v)) for n, v in [*model.state_dict().items(), *named]]
    return [(name, a.dtype.str, a.shape, a.tobytes()) for name, a in arrays]


def uninterrupted(kind: str) -> list[tuple[Any, ...]]:
    model, optimizer = made(kind)
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=EPOCHS, **FIT)
    return bits(model, optimizer)


def trainer(model: nn.Sequential, optimizer: optim.Optimizer) -> _schuss.Trainer:
    return _schuss.Trainer(
        _schuss.Network(list(model._layers(""))),
        nn.MSELoss()._loss,
        optimizer._native,
        X,
        Y,
        batch_size=BATCH,
        shuffle=True,
        drop_last=False,
        seed=SEED,
        first_epoch=0,
        restore=True,
    )


def stopped_after(steps: int, kind: str) -> Pair:
    """A model, and an optimizer that remembers so many steps of the loop written out."""
    model, optimizer = made(kind)
    loader = schuss.DataLoader(X, Y, batch_size=BATCH, shuffle=True, seed=SEED)
    loss, done = nn.MSELoss(), 0
    while done < steps:
        for xb, yb in loader:
            if done < steps:
                optimizer.zero_grad()
                loss(model(xb), yb).backward()
                optimizer.step()
                done += 1
    optimizer.zero_grad()
    state = optimizer.state_dict()
    place = {"seed": SEED, "epoch": steps // STEPS, "step": steps % STEPS, "steps": STEPS}
    optimizer.load_state_dict({**state, "progress": place})
    return model, optimizer


def through_file(pair: Pair, folder: Path) -> Pair:
    schuss.save(pair[0], folder / "m.safetensors", optimizer=pair[1])
    back: Pair = schuss.load(folder / "m.safetensors", optimizer=True)
    return back


def through_state_dicts(pair: Pair, folder: Path) -> Pair:
    kind = "momentum" if isinstance(pair[1], optim.SGD) else type(pair[1]).__name__
    model, optimizer = made(kind)
    model.load_state_dict(pair[0].state_dict())
    optimizer.load_state_dict(pair[1].state_dict())
    return model, optimizer


WAYS: dict[str, Callable[[Pair, Path], Pair]] = {
    "as it is": lambda pair, folder: pair,
    "file": through_file,
    "pickle": lambda pair, folder: pickle.loads(pickle.dumps(pair)),
    "deepcopy": lambda pair, folder: copy.deepcopy(pair),
    "state dicts": through_state_dicts,
}


@pytest.mark.parametrize("steps", range(STEPS * EPOCHS))
def test_any_step_boundary_is_one_to_go_on_from(steps: int) -> None:
    model, optimizer = stopped_after(steps, "Adam")
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=EPOCHS - steps // STEPS, **FIT)
    assert bits(model, optimizer) == uninterrupted("Adam")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["momentum", "Adam", "AdamW"])
@pytest.mark.parametrize("steps", [STEPS, STEPS + 3])
def test_training_goes_on_after_a_journey(steps: int, kind: str, way: str, tmp_path: Path) -> None:
    model, optimizer = WAYS[way](stopped_after(steps, kind), tmp_path)
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=EPOCHS - 1, **FIT)
    assert bits(model, optimizer) == uninterrupted(kind)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cut", [1, 2])
def test_epochs_in_two_calls_are_the_epochs_in_one(cut: int, way: str, tmp_path: Path) -> None:
    pair = made("momentum")
    schuss.fit(pair[0], nn.MSELoss(), pair[1], X, Y, epochs=cut, **FIT)
    model, optimizer = WAYS[way](pair, tmp_path)
    # The seed is remembered: it need not be given again.
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=EPOCHS - cut, batch_size=BATCH)
    assert bits(model, optimizer) == uninterrupted("momentum")


def test_second_call_shuffles_anew() -> None:
    # Otherwise forgetting the epoch would go unnoticed above.
    model, optimizer = made("SGD")
    for _ in range(EPOCHS):
        optimizer.load_state_dict(
            {
                **optimizer.state_dict(),
                "progress": {"seed": SEED, "epoch": 0, "step": 0, "steps": 0},
            }
        )
        schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=1, **FIT)
    assert bits(model, optimizer) != uninterrupted("SGD")


def test_callback_stops_and_a_second_call_goes_on() -> None:
    model, optimizer = made("Adam")
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=9, callback=lambda e, h: e == 0, **FIT)
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=EPOCHS - 1, **FIT)
    assert bits(model, optimizer) == uninterrupted("Adam")


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_native_loop_in_slices_of_no_time_gives_the_same_bits(kind: str) -> None:
    model, optimizer = made(kind)
    loop, slices = trainer(model, optimizer), 0
    while loop.run(EPOCHS, 0.0) != "done":
        slices += 1
        assert slices <= EPOCHS * STEPS
    assert loop.epochs_done == EPOCHS
    assert bits(model, optimizer) == uninterrupted(kind)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_native_loop_stops_at_step_boundaries_only(kind: str) -> None:
    model, optimizer = made(kind)
    loop, seen = trainer(model, optimizer), []
    while loop.run(EPOCHS, 0.0) != "done":
        done = loop.epochs_done * STEPS + loop.steps_done
        seen.append(done)
        assert bits(model, optimizer) == bits(*stopped_after(done, kind))
    assert seen == sorted(seen)


def test_interrupted_epoch_of_python_callables_goes_on() -> None:
    class StoppedError(RuntimeError):
        pass

    model, optimizer = made("momentum")
    calls = 0

    def loss(prediction: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calls
        calls += 1
        if calls == STEPS + 4:
            raise StoppedError
        return nn.MSELoss().value_and_grad(prediction, target)

    with pytest.raises(StoppedError):
        schuss.fit(model, loss, optimizer, X, Y, epochs=EPOCHS, **FIT)
    assert bits(model, optimizer) == bits(*stopped_after(STEPS + 3, "momentum"))
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=EPOCHS - 1, **FIT)
    assert bits(model, optimizer) == uninterrupted("momentum")


def test_float64_state_survives_a_file(tmp_path: Path) -> None:
    pair, whole = made("Adam", schuss.float64), made("Adam", schuss.float64)
    schuss.fit(whole[0], nn.MSELoss(), whole[1], X, Y, epochs=EPOCHS, **FIT)
    schuss.fit(pair[0], nn.MSELoss(), pair[1], X, Y, epochs=1, **FIT)
    model, optimizer = through_file(pair, tmp_path)
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=EPOCHS - 1, **FIT)
    assert bits(model, optimizer) == bits(*whole)

# SPDX-License-Identifier: MIT
"""Learning-rate schedules: closed forms, PyTorch's values, state, and `fit`."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim
from schuss.optim import lr_scheduler

Make = Callable[[Any, Any], Any]  # (module with the schedules, optimizer) -> schedule

SCHEDULES: dict[str, Make] = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda epoch: 0.95**epoch),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda e: 1 / (1 + e), lambda e: 0.5**e]),
    "step": lambda s, o: s.StepLR(o, step_size=3, gamma=0.3),
    "multistep": lambda s, o: s.MultiStepLR(o, milestones=[2, 5, 5, 9], gamma=0.4),
    "constant": lambda s, o: s.ConstantLR(o, factor=0.7, total_iters=4),
    "constant default": lambda s, o: s.ConstantLR(o),
    "linear": lambda s, o: s.LinearLR(o, start_factor=0.25, end_factor=0.75, total_iters=7),
    "linear default": lambda s, o: s.LinearLR(o),
    "exponential": lambda s, o: s.ExponentialLR(o, gamma=0.9),
    "polynomial": lambda s, o: s.PolynomialLR(o, total_iters=8, power=1.7),
    "polynomial default": lambda s, o: s.PolynomialLR(o),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=6, eta_min=0.001),
    "cosine once": lambda s, o: s.CosineAnnealingLR(o, T_max=1),
}
PLATEAUS: dict[str, dict[str, Any]] = {
    "min": {"factor": 0.3, "patience": 1},
    "max": {"mode": "max", "factor": 0.5, "patience": 0, "threshold": 0.05},
    "absolute": {"threshold_mode": "abs", "threshold": 0.1, "patience": 1, "cooldown": 2},
    "max absolute": {"mode": "max", "threshold_mode": "abs", "patience": 2},
    "floors": {"patience": 0, "min_lr": [0.05, 0.001], "eps": 0.02},
}
METRICS = [1.0, 0.9, 0.89999, 0.95, 0.8, 0.8, 0.85, 0.7, math.nan, 0.75, 0.75, 0.7, 0.2, 0.3, 0.3]
EPOCHS = 15


def two_groups() -> optim.SGD:
    rates = [{"params": [schuss.Parameter(np.zeros(2))], "lr": lr} for lr in (0.1, 0.007)]
    return optim.SGD(rates, lr=1.0)


def rates(optimizer: Any) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def path_of(scheduler: Any, epochs: int = EPOCHS) -> list[list[float]]:
    found = [rates(scheduler.optimizer)]
    for _ in range(epochs):
        scheduler.step()
        found.append(rates(scheduler.optimizer))
        assert scheduler.get_last_lr() == found[-1]
    return found


CLOSED_FORMS: dict[str, Callable[[int], float]] = {
    "lambda": lambda t: 0.95**t,
    "step": lambda t: 0.3 ** (t // 3),
    "multistep": lambda t: 0.4 ** sum(t >= m for m in (2, 5, 5, 9)),
    "constant": lambda t: 0.7 if t < 4 else 1.0,
    "linear": lambda t: 0.25 + 0.5 * min(t, 7) / 7,
    "exponential": lambda t: 0.9**t,
    "polynomial": lambda t: (1 - min(t, 8) / 8) ** 1.7,
    "cosine once": lambda t: (1 + math.cos(math.pi * t)) / 2,
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_schedule_follows_its_closed_form(name: str) -> None:
    found = path_of(SCHEDULES[name](lr_scheduler, two_groups()))
    for epoch, (first, second) in enumerate(found):
        want = CLOSED_FORMS[name](epoch)
        # Each step multiplies by a factor of at most eight roundings; none cancels but the cosine's
        # and the polynomial's 1 - t, whose zero is 2e-17 of the start.
        assert first == pytest.approx(0.1 * want, rel=15 * 8 * 2.0**-53, abs=1e-17)
        assert second == pytest.approx(0.007 * want, rel=15 * 8 * 2.0**-53, abs=1e-17)


def test_cosine_follows_its_closed_form_up_and_down() -> None:
    found = path_of(SCHEDULES["cosine"](lr_scheduler, two_groups()), 30)
    for epoch, pair in enumerate(found):
        for base, got in zip((0.1, 0.007), pair, strict=True):
            want = 0.001 + (base - 0.001) * (1 + math.cos(math.pi * epoch / 6)) / 2
            # Near the minimum 1 + cos is 0.07 (T_max = 6): a rounding there is 15 of the ratio, in
            # each of 30 steps.
            assert got == pytest.approx(want, rel=30 * 16 * 2.0**-53)


def torch_groups() -> Any:
    torch = pytest.importorskip("torch")
    groups = [{"params": [torch.zeros(2, requires_grad=True)], "lr": lr} for lr in (0.1, 0.007)]
    return torch.optim.SGD(groups, lr=1.0)


@pytest.mark.torch
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
def test_schedule_has_the_values_of_pytorch(name: str) -> None:
    theirs = torch_groups()
    from torch.optim import lr_scheduler as torch_scheduler

    want = path_of(SCHEDULES[name](torch_scheduler, theirs))
    got = path_of(SCHEDULES[name](lr_scheduler, two_groups()))
    # The same operations; cos and pow of the C library differ by one unit now and then, of which
    # the ratios of the cosine make 15 (see above).
    np.testing.assert_allclose(got, want, rtol=16 * EPOCHS * 2.0**-53, atol=1e-17)


@pytest.mark.torch
@pytest.mark.parametrize("name", PLATEAUS)
def test_plateau_has_the_values_of_pytorch(name: str) -> None:
    theirs, ours = torch_groups(), two_groups()
    from torch.optim import lr_scheduler as torch_scheduler

    reference = torch_scheduler.ReduceLROnPlateau(theirs, **PLATEAUS[name])
    scheduler = lr_scheduler.ReduceLROnPlateau(ours, **PLATEAUS[name])
    for metric in METRICS:
        reference.step(metric)
        scheduler.step(metric)
        assert rates(ours) == rates(theirs)
        assert scheduler.num_bad_epochs == reference.num_bad_epochs
        assert scheduler.in_cooldown == reference.in_cooldown


def test_plateau_waits_and_reduces() -> None:
    optimizer = two_groups()
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1)
    found = []
    for metric in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0):
        scheduler.step(metric)
        found.append(rates(optimizer)[0])
    # Two bad epochs reduce; the one after cools down; then two more.
    assert found == [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025]


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_goes_on_from_its_state(name: str) -> None:
    whole = path_of(SCHEDULES[name](lr_scheduler, two_groups()))
    first = SCHEDULES[name](lr_scheduler, two_groups())
    path_of(first, 7)
    optimizer = two_groups()
    second = SCHEDULES[name](lr_scheduler, optimizer)
    optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert path_of(second, EPOCHS - 7) == whole[7:]


@pytest.mark.parametrize("name", ["step", "exponential", "polynomial", "cosine", "linear"])
def test_schedule_with_last_epoch_starts_from_the_initial_rates(name: str) -> None:
    whole = SCHEDULES[name](lr_scheduler, two_groups())
    path_of(whole, 4)
    resumed = two_groups()
    resumed.load_state_dict(whole.optimizer.state_dict())
    again = type(whole)(
        resumed,
        **{
            key: value
            for key, value in whole.state_dict().items()
            if key not in ("base_lrs", "last_epoch", "_last_lr", "_is_initial")
        },
        last_epoch=4,
    )
    assert again.base_lrs == [0.1, 0.007]
    assert again.last_epoch == 5


def test_last_epoch_without_initial_rates_is_an_error() -> None:
    with pytest.raises(KeyError, match="initial_lr"):
        lr_scheduler.StepLR(two_groups(), step_size=2, last_epoch=3)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copy_of_optimizer_and_schedule_goes_on_alike(copied: Callable[[Any], Any]) -> None:
    scheduler = lr_scheduler.CosineAnnealingLR(two_groups(), T_max=9)
    path_of(scheduler, 3)
    optimizer, other = copied((scheduler.optimizer, scheduler))
    assert other.optimizer is optimizer
    assert path_of(other) == path_of(scheduler)


def test_rate_set_by_hand_is_kept() -> None:
    optimizer = two_groups()
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    optimizer.param_groups[0]["lr"] = 4.0
    scheduler.step()
    assert rates(optimizer) == [2.0, 0.0035]


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda o: lr_scheduler.StepLR(o, 0), ValueError, "step_size: got 0"),
        (lambda o: lr_scheduler.StepLR(o, 2.5), TypeError, "step_size"),
        (lambda o: lr_scheduler.StepLR(o, 2, gama=0.1), TypeError, "gama"),
        (lambda o: lr_scheduler.ExponentialLR(o, math.nan), ValueError, "gamma"),
        (lambda o: lr_scheduler.LinearLR(o, start_factor=0.0), ValueError, "start_factor"),
        (lambda o: lr_scheduler.LinearLR(o, end_factor=1.5), ValueError, "end_factor"),
        (lambda o: lr_scheduler.ConstantLR(o, factor=0.0), ValueError, "factor"),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 0), ValueError, "T_max"),
        (lambda o: lr_scheduler.LambdaLR(o, [len]), ValueError, "one a group"),
        (lambda o: lr_scheduler.LambdaLR(o, 0.5), TypeError, "callable"),
        (lambda o: lr_scheduler.LambdaLR(o, lambda epoch: "x"), TypeError, "lr_lambda"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, "least"), ValueError, "mode"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0), ValueError, "below 1"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, min_lr=[0.1]), ValueError, "min_lr"),
        (lambda o: lr_scheduler.ExponentialLR(nn.Linear(1, 1), 0.9), TypeError, "optimizer"),
    ],
)
def test_wrong_argument_is_an_error(make: Any, error: type[Exception], match: str) -> None:
    optimizer = two_groups()
    with pytest.raises(error, match=match):
        make(optimizer)
    assert rates(optimizer) == [0.1, 0.007]


def test_load_state_dict_of_another_kind_is_an_error() -> None:
    scheduler = lr_scheduler.StepLR(two_groups(), 2)
    other = lr_scheduler.ExponentialLR(two_groups(), 0.9).state_dict()
    before = scheduler.state_dict()
    with pytest.raises(ValueError, match="StepLR"):
        scheduler.load_state_dict(other)
    assert scheduler.state_dict() == before


def test_group_added_later_is_an_error() -> None:
    optimizer = two_groups()
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.add_param_group({"params": [schuss.Parameter(np.zeros(1))]})
    with pytest.raises(ValueError, match="3 groups"):
        scheduler.step()
    assert rates(optimizer) == [0.1, 0.007, 1.0]


# ---- fit -----------------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(60, 1)).astype(np.float32)
ORDER: dict[str, Any] = {"batch_size": 16, "seed": 3}


def parts() -> tuple[nn.Module, optim.Optimizer]:
    schuss.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))
    return model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def state(model: nn.Module) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in model.state_dict().items()}


def test_fit_with_scheduler_has_the_bits_of_the_loop_written_out() -> None:
    model, optimizer = parts()
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=5)
    seen: list[float] = []
    schuss.fit(
        model, nn.MSELoss(), optimizer, X, Y, **ORDER, epochs=4, scheduler=scheduler,
        callback=lambda epoch, history: seen.append(rates(optimizer)[0]),
    )  # fmt: skip
    assert seen == [rate for (rate,) in path_of_fresh(4)]
    assert scheduler.last_epoch == 4

    other, other_optimizer = parts()
    other_scheduler = lr_scheduler.CosineAnnealingLR(other_optimizer, T_max=5)
    for _ in range(4):
        schuss.fit(other, nn.MSELoss(), other_optimizer, X, Y, **ORDER, epochs=1)
        other_scheduler.step()
    assert state(model) == state(other)
    unscheduled, plain = parts()
    schuss.fit(unscheduled, nn.MSELoss(), plain, X, Y, **ORDER, epochs=4)
    assert state(unscheduled) != state(model)


def path_of_fresh(epochs: int) -> list[list[float]]:
    return path_of(lr_scheduler.CosineAnnealingLR(parts()[1], T_max=5), epochs)[1:]


def test_fit_with_scheduler_goes_on_exactly() -> None:
    model, optimizer = parts()
    scheduler = lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, **ORDER, epochs=7, scheduler=scheduler)

    first, first_optimizer = parts()
    first_scheduler = lr_scheduler.StepLR(first_optimizer, 2, gamma=0.5)
    fit = schuss.fit
    fit(first, nn.MSELoss(), first_optimizer, X, Y, **ORDER, epochs=3, scheduler=first_scheduler)
    second, second_optimizer, second_scheduler = pickle.loads(
        pickle.dumps((first, first_optimizer, first_scheduler))
    )
    fit(second, nn.MSELoss(), second_optimizer, X, Y, **ORDER, epochs=4, scheduler=second_scheduler)
    assert state(second) == state(model)
    assert rates(second_optimizer) == rates(optimizer)


def test_fit_gives_a_plateau_the_validation_loss() -> None:
    for validation in (None, (X[:20], Y[:20])):
        model, optimizer = parts()
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        history = schuss.fit(
            model, nn.MSELoss(), optimizer, X, Y, **ORDER, epochs=6,
            scheduler=scheduler, validation_data=validation,
        )  # fmt: skip
        losses = history.loss if validation is None else history.val_loss
        reference_optimizer = parts()[1]
        reference = lr_scheduler.ReduceLROnPlateau(reference_optimizer, patience=0, factor=0.5)
        for loss in losses:
            reference.step(loss)
        assert scheduler.best == reference.best
        assert rates(optimizer) == rates(reference_optimizer)


def test_fit_with_a_foreign_scheduler_is_an_error_that_changes_nothing() -> None:
    model, optimizer = parts()
    before = state(model)
    with pytest.raises(ValueError, match="another optimizer"):
        schuss.fit(
            model, nn.MSELoss(), optimizer, X, Y,
            scheduler=lr_scheduler.StepLR(two_groups(), 1),
        )  # fmt: skip
    with pytest.raises(TypeError, match="lr_scheduler"):
        schuss.fit(model, nn.MSELoss(), optimizer, X, Y, scheduler=optimizer)
    assert state(model) == before


def test_saved_optimizer_keeps_its_initial_rates(tmp_path: Any) -> None:
    model, optimizer = parts()
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    scheduler.step()
    schuss.save(model, tmp_path / "model.safetensors", optimizer=optimizer)
    _, loaded = schuss.load(tmp_path / "model.safetensors", optimizer=True)
    assert loaded.param_groups[0]["initial_lr"] == 0.1
    assert rates(loaded) == [0.05]

# SPDX-License-Identifier: MIT
"""Losses and models that look at more than their rows train as in the loop by hand, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim
from schuss.data import Batches

SEED = 5
rng = np.random.default_rng(0)
X = rng.normal(size=(70, 9)).astype(np.float32)
Y = rng.normal(size=(70, 1)).astype(np.float32)
Loss = Callable[[Any, Any], Any]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(9, 16), nn.Tanh(), nn.Linear(16, 1))


def with_dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(9, 16), nn.Dropout(0.3), nn.Linear(16, 1))


class FrozenBody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(9, 8), nn.Linear(8, 1)

    def forward(self, x: Any) -> Any:
        with schuss.no_grad():
            hidden = self.body(x).relu()
        return self.head(hidden)


class ByRows(FrozenBody):
    def forward(self, x: Any) -> Any:
        hidden = self.body(x)
        return self.head(hidden.relu() if len(x) > 16 else hidden.tanh())


class Standardised(FrozenBody):
    def forward(self, x: Any) -> Any:
        return self.head(self.body((x - x.mean()) / x.std()))


class ByFlag(FrozenBody):
    flag = False

    def forward(self, x: Any) -> Any:
        hidden = self.body(x)
        return self.head(hidden.relu() if self.flag else hidden.tanh())


class TenTimesAbsolute(nn.MSELoss):
    def forward(self, prediction: Any, target: Any) -> Any:
        return (prediction - target).abs().mean() * 10


def square(p: Any, t: Any) -> Any:
    return ((p - t) ** 2).mean()


def doubling(p: Any, t: Any) -> Any:
    t *= 2
    return ((p - t) ** 2).mean()


def batches(batch: int | None, epoch: int) -> Iterator[tuple[Any, Any]]:
    plan = Batches(len(X), batch, True, False)
    for step in range(plan.count):
        rows = plan.rows(step, SEED, epoch)
        yield schuss.tensor(X[rows]), schuss.tensor(Y[rows])


def by_hand(model: nn.Module, loss: Loss, epochs: int, batch: int | None, callback: Any) -> Any:
    optimizer = optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for xb, yb in batches(batch, epoch):
            optimizer.zero_grad()
            cost = loss(model(xb), yb)
            cost.backward()
            optimizer.step()
            total += cost.item() * len(xb)
        losses.append(total / len(X))
        callback(epoch, None)
    return losses, [p.detach().numpy().copy() for p in model.parameters()]


def by_fit(model: nn.Module, loss: Loss, epochs: int, batch: int | None, callback: Any) -> Any:
    optimizer = optim.SGD(model.parameters(), lr=0.05)
    history = schuss.fit(
        model, loss, optimizer, X, Y, epochs=epochs, batch_size=batch, seed=SEED, callback=callback
    )
    return list(history.loss), [p.detach().numpy().copy() for p in model.parameters()]


def check(
    make: Callable[[], nn.Module], loss_of: Any, batch: int | None, watch: Any = None
) -> None:
    results = []
    for train in (by_hand, by_fit):
        schuss.manual_seed(3)
        model = make()
        callback = (lambda *_: None) if watch is None else watch(model)
        results.append(train(model, loss_of(model), 3, batch, callback))
    (expected, parameters), (losses, found) = results
    assert losses == expected
    assert all(np.array_equal(a, b) for a, b in zip(found, parameters, strict=True))


BY_ROWS: dict[str, Loss] = {
    "at least 16": lambda p, t: ((p - t) ** 2).sum() / max(len(p), 16),
    "half of them": lambda p, t: ((p - t) ** 2).sum() / (len(p) // 2),
    "ramp": lambda p, t: ((p - t) ** 2).mean() * min(1, len(p) / 16),
    "step": lambda p, t: ((p - t) ** 2).mean() * (0.5 if len(p) < 32 else 1.0),
    "a share of 150": lambda p, t: ((p - t) ** 2).mean() * (len(p) / 150),
    "their number": lambda p, t: ((p - t) ** 2).sum() / len(p),
}


@pytest.mark.parametrize("batch", [32, 9, None])
@pytest.mark.parametrize("name", BY_ROWS)
def test_losses_may_look_at_the_number_of_rows(name: str, batch: int | None) -> None:
    check(mlp, lambda _: BY_ROWS[name], batch)


@pytest.mark.parametrize("make", [FrozenBody, ByRows, Standardised, with_dropout])
@pytest.mark.parametrize("loss", [square, nn.MSELoss()], ids=["function", "nn"])
def test_models_of_other_kinds(make: Callable[[], nn.Module], loss: Loss) -> None:
    check(make, lambda _: loss, 32)


def test_values_of_parameters_in_a_loss_are_todays() -> None:
    def detached(model: Any) -> Loss:
        return lambda p, t: square(p, t) * model[0].weight.detach().abs().mean()

    def read(model: Any) -> Loss:
        return lambda p, t: square(p, t) + 0.1 * (model[0].weight ** 2).sum().item()

    check(mlp, detached, 32)
    check(mlp, read, 32)


def test_what_a_callback_changes_counts_from_the_next_epoch_on() -> None:
    weight = [1.0]

    def halves(_: Any) -> Any:
        weight[0] = 1.0
        return lambda *_: weight.__setitem__(0, weight[0] / 2)

    def freezes(model: Any) -> Any:
        return lambda *_: setattr(model[2].bias, "requires_grad", False)

    def flips(model: Any) -> Any:
        return lambda *_: setattr(model, "flag", not model.flag)

    def drops(model: Any) -> Any:
        return lambda *_: setattr(model[1], "p", model[1].p / 2)

    def exchanges(model: Any) -> Any:
        return lambda *_: model.__setitem__(1, nn.Tanh())

    huber = nn.HuberLoss()

    def sharpens(_: Any) -> Any:
        huber.delta = 1.0
        return lambda *_: setattr(huber, "delta", huber.delta / 4)

    check(mlp, lambda _: lambda p, t: square(p, t) * weight[0], 32, halves)
    check(mlp, lambda _: nn.MSELoss(), 32, freezes)
    check(ByFlag, lambda _: square, 32, flips)
    check(with_dropout, lambda _: nn.MSELoss(), 32, drops)
    check(mlp, lambda _: nn.MSELoss(), 32, exchanges)
    check(mlp, lambda _: huber, 32, sharpens)


def test_a_callback_that_changes_nothing_costs_no_new_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    trainer = schuss._schuss.Trainer

    def counting(*args: Any, **options: Any) -> Any:
        made.append(args[0])
        return trainer(*args, **options)

    monkeypatch.setattr(schuss._schuss, "Trainer", counting)
    by_fit(mlp(), nn.MSELoss(), 5, 32, lambda *_: None)
    assert len(made) == 1
    model = mlp()
    by_fit(model, nn.MSELoss(), 5, 32, lambda *_: setattr(model[2].bias, "requires_grad", False))
    assert len(made) == 3  # one more when the first epoch has frozen the bias


def test_a_subclass_of_a_loss_computes_its_own_forward() -> None:
    check(mlp, lambda _: TenTimesAbsolute(), 32)
    model = mlp()
    expected = 10 * np.abs(schuss.predict(model, X) - Y).mean()
    found = schuss.evaluate(model, TenTimesAbsolute(), X, Y)["loss"]
    assert found == pytest.approx(expected, rel=len(X) * float(np.finfo(np.float32).eps))


def test_gradients_shared_among_equal_largest_elements() -> None:
    check(
        lambda: nn.Sequential(nn.Linear(9, 3), nn.ReLU()),
        lambda _: lambda p, t: (p.amax(1) - p[:, 0] * t[:, 0]).mean(),
        32,
    )


def test_trials_draw_nothing() -> None:
    def noisy(p: Any, t: Any) -> Any:
        return ((p - t + 0.1 * schuss.randn(p.shape)) ** 2).mean()

    check(mlp, lambda _: noisy, 32)
    for _ in range(2):  # the second time it is known for a function of Tensors
        check(with_dropout, lambda _: square, 32)


def test_a_loss_that_writes_to_its_target_does_so_once() -> None:
    check(mlp, lambda _: doubling, 32)
    before = Y.copy()
    by_fit(mlp(), doubling, 1, None, lambda *_: None)
    assert np.array_equal(Y, before)


def test_a_loss_sees_the_models_mode() -> None:
    model = mlp().eval()

    def by_mode(p: Any, t: Any) -> Any:
        return square(p, t) if model.training else (p - t).abs().mean()

    optimizer = optim.SGD(model.parameters(), lr=0.0)
    first, second = (schuss.fit(model, by_mode, optimizer, X, Y).loss[0] for _ in range(2))
    assert first == second


def test_models_of_one_dimension_may_have_a_function_for_a_loss() -> None:
    class Flat(FrozenBody):
        def forward(self, x: Any) -> Any:
            return self.head(self.body(x))[:, 0]

    model = Flat()
    history = schuss.fit(
        model,
        lambda p, t: ((p - t[:, 0]) ** 2).mean(),
        optim.SGD(model.parameters(), lr=0.05),
        X,
        Y,
        epochs=5,
    )
    assert history.loss[-1] < history.loss[0]

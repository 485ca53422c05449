# SPDX-License-Identifier: MIT
"""Models with a forward() of their own: chains of layers run natively, others step by step."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim, training
from schuss.nn import functional

RNG = np.random.default_rng(6)
X = RNG.normal(size=(300, 7)).astype(np.float32)
Y = RNG.normal(size=(300, 2)).astype(np.float32)


class Plain(nn.Module):
    """Layers in an order other than that of their names."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(11, 2)
        self.first = nn.Linear(7, 11)
        self.middle = nn.Sequential(nn.Linear(11, 11), nn.GELU())

    def forward(self, x: Any) -> Any:
        x = functional.relu(self.first(x))
        x = schuss.sigmoid(self.middle(x)).tanh()
        return self.last(x.reshape(x.shape[0], -1))


class Inner(nn.Module):
    """A module of one's own inside a Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(7, 11)

    def forward(self, x: Any) -> Any:
        return self.layer(x).relu()


def mixed() -> nn.Module:
    return nn.Sequential(Inner(), nn.Linear(11, 2))


class Twice(nn.Module):
    """A layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(7, 7)
        self.last = nn.Linear(7, 2)

    def forward(self, x: Any) -> Any:
        return self.last(functional.silu(self.shared(functional.elu(self.shared(x)))))


CHAINS = {"plain": Plain, "mixed": mixed, "twice": Twice}


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(7, 7)
        self.last = nn.Linear(7, 2)

    def forward(self, x: Any) -> Any:
        h = self.layer(x).relu()
        return self.last(h + x)  # HERE


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(7, 2)

    def forward(self, x: Any) -> Any:
        h = self.layer(x)
        return h.relu() if h.mean() > 0 else h  # HERE


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(7, 5)
        self.one = nn.Linear(5, 1)
        self.two = nn.Linear(5, 1)

    def forward(self, x: Any) -> Any:
        h = self.shared(x).tanh()
        one = self.one(h)
        return schuss.cat([one, self.two(h)], dim=1)  # HERE


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(7, 2)

    def forward(self, x: Any) -> Any:
        return self.layer(x) * schuss.rand(2)  # HERE


class Rescaled(nn.Module):
    """Writes to its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(7, 2)

    def forward(self, x: Any) -> Any:
        with schuss.no_grad():
            self.layer.weight.mul_(0.5)
        return self.layer(x)


def by_hand(model: nn.Module, optimizer: Any) -> list[float]:
    criterion = nn.MSELoss()
    losses = []
    for first in (0, 128, 256):
        cost = criterion(model(schuss.tensor(X[first : first + 128])), Y[first : first + 128])
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        losses.append(cost.item())
    return losses


def fitted(model: nn.Module, optimizer: Any, **options: Any) -> Any:
    return schuss.fit(
        model, nn.MSELoss(), optimizer, X, Y, batch_size=128, shuffle=False, **options
    )


@pytest.mark.parametrize("name", CHAINS)
def test_chain_trains_natively_with_the_bits_of_the_loop(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("step by step")

    results = []
    for run in (by_hand, fitted):
        schuss.manual_seed(3)
        model = CHAINS[name]()
        if run is fitted:
            monkeypatch.setattr(training.StepLoop, "_step", refuse)
        run(model, optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
        results.append([p.numpy().tobytes() for p in model.parameters()])
    assert results[0] == results[1]


@pytest.mark.parametrize("name", CHAINS)
def test_chain_predicts_with_the_bits_of_its_call(name: str) -> None:
    model = CHAINS[name]()
    wanted = model(schuss.tensor(X)).detach().numpy()
    assert schuss.predict(model, X).tobytes() == wanted.tobytes()
    assert schuss.compile(model, (X[:4],)) is model


@pytest.mark.parametrize("kind", [Residual, Branch, Heads, Noisy])
def test_others_are_refused_by_compile_with_the_line(kind: type[nn.Module]) -> None:
    lines, first = inspect.getsourcelines(kind)
    line = first + next(i for i, text in enumerate(lines) if "HERE" in text)
    with pytest.raises(schuss.RecordingError) as error:
        schuss.compile(kind(), (X[:4],))
    assert f"test_recorded_models.py:{line}: " in str(error.value)


@pytest.mark.parametrize("kind", [Residual, Branch, Heads, Rescaled])
def test_others_train_step_by_step_with_the_bits_of_the_loop(kind: type[nn.Module]) -> None:
    results = []
    for run in (by_hand, fitted):
        schuss.manual_seed(3)
        model = kind()
        run(model, optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
        results.append([p.numpy().tobytes() for p in model.parameters()])
    assert len(set(map(tuple, results))) == 1


def test_a_forward_that_writes_to_parameters_is_refused() -> None:
    with pytest.raises(schuss.RecordingError, match="writes to parameters"):
        schuss.compile(Rescaled(), (X[:4],))


def test_a_parameter_that_forward_leaves_out_stays_as_it_is() -> None:
    class Unused(Inner):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(7, 2)
            self.idle = nn.Linear(3, 3)

    model = Unused()
    before = model.idle.weight.numpy().copy()
    fitted(model, optim.SGD(model.parameters(), lr=0.05))
    assert np.array_equal(model.idle.weight.numpy(), before)


def test_the_first_bad_parameter_is_named_as_the_model_names_it() -> None:
    model = Plain()
    optimizer = optim.SGD(model.parameters(), lr=3e38)
    with pytest.raises(schuss.NonFiniteError) as error:
        schuss.fit(model, nn.MSELoss(), optimizer, X, 1e4 * Y, shuffle=False)
    # Gradients of thousands times this rate overflow every weight; the layers' order counts.
    assert error.value.parameter == "first.weight"


def test_compile_says_what_it_takes() -> None:
    with pytest.raises(TypeError, match="for a model"):
        schuss.compile(Plain(), (X, Y))
    with pytest.raises(ValueError, match="features"):
        schuss.compile(Plain(), (X[:1],))

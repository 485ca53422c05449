# SPDX-License-Identifier: MIT
"""Calls that go round the dispatcher of overloads are the calls that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import _schuss, nn, optim
from schuss.nn.native import network_of

X = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
Y = X[:, :2].copy()


def made() -> nn.Sequential:
    schuss.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_networks_are_called_by_position_and_by_name() -> None:
    network: Any = network_of(made(), X)
    expected = network(X).numpy()
    assert np.array_equal(network(x=X).numpy(), expected)
    assert np.array_equal(network.__call__(X).numpy(), expected)
    assert np.array_equal(network(schuss.tensor(X)).numpy(), expected)


def test_losses_are_called_by_position_and_by_name() -> None:
    loss: Any = nn.MSELoss()._loss
    expected = loss(X, X[::-1]).item()
    assert loss(prediction=X, target=X[::-1]).item() == expected
    assert loss(X, target=X[::-1]).item() == expected
    assert loss(schuss.tensor(X), schuss.tensor(X[::-1].copy())).item() == expected


@pytest.mark.parametrize("arguments", [(), (X, Y, Y)])
def test_wrong_numbers_of_arguments_are_errors(arguments: tuple[np.ndarray, ...]) -> None:
    network: Any = network_of(made(), X)
    with pytest.raises(TypeError):
        network(*arguments)
    with pytest.raises(TypeError):
        nn.MSELoss()._loss(*arguments)


@pytest.mark.parametrize("kind", [_schuss.Network, _schuss.Loss])
def test_objects_that_were_not_initialised_are_errors(kind: Any) -> None:
    with pytest.raises(TypeError):
        kind.__new__(kind)(*([X] if kind is _schuss.Network else [X, X]))


def test_errors_inside_a_call_are_those_of_python() -> None:
    network: Any = network_of(made(), X)
    with pytest.raises(ValueError, match="expected"):
        network(X[:, :2])
    with pytest.raises(TypeError, match="None"):
        network(None)
    with pytest.raises(ValueError, match="not broadcast"):
        nn.MSELoss()._loss(X, X[:2, :2])


def gradients(*arguments: Any, **options: Any) -> list[np.ndarray]:
    """Gradients after one call of backward."""
    model = made()
    cost = nn.MSELoss()(model(X), Y)
    assert cost.backward(*arguments, **options) is None
    return [np.array(p.grad) for p in model.parameters()]


def test_backward_takes_its_arguments_in_every_form() -> None:
    expected = gradients()
    one = np.ones((), np.float32)
    for found in (
        gradients(None),
        gradients(None, True),
        gradients(gradient=None, retain_graph=False),
        gradients(schuss.tensor(one)),
    ):
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    for bad in ({"retain": True}, {"gradient": None, "retain_graph": "yes"}):
        with pytest.raises(TypeError):
            gradients(**bad)
    cost = nn.MSELoss()(made()(X), Y)
    schuss.Tensor.backward(cost)
    with pytest.raises(RuntimeError, match="freed"):
        cost.backward()


def test_an_optimizers_methods_take_their_arguments_in_every_way() -> None:
    model = made()
    native: Any = optim.SGD(model.parameters(), lr=0.5)._native

    def moved(call: Callable[[], object], result: object = None) -> bool:
        before = model[0].bias.numpy().copy()
        assert call() is result
        return not np.array_equal(model[0].bias.numpy(), before)

    def gradient() -> np.ndarray:
        return model[0].bias.grad.numpy()

    model(X).sum().backward()
    assert moved(native.step)
    assert moved(lambda: native.step(None))
    assert moved(lambda: native.step(lambda: model), model)
    assert moved(lambda: native.step(closure=lambda: model), model)
    for zero in (lambda: native.zero_grad(False), lambda: native.zero_grad(set_to_none=False)):
        assert gradient().any()
        zero()
        assert not gradient().any()
        model(X).sum().backward()
    for none in (native.zero_grad, lambda: native.zero_grad(True)):
        model(X).sum().backward()
        none()
        assert model[0].bias.grad is None


def test_an_optimizers_methods_refuse_what_they_do_not_take() -> None:
    native: Any = optim.SGD(made().parameters(), lr=0.5)._native
    with pytest.raises(TypeError):
        native.step(1, 2)
    with pytest.raises(TypeError):
        native.zero_grad("yes")
    with pytest.raises(KeyError, match="from the closure"):
        native.step(lambda: {}["from the closure"])
    for name in ("step", "zero_grad"):
        with pytest.raises(TypeError, match="__init__ was not called"):
            getattr(_schuss.Optimizer.__new__(_schuss.Optimizer), name)()

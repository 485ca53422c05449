# SPDX-License-Identifier: MIT
"""The graph behaves as PyTorch's: the same gradients, the same Nones, errors in the same places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim

RNG = np.random.default_rng(8)
X = RNG.standard_normal((6, 3))
X2 = RNG.standard_normal((4, 3))
Y = RNG.standard_normal((6, 3))
Y2 = RNG.standard_normal((4, 3))


class Lib:
    """schuss or PyTorch, with a model of the same float64 parameters in each."""

    def __init__(self, package: Any) -> None:
        self.package, self.nn = package, package.nn
        self.optim = package.optim
        self.net = self.mlp(0)

    def array(self, values: np.ndarray) -> Any:
        return values if self.package is schuss else self.package.tensor(values)

    def linear(self, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        layer = self.nn.Linear(3, 3, dtype=self.package.float64)
        weight, bias = rng.standard_normal((3, 3)), rng.standard_normal(3)
        layer.load_state_dict({"weight": self.array(weight), "bias": self.array(bias)})
        return layer

    def mlp(self, seed: int) -> Any:
        return self.nn.Sequential(self.linear(seed), self.nn.Tanh(), self.linear(seed + 1))

    def mse(self, output: Any, target: np.ndarray) -> Any:
        return self.nn.MSELoss()(output, self.array(target))


Scenario = Callable[[Lib], Any]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """A program for both libraries; it returns the parameters whose gradients are compared."""
    SCENARIOS[function.__name__] = function
    return function


@scenario
def plain(lib: Lib) -> Any:
    lib.mse(lib.net(lib.array(X)), Y).backward()


@scenario
def backward_twice(lib: Lib) -> Any:
    cost = lib.mse(lib.net(lib.array(X)), Y)
    cost.backward()
    cost.backward()


@scenario
def backward_thrice_retained(lib: Lib) -> Any:
    cost = lib.mse(lib.net(lib.array(X)), Y)
    cost.backward(retain_graph=True)
    cost.backward(retain_graph=True)
    cost.backward()


@scenario
def two_costs_of_one_output(lib: Lib) -> Any:
    output = lib.net(lib.array(X))
    first, second = lib.mse(output, Y), lib.nn.L1Loss()(output, lib.array(Y))
    first.backward()
    second.backward()


@scenario
def two_costs_of_one_output_retained(lib: Lib) -> Any:
    output = lib.net(lib.array(X))
    first, second = lib.mse(output, Y), lib.nn.L1Loss()(output, lib.array(Y))
    first.backward(retain_graph=True)
    second.backward()


@scenario
def sum_of_two_costs_of_one_output(lib: Lib) -> Any:
    output = lib.net(lib.array(X))
    (lib.mse(output, Y) + 0.5 * lib.nn.L1Loss()(output, lib.array(Y))).backward()


@scenario
def several_outputs_alive_in_any_order(lib: Lib) -> Any:
    first, second = lib.net(lib.array(X)), lib.net(lib.array(X2))
    lib.mse(second, Y2).backward()
    lib.mse(first, Y).backward()


@scenario
def gradient_of_the_output(lib: Lib) -> Any:
    lib.net(lib.array(X)).backward(lib.array(Y))


@scenario
def gradient_of_the_output_twice(lib: Lib) -> Any:
    output = lib.net(lib.array(X))
    output.backward(lib.array(Y), retain_graph=True)
    output.backward(lib.array(2 * Y))


@scenario
def output_without_a_gradient(lib: Lib) -> Any:
    lib.net(lib.array(X)).backward()


@scenario
def arithmetic_on_costs(lib: Lib) -> Any:
    first, second = lib.mse(lib.net(lib.array(X)), Y), lib.mse(lib.net(lib.array(X2)), Y2)
    ((first * second - 3) / (1 + second) - (-first) / 4 + 2 / first).backward()


@scenario
def cost_times_itself(lib: Lib) -> Any:
    cost = lib.mse(lib.net(lib.array(X)), Y)
    (cost * cost).backward()


@scenario
def model_on_its_own_output(lib: Lib) -> Any:
    lib.mse(lib.net(lib.net(lib.array(X))), Y).backward()


@scenario
def layer_used_three_times(lib: Lib) -> Any:
    layer = lib.linear(5)
    net = lib.nn.Sequential(layer, lib.nn.Tanh(), layer, lib.nn.Sigmoid(), layer)
    lib.mse(net(lib.array(X)), Y).backward()
    return net.parameters()


@scenario
def shared_weight_own_biases(lib: Lib) -> Any:
    first, second = lib.linear(5), lib.linear(6)
    second.weight = first.weight
    net = lib.nn.Sequential(first, lib.nn.Tanh(), second)
    lib.mse(net(lib.array(X)), Y).backward()
    return net.parameters()


@scenario
def nested_models(lib: Lib) -> Any:
    deep = lib.nn.Sequential(lib.nn.Sequential(lib.nn.Sequential(lib.net)), lib.linear(7))
    lib.mse(deep(lib.array(X)), Y).backward()
    return deep.parameters()


@scenario
def two_models_share_an_encoder(lib: Lib) -> Any:
    one, two = (lib.nn.Sequential(lib.net, lib.linear(seed)) for seed in (7, 8))
    lib.mse(one(lib.array(X)), Y).backward()
    lib.mse(two(lib.array(X2)), Y2).backward()
    return [*one.parameters(), *two[1].parameters()]


@scenario
def two_heads_of_one_encoding(lib: Lib) -> Any:
    one, two = lib.linear(7), lib.linear(8)
    code = lib.net(lib.array(X))
    (lib.mse(one(code), Y) + lib.mse(two(code), Y)).backward()
    return [*lib.net.parameters(), *one.parameters(), *two.parameters()]


@scenario
def detached_encoding(lib: Lib) -> Any:
    head = lib.linear(7)
    lib.mse(head(lib.net(lib.array(X)).detach()), Y).backward()
    return [*lib.net.parameters(), *head.parameters()]


@scenario
def encoding_without_grad(lib: Lib) -> Any:
    head = lib.linear(7)
    with lib.package.no_grad():
        code = lib.net(lib.array(X))
    lib.mse(head(code), Y).backward()
    return [*lib.net.parameters(), *head.parameters()]


@scenario
def everything_without_grad(lib: Lib) -> Any:
    with lib.package.no_grad():
        cost = lib.mse(lib.net(lib.array(X)), Y)
    cost.backward()


@scenario
def backward_inside_no_grad(lib: Lib) -> Any:
    cost = lib.mse(lib.net(lib.array(X)), Y)
    with lib.package.no_grad():
        cost.backward()


@scenario
def frozen_first_layer(lib: Lib) -> Any:
    lib.net[0].requires_grad_(False)
    lib.mse(lib.net(lib.array(X)), Y).backward()


@scenario
def frozen_last_layer(lib: Lib) -> Any:
    lib.net[2].requires_grad_(False)
    lib.mse(lib.net(lib.array(X)), Y).backward()


@scenario
def frozen_weight(lib: Lib) -> Any:
    lib.net[0].weight.requires_grad = False
    lib.mse(lib.net(lib.array(X)), Y).backward()


@scenario
def everything_frozen(lib: Lib) -> Any:
    lib.net.requires_grad_(False)
    lib.mse(lib.net(lib.array(X)), Y).backward()


@scenario
def thawed_again(lib: Lib) -> Any:
    lib.net[0].requires_grad_(False)
    lib.mse(lib.net(lib.array(X)), Y).backward()
    lib.net[0].requires_grad_(True)
    lib.mse(lib.net(lib.array(X)), Y).backward()


@scenario
def gradients_accumulate_until_dropped(lib: Lib) -> Any:
    for x, y in ((X, Y), (X2, Y2), (X, Y)):
        lib.mse(lib.net(lib.array(x)), y).backward()
    lib.net[2].zero_grad()
    lib.mse(lib.net(lib.array(X2)), Y2).backward()


@scenario
def dropped_gradients(lib: Lib) -> Any:
    plain(lib)
    lib.net.zero_grad()


@scenario
def zeroed_gradients(lib: Lib) -> Any:
    plain(lib)
    lib.net.zero_grad(set_to_none=False)


@scenario
def zeroing_leaves_none_alone(lib: Lib) -> Any:
    lib.net.zero_grad(set_to_none=False)


@scenario
def assigned_gradient_is_added_to(lib: Lib) -> Any:
    lib.net[0].weight.grad = lib.array(np.full((3, 3), 5.0))
    plain(lib)
    lib.net[0].bias.grad = None


@scenario
def parameter_as_input(lib: Lib) -> Any:
    x = lib.package.nn.Parameter(lib.array(X.copy()))
    lib.mse(lib.net(x), Y).backward()
    return [x, *lib.net.parameters()]


@scenario
def step_between_forward_and_backward(lib: Lib) -> Any:
    optimizer = lib.optim.SGD(lib.net.parameters(), lr=0.1)
    plain(lib)
    cost = lib.mse(lib.net(lib.array(X)), Y)
    optimizer.step()
    cost.backward()


@scenario
def step_between_two_backwards(lib: Lib) -> Any:
    optimizer = lib.optim.SGD(lib.net.parameters(), lr=0.1)
    cost = lib.mse(lib.net(lib.array(X)), Y)
    cost.backward(retain_graph=True)
    optimizer.step()
    cost.backward()


@scenario
def loaded_between_forward_and_backward(lib: Lib) -> Any:
    cost = lib.mse(lib.net(lib.array(X)), Y)
    lib.net.load_state_dict(lib.net.state_dict())
    cost.backward()


@scenario
def optimizer_built_before_nesting_trains(lib: Lib) -> Any:
    optimizer = lib.optim.Adam(lib.net.parameters(), lr=0.1)
    deep = lib.nn.Sequential(lib.net, lib.nn.Tanh(), lib.linear(7))
    for _ in range(3):
        optimizer.zero_grad()
        lib.mse(deep(lib.array(X)), Y).backward()
        optimizer.step()
    lib.mse(deep(lib.array(X)), Y).backward()
    return deep.parameters()


@scenario
def two_optimizers_of_one_model(lib: Lib) -> Any:
    lower = lib.optim.SGD(lib.net[0].parameters(), lr=0.1, momentum=0.9)
    upper = lib.optim.Adam(lib.net[2].parameters(), lr=0.01)
    for _ in range(3):
        lib.net.zero_grad()
        plain(lib)
        lower.step()
        upper.step()


@scenario
def frozen_and_gradless_parameters_are_not_updated(lib: Lib) -> Any:
    optimizer = lib.optim.SGD(lib.net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.5)
    lib.net[0].weight.requires_grad = False
    for _ in range(2):
        optimizer.zero_grad()
        plain(lib)
        lib.net[2].bias.grad = None
        optimizer.step()


Outcome = tuple[str, list[Any], list[Any]]


def outcome(package: Any, run: Scenario) -> Outcome:
    """How a program ended, its gradients and its parameters."""
    lib = Lib(package)
    ended, chosen = "well", None
    try:
        chosen = run(lib)
    except RuntimeError:
        ended = "RuntimeError"
    parameters = list(lib.net.parameters() if chosen is None else chosen)
    grads = [None if p.grad is None else p.grad.detach().numpy().copy() for p in parameters]
    return ended, grads, [p.detach().numpy().copy() for p in parameters]


@pytest.mark.torch
@pytest.mark.parametrize("name", SCENARIOS)
def test_program_ends_as_with_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    ended, grads, values = outcome(schuss, SCENARIOS[name])
    expected_end, expected_grads, expected_values = outcome(torch, SCENARIOS[name])
    assert ended == expected_end
    assert [g is None for g in grads] == [g is None for g in expected_grads]
    # Sums of at most 18 products, through at most four layers and four passes: a few hundred
    # roundings of 1.1e-16 relative to terms of order 10.
    for mine, theirs in zip([*grads, *values], [*expected_grads, *expected_values], strict=True):
        if mine is not None:
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_programs_end_in_different_ways() -> None:
    ends = {name: outcome(schuss, run) for name, run in SCENARIOS.items()}
    assert {end for end, _, _ in ends.values()} == {"well", "RuntimeError"}
    assert any(g is None for _, grads, _ in ends.values() for g in grads)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("backward_twice", "retain_graph=True"),
        ("step_between_forward_and_backward", "a parameter changed"),
        ("output_without_a_gradient", "gradient"),
        ("everything_without_grad", "no_grad|history"),
    ],
)
def test_error_says_what_to_do(name: str, text: str) -> None:
    with pytest.raises(RuntimeError, match=text):
        SCENARIOS[name](Lib(schuss))


@pytest.mark.parametrize("changed", [False, True])
def test_failed_backward_leaves_gradients_alone(changed: bool) -> None:
    lib = Lib(schuss)
    cost = lib.mse(lib.net(X), Y)
    cost.backward(retain_graph=changed)
    before = [p.grad.numpy().copy() for p in lib.net.parameters()]
    if changed:
        lib.net[2].weight.copy_(np.ones((3, 3)))
    with pytest.raises(RuntimeError, match="changed" if changed else "retain_graph"):
        cost.backward()
    for g, p in zip(before, lib.net.parameters(), strict=True):
        assert np.array_equal(p.grad.numpy(), g)


def test_view_taken_before_nesting_writes_through_to_every_model() -> None:
    layer = nn.Linear(3, 3)
    view = layer.weight.numpy()
    one, two = nn.Sequential(layer), nn.Sequential(nn.Sequential(layer), nn.Tanh())
    view[...] = np.eye(3)
    layer.bias.zero_()
    assert np.array_equal(schuss.predict(one, X), X.astype(np.float32))
    schuss.fit(two, nn.MSELoss(), optim.SGD(two.parameters(), lr=0.1), X, Y)
    assert not np.array_equal(view, np.eye(3))
    assert np.array_equal(view, one[0].weight.numpy())

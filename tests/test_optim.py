# SPDX-License-Identifier: MIT
"""Optimizers: options, groups, state, and the formulas against plain Python and PyTorch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim

RNG = np.random.default_rng(11)
START = RNG.standard_normal(5)
GRADS = RNG.standard_normal((6, 5))

SGD_OPTIONS: list[dict[str, Any]] = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.3},
    {"momentum": 0.9, "nesterov": True},
    {"weight_decay": 0.1},
    {"momentum": 0.5, "weight_decay": 0.1, "maximize": True},
]
ADAM_OPTIONS: list[dict[str, Any]] = [
    {},
    {"betas": (0.5, 0.9), "eps": 1e-3},
    {"weight_decay": 0.1},
    {"amsgrad": True},
    {"amsgrad": True, "maximize": True, "weight_decay": 0.05},
]


def run(kind: Any, options: dict[str, Any], steps: int = len(GRADS)) -> np.ndarray:
    w = schuss.Parameter(START)
    optimizer = kind([w], lr=0.1, **options)
    for grad in GRADS[:steps]:
        w.grad = grad
        optimizer.step()
    return w.numpy().copy()


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "options"),
    [("SGD", o) for o in SGD_OPTIONS] + [(n, o) for n in ("Adam", "AdamW") for o in ADAM_OPTIONS],
)
def test_steps_match_pytorch(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    w = torch.nn.Parameter(torch.tensor(START))
    optimizer = getattr(torch.optim, name)([w], lr=0.1, **options)
    for grad in GRADS:
        w.grad = torch.tensor(grad)
        optimizer.step()
    # Six steps of at most a dozen roundings on values of the order of 1, in another order:
    # 72 * 2.2e-16, and through sqrt(v) near the eps twice that.
    assert np.abs(run(getattr(optim, name), options) - w.detach().numpy()).max() < 5e-14


def test_sgd_is_plain_descent() -> None:
    w = schuss.Parameter(np.array([1.0, -2.0]))
    w.grad = np.array([0.5, 1.0])
    optim.SGD([w], lr=0.25).step()
    assert w.tolist() == [0.875, -2.25]


def test_parameter_without_gradient_or_frozen_is_skipped() -> None:
    a, b, c = (schuss.Parameter(np.ones(2)) for _ in range(3))
    optimizer = optim.SGD([a, b, c], lr=0.1, momentum=0.9, weight_decay=0.5)
    a.grad = np.ones(2)
    c.grad = np.ones(2)
    c.requires_grad = False
    optimizer.step()
    assert b.tolist() == [1.0, 1.0]
    assert c.tolist() == [1.0, 1.0]
    assert a.tolist() != [1.0, 1.0]
    assert list(optimizer.state_dict()["state"]) == [0]


def test_zero_grad_drops_or_fills() -> None:
    w = schuss.Parameter(np.ones(2))
    optimizer = optim.SGD([w], lr=0.1)
    w.grad = np.ones(2)
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is not None
    assert w.grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert w.grad is None


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda p: optim.SGD(p, lr=-0.1), ValueError, "lr: got -0.1"),
        (lambda p: optim.SGD(p, lr=float("nan")), ValueError, "lr: got nan"),
        (lambda p: optim.SGD(p, lr="0.1"), TypeError, "lr: got str '0.1'"),
        (lambda p: optim.SGD(p, lr=True), TypeError, "lr: got bool"),
        (lambda p: optim.SGD(p, momentum=-1), ValueError, "momentum: got -1"),
        (lambda p: optim.SGD(p, nesterov=True), ValueError, "nesterov: needs momentum"),
        (lambda p: optim.SGD(p, nesterov=1, momentum=0.9), TypeError, "nesterov: got int 1"),
        (
            lambda p: optim.SGD(p, nesterov=True, momentum=0.9, dampening=0.1),
            ValueError,
            "dampening",
        ),
        (lambda p: optim.SGD(p, weight_decay=-1), ValueError, "weight_decay: got -1"),
        (lambda p: optim.SGD(p, learning_rate=1), TypeError, "unknown option 'learning_rate'.*lr"),
        (lambda p: optim.Adam(p, betas=(1.0, 0.9)), ValueError, r"betas\[0\]: got 1"),
        (lambda p: optim.Adam(p, betas=0.9), TypeError, "betas: got 0.9; expected two"),
        (lambda p: optim.Adam(p, eps=-1e-8), ValueError, "eps"),
        (lambda p: optim.SGD([], lr=0.1), ValueError, "no parameters"),
        (lambda p: optim.SGD(p + p, lr=0.1), ValueError, "more than once"),
        (lambda p: optim.SGD(p[0], lr=0.1), TypeError, "params: got Parameter"),
        (lambda p: optim.SGD(nn.Linear(1, 1), lr=0.1), TypeError, r"model.parameters\(\)"),
        (lambda p: optim.SGD([np.zeros(2)], lr=0.1), TypeError, r"got numpy\.ndarray in it"),
        (lambda p: optim.SGD([{"params": p, "lrr": 1}]), TypeError, "unknown option 'lrr'"),
        (lambda p: optim.SGD([{"lr": 1}]), ValueError, 'no "params"'),
    ],
)
def test_wrong_option_is_an_error_at_construction(
    make: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make([schuss.Parameter(np.zeros(2))])


def test_groups_have_options_of_their_own() -> None:
    a, b = schuss.Parameter(np.zeros(1)), schuss.Parameter(np.zeros(1))
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
    a.grad, b.grad = np.ones(1), np.ones(1)
    optimizer.step()
    assert (a.item(), b.item()) == (-0.1, -0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]
    c = schuss.Parameter(np.zeros(1))
    optimizer.add_param_group({"params": c, "momentum": 0.9})
    assert optimizer.param_groups[2]["momentum"] == 0.9
    assert optimizer.param_groups[2]["params"][0] is c


def test_param_group_is_live_and_checked() -> None:
    w = schuss.Parameter(np.zeros(1))
    optimizer = optim.SGD([w], lr=0.1, momentum=0.9, nesterov=True)
    group = optimizer.param_groups[0]
    group["lr"] = 0.5
    w.grad = np.ones(1)
    optimizer.step()
    assert w.item() == -0.5 * (1.0 + 0.9)
    with pytest.raises(ValueError, match="lr: got -1"):
        group["lr"] = -1.0
    with pytest.raises(ValueError, match="nesterov"):
        group["momentum"] = 0.0
    with pytest.raises(TypeError, match="unknown option 'lrr'; expected one of params, lr"):
        group["lrr"] = 1.0
    assert dict(group)["lr"] == 0.5
    assert group["momentum"] == 0.9
    assert "weight_decay" in group
    assert set(group) == {
        "params", "lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize",
    }  # fmt: skip


def test_rejected_pair_of_betas_leaves_both_as_they_were() -> None:
    optimizer = optim.Adam([schuss.Parameter(np.zeros(1))])
    with pytest.raises(ValueError, match=r"betas\[1\]"):
        optimizer.param_groups[0]["betas"] = (0.5, 2.0)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(optim.SGD, SGD_OPTIONS[3]), (optim.Adam, ADAM_OPTIONS[3]), (optim.AdamW, {})],
)
def test_state_dict_goes_on_with_the_same_bits(kind: Any, options: dict[str, Any]) -> None:
    expected = run(kind, options)
    w = schuss.Parameter(START)
    first = kind([w], lr=0.1, **options)
    for grad in GRADS[:3]:
        w.grad = grad
        first.step()
    state = copy.deepcopy(first.state_dict())
    w.grad = GRADS[0]
    first.step()  # the state is a copy: this leaves it alone
    values = run(kind, options, 3)
    v = schuss.Parameter(values)
    second = kind([v], lr=0.7)
    second.load_state_dict(state)
    for grad in GRADS[3:]:
        v.grad = grad
        second.step()
    assert np.array_equal(v.numpy(), expected)
    assert second.param_groups[0]["lr"] == 0.1


def test_load_state_dict_that_does_not_fit_changes_nothing() -> None:
    w = schuss.Parameter(START)
    optimizer = optim.SGD([w], lr=0.1, momentum=0.9)
    w.grad = GRADS[0]
    optimizer.step()
    good = optimizer.state_dict()
    shape = copy.deepcopy(good)
    shape["state"][0]["momentum_buffer"] = np.zeros(4)
    option = copy.deepcopy(good)
    option["param_groups"][0]["lr"] = -1.0
    groups = copy.deepcopy(good)
    groups["param_groups"] *= 2
    for bad in (shape, option, groups, {}):
        with pytest.raises(ValueError):  # noqa: PT011  (four different texts)
            optimizer.load_state_dict(bad)
        now = optimizer.state_dict()
        assert now["param_groups"] == good["param_groups"]
        buffers = [d["state"][0]["momentum_buffer"] for d in (now, good)]
        assert np.array_equal(*buffers)


def test_state_has_pytorchs_names_and_shapes() -> None:
    model = nn.Linear(3, 20)
    optimizer = optim.Adam(model.parameters(), amsgrad=True)
    nn.MSELoss()(model(np.ones((2, 3))), np.zeros((2, 20))).backward()
    optimizer.step()
    state = optimizer.state_dict()["state"]
    assert set(state[0]) == {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
    assert state[0]["exp_avg"].shape == (20, 3)
    assert state[0]["exp_avg"].flags.c_contiguous
    assert state[1]["step"] == 1


def test_own_step_of_a_subclass_is_called() -> None:
    class Counting(optim.SGD):
        calls = 0

        def step(self) -> None:
            self.calls += 1
            super().step()

    w = schuss.Parameter(np.zeros(1))
    optimizer = Counting([w], lr=0.5)
    w.grad = np.ones(1)
    optimizer.step()
    assert (optimizer.calls, w.item()) == (1, -0.5)

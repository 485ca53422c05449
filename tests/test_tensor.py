# SPDX-License-Identifier: MIT
"""Tensors, parameters and the graph between them."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

import schuss
from schuss import nn

X = np.arange(12.0, dtype=np.float32).reshape(4, 3) / 8
Y = np.zeros((4, 2), np.float32)


def model() -> nn.Sequential:
    schuss.manual_seed(2)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


# ---- values --------------------------------------------------------------------------------------


def test_output_is_not_an_ndarray_but_gives_one() -> None:
    output = model()(X)
    assert isinstance(output, schuss.Tensor)
    assert not isinstance(output, np.ndarray)
    assert output.shape == (4, 2)
    assert output.ndim == 2
    assert output.numel() == 8
    assert output.size() == (4, 2)
    assert output.size(-1) == 2
    assert output.dtype == np.float32
    assert len(output) == 4
    assert np.asarray(output).shape == (4, 2)
    assert np.asarray(output, dtype=np.float64).dtype == np.float64
    assert output.argmax(axis=1).tolist() == output.numpy().argmax(axis=1).tolist()
    assert output.tolist() == output.numpy().tolist()


def test_computed_values_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        model()(X).numpy()[0, 0] = 1.0


def test_cost_is_a_number_where_one_is_wanted() -> None:
    cost = nn.MSELoss()([2.0, 2.0], [0.0, 0.0])
    assert cost.shape == ()
    assert cost.item() == 4.0
    assert float(cost) == 4.0
    assert int(cost) == 4
    assert f"{cost:.2f}" == "4.00"
    assert cost < 5
    assert cost >= nn.MSELoss()([1.0], [0.0])
    assert bool(cost)
    with pytest.raises(TypeError):
        len(cost)


def test_scalar_arithmetic_is_differentiated() -> None:
    w = schuss.Parameter(np.array([3.0]))
    cost = (2 * w - 1) / 4 + (-w) * w + (1 - w) / w
    cost.backward()
    # d/dw (w/2 - 1/4 - w^2 + 1/w - 1) = 1/2 - 2w - 1/w^2
    assert w.grad is not None
    assert w.grad.item() == pytest.approx(0.5 - 6.0 - 1.0 / 9.0, rel=1e-15)


def test_mean_over_accumulated_batches() -> None:
    net, loss = model(), nn.MSELoss()
    for _ in range(2):
        (loss(net(X), Y) / 2).backward()
    twice = [p.grad.numpy().copy() for p in net.parameters()]
    net.zero_grad()
    loss(net(X), Y).backward()
    # Halving is exact, and so is the sum of two equal halves.
    for half_sum, p in zip(twice, net.parameters(), strict=True):
        assert np.array_equal(half_sum, p.grad.numpy())


@pytest.mark.parametrize(
    "expression",
    [
        lambda t: np.exp(t),
        lambda t: np.sum(t) + np.add(t, 1),
        lambda t: t @ [[1.0], [1.0]],
        lambda t: t + None,
    ],
)
def test_what_is_not_differentiable_raises(expression: object) -> None:
    with pytest.raises(TypeError):
        expression(model()(X))  # type: ignore[operator]


def test_expressions_on_outputs_reach_the_parameters() -> None:
    net = model()
    ((net(X) - schuss.tensor(Y)) ** 2).mean().backward()
    by_hand = [p.grad.numpy().copy() for p in net.parameters()]
    net.zero_grad()
    nn.MSELoss()(net(X), Y).backward()
    for g, p in zip(by_hand, net.parameters(), strict=True):
        # Two roundings in the factor 2 (h - y) / n, and the sums of the layers on top.
        np.testing.assert_allclose(g, p.grad.numpy(), rtol=1e-5, atol=1e-8)


# ---- backward ------------------------------------------------------------------------------------


def test_gradients_are_none_accumulate_and_are_dropped() -> None:
    net, loss = model(), nn.MSELoss()
    assert all(p.grad is None for p in net.parameters())
    loss(net(X), Y).backward()
    once = [p.grad.numpy().copy() for p in net.parameters()]
    loss(net(X), Y).backward()
    for g, p in zip(once, net.parameters(), strict=True):
        assert p.grad.shape == p.shape
        assert np.array_equal(p.grad.numpy(), g + g)


def test_second_backward_raises_unless_the_graph_is_retained() -> None:
    net, loss = model(), nn.MSELoss()
    cost = loss(net(X), Y)
    cost.backward(retain_graph=True)
    cost.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        cost.backward()


def test_backward_after_a_parameter_changed_says_so() -> None:
    net, loss = model(), nn.MSELoss()
    cost = loss(net(X), Y)
    net[2].weight.copy_(np.ones((2, 5)))
    with pytest.raises(RuntimeError, match="chang"):
        cost.backward()
    assert all(p.grad is None for p in net.parameters())


def test_several_outputs_of_one_model_are_alive_at_once() -> None:
    net, loss = model(), nn.MSELoss()
    first, second = net(X), net(2 * X)
    cost = loss(first, Y) + loss(second, Y)
    cost.backward()
    both = [p.grad.numpy().copy() for p in net.parameters()]
    net.zero_grad()
    loss(net(X), Y).backward()
    loss(net(2 * X), Y).backward()
    for g, p in zip(both, net.parameters(), strict=True):
        # One rounding of a sum of two terms, in either order: 1 ulp.
        np.testing.assert_allclose(g, p.grad.numpy(), rtol=2e-7, atol=1e-9)


def test_gradient_worked_out_by_hand() -> None:
    net, loss = model(), nn.MSELoss()
    loss(net(X), Y).backward()
    expected = [p.grad.numpy().copy() for p in net.parameters()]
    net.zero_grad()
    output = net(X)
    _, d_output = loss.value_and_grad(output, Y)
    output.backward(d_output)
    for g, p in zip(expected, net.parameters(), strict=True):
        assert np.array_equal(g, p.grad.numpy())


def test_backward_of_an_array_needs_a_gradient_of_its_shape() -> None:
    output = model()(X)
    with pytest.raises((RuntimeError, ValueError), match=r"gradient|scalar|one element"):
        output.backward()
    with pytest.raises(ValueError, match=r"\(4, 2\)"):
        output.backward(np.ones((2, 4)))


def test_backward_without_history_raises() -> None:
    with schuss.no_grad():
        cost = nn.MSELoss()(model()(X), Y)
    with pytest.raises(RuntimeError):
        cost.backward()


def test_no_grad_is_a_decorator_nests_and_ends_with_an_error() -> None:
    net = model()

    @schuss.no_grad()
    def silent() -> schuss.Tensor:
        with schuss.enable_grad():
            assert net(X).requires_grad
        return net(X)

    assert not silent().requires_grad
    with pytest.raises(ZeroDivisionError), schuss.no_grad():
        1 / 0  # noqa: B018
    assert schuss.is_grad_enabled()


def test_no_grad_is_per_thread() -> None:
    seen = []
    with schuss.no_grad():
        thread = threading.Thread(target=lambda: seen.append(schuss.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_detach_cuts_the_history() -> None:
    net = model()
    hidden = net[:2](X).detach()
    nn.MSELoss()(net[2](hidden), Y).backward()
    assert net[0].weight.grad is None
    assert net[2].weight.grad is not None


def test_target_with_history_is_refused() -> None:
    net = model()
    with pytest.raises(TypeError, match=r"detach\(\)"):
        nn.MSELoss()(net(X), net(X))


# ---- parameters ----------------------------------------------------------------------------------


def test_parameter_keeps_float_dtypes_and_converts_others() -> None:
    assert schuss.Parameter(np.zeros(2)).dtype == np.float64
    assert schuss.Parameter(np.zeros(2, np.float32)).dtype == np.float32
    assert schuss.Parameter(np.zeros(2, np.int64)).dtype == np.float32
    assert schuss.Parameter([[1.0, 2.0]]).shape == (1, 2)


def test_parameter_is_the_same_object_every_time() -> None:
    net = model()
    assert net[0].weight is next(net.parameters())


def test_parameter_writes_check_shape_and_keep_storage() -> None:
    w = nn.Linear(3, 20).weight
    view = w.numpy()
    w.data = np.ones((20, 3))
    assert (view == 1).all()
    w.copy_(np.full((20, 3), 2.0))
    assert (view == 2).all()
    w.zero_()
    assert (view == 0).all()
    view[3, 1] = 5.0
    assert w.tolist()[3][1] == 5.0
    with pytest.raises(ValueError, match=r"got shape \(3, 20\); expected \(20, 3\)"):
        w.data = np.ones((3, 20))


def test_assigned_gradient_is_copied_and_checked() -> None:
    w = schuss.Parameter(np.zeros(2))
    grad = np.ones(2)
    w.grad = grad
    grad[:] = 7
    assert w.grad is not None
    assert w.grad.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="grad: got shape"):
        w.grad = np.ones(3)
    w.grad = None
    assert w.grad is None


def test_requires_grad_of_an_output_cannot_be_set() -> None:
    with pytest.raises(RuntimeError, match=r"detach\(\)"):
        model()(X).requires_grad = False


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_parameter_copies(duplicate: object) -> None:
    w = schuss.Parameter(np.arange(6.0).reshape(2, 3), requires_grad=False)
    twin, again = duplicate((w, w))  # type: ignore[operator]
    assert twin is again
    assert twin.tolist() == w.tolist()
    assert twin.dtype == np.float64
    assert not twin.requires_grad


# ---- gradcheck -----------------------------------------------------------------------------------


def test_gradcheck_wants_float64() -> None:
    with pytest.raises(TypeError, match=r"dtype=schuss\.float64"):
        schuss.gradcheck(model(), nn.MSELoss(), X, Y)


def test_gradcheck_finds_a_wrong_gradient() -> None:
    layer = nn.Linear(3, 2, dtype=schuss.float64)

    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: schuss.Tensor) -> schuss.Tensor:
            # The bias counts twice in the value, once in the gradient.
            return nn.functional.linear(self.layer(x), np.eye(2), layer.bias.numpy())

    before = layer.weight.tolist()
    assert not schuss.gradcheck(Wrong(), nn.MSELoss(), X, Y, raise_exception=False)
    with pytest.raises(RuntimeError, match=r"layer\.bias\[0\]: gradient"):
        schuss.gradcheck(Wrong(), nn.MSELoss(), X, Y)
    assert layer.weight.tolist() == before
    assert layer.weight.grad is None


def test_gradcheck_passes_through_a_deep_model() -> None:
    net = nn.Sequential(
        nn.Linear(3, 6, dtype=schuss.float64),
        nn.GELU(),
        nn.Linear(6, 20, dtype=schuss.float64),
        nn.Softplus(),
        nn.Linear(20, 2, dtype=schuss.float64),
    )
    assert schuss.gradcheck(net, nn.HuberLoss(delta=0.3), X, Y)


@pytest.mark.parametrize("widths", [(20, 24, 20), (20, 2, 20), (3, 30, 3)])
@pytest.mark.parametrize("frozen", [(), (0,), (1, 2), (0, 1, 2)])
def test_gradients_do_not_depend_on_what_else_wants_one(
    widths: tuple[int, int, int], frozen: tuple[int, ...]
) -> None:
    sizes = (3, *widths)
    layers = [nn.Linear(a, b, dtype=schuss.float64) for a, b in zip(sizes, widths, strict=False)]
    net, loss = nn.Sequential(*layers), nn.MSELoss()
    x, y = schuss.Parameter(X.astype(np.float64)), np.ones((4, widths[-1]))
    loss(net(x), y).backward()
    expected = [p.grad.numpy().copy() for p in (*net.parameters(), x)]
    assert all(g.any() for g in expected)
    for k in frozen:
        layers[k].requires_grad_(False)
    for with_x in (True, False):
        net.zero_grad()
        x.grad = None
        cost = loss(net(x if with_x else x.numpy()), y)
        if with_x or len(frozen) < 3:
            cost.backward()
        wanted = [p.requires_grad for p in net.parameters()] + [with_x]
        for w, g, p in zip(wanted, expected, (*net.parameters(), x), strict=True):
            assert (p.grad is not None) == w
            assert not w or np.array_equal(p.grad.numpy(), g)


# ---- minimize ------------------------------------------------------------------------------------


def parabola(w: float) -> float:
    return (w - 1) * (w - 1) + 2


def slope(w: float) -> float:
    return 2 * (w - 1)


def test_minimize_follows_the_lesson() -> None:
    # Course note on gradient descent: from 5 with 0.1 the first step gives 4.2.
    assert schuss.minimize(parabola, slope, 5.0, lr=0.1, max_iter=1).x == 4.2
    good = schuss.minimize(parabola, slope, 2.0, lr=0.4, max_iter=100)
    assert good.converged
    assert good.x == 1.0
    assert good.fun == 2.0
    assert good.n_iter == len(good.path) - 1 == len(good.values) - 1 < 100
    slow = schuss.minimize(parabola, slope, 2.0, lr=0.001, max_iter=100)
    # 1 + 0.998^100; 100 steps of three roundings each, on values of the order of 1.
    assert slow.x == pytest.approx(1.818566804688, abs=1e-12)
    assert not slow.converged
    wild = schuss.minimize(parabola, slope, 2.0, lr=10.0, max_iter=1000)
    assert not wild.converged
    assert "smaller lr" in wild.message


def test_minimize_takes_vectors() -> None:
    result = schuss.minimize(
        lambda v: float((v * v).sum()), lambda v: 2 * v, [1.0, -2.0], lr=0.5, max_iter=5
    )
    assert result.converged
    assert result.x.tolist() == [0.0, 0.0]
    assert result.path.shape == (2, 2)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"lr": 0.0}, ValueError, "lr: got 0.0"),
        ({"lr": "fast"}, TypeError, "lr: got str"),
        ({"max_iter": -1}, ValueError, "max_iter: got -1"),
        ({"tol": -1.0}, ValueError, "tol: got -1"),
        ({"x0": np.nan}, ValueError, "x0"),
        ({"x0": "one"}, TypeError, "x0: got dtype"),
        ({"grad": lambda w: [1.0, 2.0]}, ValueError, "grad: gave shape"),
        ({"step": 1}, TypeError, "unknown option 'step'"),
    ],
)
def test_minimize_rejects(options: dict[str, object], error: type[Exception], text: str) -> None:
    arguments: dict[str, object] = {"f": parabola, "grad": slope, "x0": 1.5, **options}
    with pytest.raises(error, match=text):
        schuss.minimize(**arguments)  # type: ignore[arg-type]

# SPDX-License-Identifier: MIT
"""Every operation on tensors: its gradient against differences, its values and gradients against
PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expression_cases import CASES, Case, operands

import schuss

EPS = 2.0**-52


def cost_of(m: Any, case: Case, tensors: list[Any]) -> tuple[Any, Any]:
    """The output, and a number that depends on each of its elements differently."""
    output = case.run(m, *tensors)
    weights = np.cos(np.arange(output.numel(), dtype=np.float64)).reshape(tuple(output.shape))
    return output, (output * m.tensor(weights)).sum()


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_difference(name: str) -> None:
    case = CASES[name]
    values = operands(case)
    tensors = [schuss.tensor(v, requires_grad=True) for v in values]
    _, cost = cost_of(schuss, case, tensors)
    cost.backward()
    step = 1e-6
    rng = np.random.default_rng(1)
    for k, value in enumerate(values):
        grad = tensors[k].grad
        analytic = np.zeros(value.shape) if grad is None else grad.numpy()
        for flat in rng.permutation(value.size)[:12]:
            at = np.unravel_index(flat, value.shape)
            sides = []
            for sign in (1, -1):
                moved = [v.copy() for v in values]
                moved[k][at] += sign * step
                with schuss.no_grad():
                    _, side = cost_of(schuss, case, [schuss.tensor(v) for v in moved])
                sides.append(side.item())
            difference = (sides[0] - sides[1]) / (2 * step)
            # Truncation: step^2 * third derivative / 6, at most 1e-9 here; rounding: 2e-16 / step
            # times the cost, which is below 1e4.
            assert abs(analytic[at] - difference) <= 2e-6 * (1 + abs(difference)), (k, at)


@pytest.mark.torch
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    case = CASES[name]
    results = []
    for m in (schuss, torch):
        tensors = [m.tensor(v, requires_grad=True) for v in operands(case)]
        output, cost = cost_of(m, case, tensors)
        cost.backward()
        grads = [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in tensors]
        results.append((output.detach().numpy(), *grads))
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        # Chains of at most 600 terms of size below 1e3, and powers whose error grows with the
        # exponent: 600 * eps of the largest.
        scale = max(1.0, float(np.abs(theirs).max(initial=0.0)))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=600 * EPS * scale)


EDGES = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -2.0, 3.0, 1e-310, 1e300])


@pytest.mark.torch
@pytest.mark.parametrize(
    "function",
    [
        lambda m, a: abs(a),
        lambda m, a: a.relu(),
        lambda m, a: a.clamp(-1, 1),
        lambda m, a: a.max(),
        lambda m, a: a[:6].max(),
        lambda m, a: a**2,
        lambda m, a: a**3,
        lambda m, a: a**-1,
        lambda m, a: a**0,
        lambda m, a: a**0.5,
        lambda m, a: m.exp(a),
        lambda m, a: m.log(a),
        lambda m, a: m.sqrt(a),
        lambda m, a: m.maximum(a, a.detach().flip(0) if m is not schuss else a.detach()[::-1]),
        lambda m, a: m.where(a > 0, a, 0.0),
        lambda m, a: m.sin(a),
        lambda m, a: m.cos(a),
        lambda m, a: m.floor(a),
        lambda m, a: m.ceil(a),
        lambda m, a: m.trunc(a),
        lambda m, a: m.round(a * 1.5),
        lambda m, a: m.sign(a),
        lambda m, a: a % 0.75,
        lambda m, a: a % -2,
        lambda m, a: a // 0.75,
        lambda m, a: a // 0,
        lambda m, a: m.fmod(a, 0.75),
        lambda m, a: 3 % a,
        lambda m, a: a[:4].prod(),
        lambda m, a: a.cumsum(0),
        lambda m, a: a.norm(),
        lambda m, a: a.norm(float("inf")),
        lambda m, a: a[:5].logsumexp(0),
        lambda m, a: a.sort().values,
        lambda m, a: a.topk(4).values,
        lambda m, a: a.median(),
        lambda m, a: a[:5].median(),
        lambda m, a: m.isnan(a),
        lambda m, a: m.isfinite(a),
        lambda m, a: m.isinf(a),
        lambda m, a: a.argmax(),
        lambda m, a: a.argmin(),
        lambda m, a: a == a,
        lambda m, a: a < 1,
    ],
)
def test_edge_values_are_pytorchs(function: Any) -> None:
    torch = pytest.importorskip("torch")
    ours = function(schuss, schuss.tensor(EDGES)).numpy()
    theirs = function(torch, torch.tensor(EDGES)).numpy()
    # Elementary functions: within two units; subnormal results of exp are +0 here.
    np.testing.assert_allclose(ours, theirs, rtol=4 * EPS, atol=1e-307)


@pytest.mark.torch
def test_power_of_tensors_has_ieee_limits() -> None:
    torch = pytest.importorskip("torch")
    bases = np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, np.inf, -np.inf, np.nan, -8.0])
    exponents = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 3.0, 0.5, np.inf, -np.inf, np.nan, 1e20])
    a, b = (x.reshape(-1) for x in np.meshgrid(bases, exponents))
    for dtype in (np.float64, np.float32):
        ours = (schuss.tensor(a.astype(dtype)) ** schuss.tensor(b.astype(dtype))).numpy()
        theirs = (torch.tensor(a.astype(dtype)) ** torch.tensor(b.astype(dtype))).numpy()
        np.testing.assert_allclose(ours, theirs, rtol=8 * np.finfo(dtype).eps)
        assert np.array_equal(
            np.signbit(ours[~np.isnan(ours)]), np.signbit(theirs[~np.isnan(ours)])
        )


@pytest.mark.parametrize("exponent", [2.3, -1.7, 0.1, 31.5, 100.0])
def test_power_is_within_its_bound(exponent: float) -> None:
    import mpmath

    x = np.random.default_rng(5).uniform(0.01, 20.0, 200)
    for dtype, bound in ((np.float32, 0.51), (np.float64, 2 + abs(exponent) / 8)):
        base = x.astype(dtype)
        power = (schuss.tensor(base) ** exponent).numpy()
        rounded = float(dtype(exponent))
        for b, p in zip(base, power, strict=True):
            exact = mpmath.mpf(float(b)) ** mpmath.mpf(rounded)
            if not np.finfo(dtype).tiny < exact < np.finfo(dtype).max:
                continue
            unit = np.spacing(np.abs(p)).astype(np.float64)
            assert abs(mpmath.mpf(float(p)) - exact) <= bound * float(unit) * 1.01


def test_equal_elements_share_the_gradient() -> None:
    a = schuss.tensor([1.0, 3.0, 3.0], requires_grad=True)
    a.max().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [0.0, 0.5, 0.5]
    b = schuss.tensor([[1.0, 3.0, 3.0]], requires_grad=True)
    b.max(dim=1).values.sum().backward()
    assert b.grad is not None
    assert b.grad.tolist() == [[0.0, 1.0, 0.0]]


def test_integers_and_bools() -> None:
    n = schuss.tensor([1, 2, 3])
    assert (n + 1).dtype == np.int64
    assert (n / 2).dtype == np.float32
    assert (n * 1.5).tolist() == [1.5, 3.0, 4.5]
    assert (n**2).tolist() == [1, 4, 9]
    right = n == schuss.tensor([1, 0, 3])
    assert right.dtype == np.bool_
    assert right.sum().item() == 2
    assert right.float().mean().item() == np.float32(2) / np.float32(3)
    assert (~right).tolist() == [False, True, False]
    assert ((n > 1) & (n < 3)).tolist() == [False, True, False]
    assert bool((n > 0).all())
    assert not bool((n > 5).any())
    assert isinstance(n.sum().item(), int)
    assert isinstance(right[0].item(), bool)
    assert list(range(5))[n[1]] == 2


def test_common_dtypes_are_pytorchs() -> None:
    f, d, n = schuss.zeros(2), schuss.zeros(2, dtype=schuss.float64), schuss.arange(2)
    assert (f + d).dtype == np.float64
    assert (f + n).dtype == np.float32
    assert (n + True).dtype == np.int64
    assert (f + d.sum()).dtype == np.float32  # no dimensions: it does not count
    assert (n + f.sum()).dtype == np.float32  # a higher kind does
    assert (d + 0.5).dtype == np.float64
    with pytest.raises(TypeError, match="same dtype"):
        f @ d


def test_sum_is_taken_in_the_order_of_the_contract() -> None:
    """The rule of autograd/ops.hpp, written out."""
    rng = np.random.default_rng(3)

    def lanes(x: np.ndarray) -> float:
        lane = np.zeros(8)
        for i in range(0, len(x), 8):
            part = np.zeros(8)
            part[: len(x[i : i + 8])] = x[i : i + 8]
            lane = lane + part
        for half in (4, 2, 1):
            lane = lane[:half] + lane[half : 2 * half]
        return float(lane[0])

    def tree(x: np.ndarray) -> float:
        chunks = [lanes(x[i : i + 256]) for i in range(0, len(x), 256)]
        total = chunks[0]
        for chunk in chunks[1:]:
            total = total + chunk
        return total

    x = (rng.standard_normal((700, 37)) * 1e3).astype(np.float32)
    lines = [np.float32(tree(row.astype(np.float64))) for row in x]
    expected = np.float32(tree(np.array(lines, np.float64)))
    assert schuss.tensor(x).sum().numpy() == expected
    column = x[:, :1].astype(np.float64)
    assert schuss.tensor(x[:, :1]).sum().numpy() == np.float32(tree(column.reshape(-1)))
    # Columns: a float32 chain over 256 rows, chunks added in order.
    sums = np.zeros(37, np.float32)
    for first in range(0, 700, 256):
        chain = np.zeros(37, np.float32)
        for row in x[first : first + 256]:
            chain = chain + row
        sums = chain if first == 0 else sums + chain
    assert np.array_equal(schuss.tensor(x).sum(dim=0).numpy(), sums)


def test_matmul_has_the_bits_of_a_layer() -> None:
    schuss.manual_seed(4)
    rng = np.random.default_rng(4)
    for n_in, n_out in ((13, 1), (3, 2), (20, 33)):
        layer = schuss.nn.Linear(n_in, n_out, bias=False)
        x = schuss.tensor(rng.standard_normal((300, n_in)).astype(np.float32))
        w = layer.weight.detach().clone().requires_grad_()
        out = x @ w.T
        assert np.array_equal(out.numpy(), layer(x).numpy())
        d = rng.standard_normal((300, n_out)).astype(np.float32)
        layer(x).backward(d)
        out.backward(schuss.tensor(d))
        assert layer.weight.grad is not None
        assert w.grad is not None
        assert np.array_equal(w.grad.numpy(), layer.weight.grad.numpy())

# SPDX-License-Identifier: MIT
"""Tensors as values: construction, indexing, writing, printing, errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import optim

# ---- construction --------------------------------------------------------------------------------


def test_data_become_pytorchs_dtypes() -> None:
    assert schuss.tensor([1.0, 2.0]).dtype == np.float32
    assert schuss.tensor([1, 2]).dtype == np.int64
    assert schuss.tensor([True, False]).dtype == np.bool_
    assert schuss.tensor(3.5).shape == ()
    assert schuss.tensor(np.zeros(2)).dtype == np.float64
    assert schuss.tensor(np.zeros(2, np.float16)).dtype == np.float32
    assert schuss.tensor(np.zeros(2, np.int32)).dtype == np.int64
    assert schuss.tensor([1, 2], dtype=schuss.float64).dtype == np.float64
    assert schuss.FloatTensor([[1], [2]]).tolist() == [[1.0], [2.0]]
    assert schuss.FloatTensor(2, 3).shape == (2, 3)
    assert schuss.LongTensor([1.0, 2.0]).tolist() == [1, 2]
    assert schuss.Tensor([1, 2]).dtype == np.float32


def test_formulas() -> None:
    assert schuss.arange(5).tolist() == [0, 1, 2, 3, 4]
    assert schuss.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert schuss.arange(0, 1, 0.25).tolist() == [0.0, 0.25, 0.5, 0.75]
    assert schuss.linspace(0, 1, 5).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert schuss.linspace(3, 9, 1).tolist() == [3.0]
    assert schuss.eye(2).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert schuss.full((2, 1), 7).tolist() == [[7], [7]]
    assert schuss.ones(2, 2).sum().item() == 4.0
    assert schuss.zeros((3,), requires_grad=True).requires_grad
    assert schuss.zeros_like(schuss.ones(2, dtype=schuss.int64)).tolist() == [0, 0]


def test_random_numbers_are_seeded_and_spread() -> None:
    schuss.manual_seed(5)
    first = schuss.rand(4, 3), schuss.randn(1000), schuss.randint(2, 9, (500,)), schuss.randperm(50)
    schuss.manual_seed(5)
    again = schuss.rand(4, 3), schuss.randn(1000), schuss.randint(2, 9, (500,)), schuss.randperm(50)
    for a, b in zip(first, again, strict=True):
        assert a.tolist() == b.tolist()
    assert not schuss.equal(schuss.rand(10), schuss.rand(10))
    # Of 1000 normals: within four standard errors, 4/sqrt(1000), for the deviation over sqrt(2).
    assert abs(first[1].mean().item()) < 0.13
    assert abs(first[1].std().item() - 1) < 0.09
    assert set(first[2].tolist()) == set(range(2, 9))
    assert sorted(first[3].tolist()) == list(range(50))


def test_numpy_memory_is_shared_where_asked() -> None:
    array = np.arange(6.0).reshape(2, 3).T
    shared = schuss.from_numpy(array)
    assert shared.shape == (3, 2)
    array[0, 0] = 9.0
    assert shared[0, 0].item() == 9.0
    with schuss.no_grad():
        shared[1, 1] = -1.0
    assert array[1, 1] == -1.0
    copied = schuss.tensor(array)
    array[0, 0] = 0.0
    assert copied[0, 0].item() == 9.0
    assert schuss.as_tensor(copied) is copied
    with pytest.raises(TypeError, match="int32"):
        schuss.from_numpy(np.zeros(2, np.int32))


# ---- indexing and writing ------------------------------------------------------------------------

KEYS: list[Any] = [
    0,
    -1,
    (1, 2),
    slice(1, None),
    (slice(None), 2),
    (..., 1),
    (None, 0),
    slice(None, None, -1),
    [0, 1],
    ([1, 0], [2, 3]),
    (slice(None), [0, 3]),
    np.array([True, False, True]),
    (slice(1), slice(3, 0, -1)),
    ([[0, 1], [2, 0]], slice(None, 2)),
    range(2),
    (range(3), [0, 2, 1]),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing_is_numpys(key: Any) -> None:
    array = np.arange(12.0).reshape(3, 4)
    tensor = schuss.tensor(array)
    assert np.array_equal(tensor[key].numpy(), array[key])
    tensor[key] = 5.0
    array[key] = 5.0
    assert np.array_equal(tensor.numpy(), array)


def test_ravel_is_one_dimension_and_remembers() -> None:
    t = schuss.eye(2, requires_grad=True)
    (t.ravel() * schuss.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert t.grad is not None
    assert t.grad.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_basic_indices_are_views_and_arrays_copy() -> None:
    t = schuss.zeros(3, 2)
    t[1].fill_(4.0)
    t[[0]].fill_(9.0)
    assert t.tolist() == [[0.0, 0.0], [4.0, 4.0], [0.0, 0.0]]
    t[t > 0] = schuss.tensor([1.0, 2.0])
    assert t[1].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (3, IndexError),
        ((0, 0, 0), IndexError),
        ([0, 5], IndexError),
        (1.0, TypeError),
        ([0.5], TypeError),
        (np.array([True, False]), IndexError),
    ],
)
def test_wrong_index_raises(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="index"):
        schuss.zeros(3, 2)[key]


def test_labels_are_scattered() -> None:
    labels = schuss.tensor([2, 0, 1, 1])
    rows = schuss.zeros(4, 3).scatter_(1, labels.unsqueeze(1), 1)
    assert rows.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert schuss.nn.functional.one_hot(labels).tolist() == rows.tolist()
    with pytest.raises(IndexError, match="scatter_"):
        schuss.zeros(4, 2).scatter_(1, labels.unsqueeze(1), 1)


def test_rows_are_iterated() -> None:
    rows = list(schuss.arange(6).reshape(3, 2))
    assert [r.tolist() for r in rows] == [[0, 1], [2, 3], [4, 5]]
    a, b = schuss.tensor([1.0, 2.0])
    assert (a + b).item() == 3.0


# ---- in place, leaves, versions ------------------------------------------------------------------


def test_leaf_is_updated_under_no_grad_only() -> None:
    w = schuss.ones(2, requires_grad=True)
    (w * 3).sum().backward()
    with pytest.raises(RuntimeError, match="leaf"):
        w -= 0.1
    with pytest.raises(RuntimeError, match="leaf"):
        w.zero_()
    assert w.tolist() == [1.0, 1.0]
    same = w
    with schuss.no_grad():
        w -= 0.5 * w.grad
    assert w is same
    assert w.is_leaf
    assert w.tolist() == [-0.5, -0.5]
    assert w.grad is not None
    w.grad.zero_()
    assert w.grad.tolist() == [0.0, 0.0]


def test_result_changed_in_place_keeps_its_history() -> None:
    x = schuss.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y += x
    y *= 3
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [9.0, 9.0]
    total = schuss.tensor(0.0)
    for k in range(3):
        total += (x * k).sum()
    total.backward()
    assert x.grad.tolist() == [12.0, 12.0]


def test_changed_operand_is_noticed() -> None:
    x = schuss.ones(2, requires_grad=True)
    y = x * 2
    z = y * y
    y += 1
    with pytest.raises(RuntimeError, match="in place"):
        z.sum().backward()
    assert x.grad is None
    e = x.exp()
    f = e * 1
    e.mul_(2)
    with pytest.raises(RuntimeError, match="in place"):
        f.sum().backward()


def test_freed_graph_says_so() -> None:
    x = schuss.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        y.backward()
    z = (x + 1).sum()  # nothing was saved
    z.backward()
    z.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [4.0, 4.0]


def test_index_assignment_outside_no_grad_is_refused() -> None:
    x = schuss.ones(2, requires_grad=True) * 2
    with pytest.raises(RuntimeError, match=r"where\(\)"):
        x[0] = 1.0
    constant = schuss.zeros(2)
    constant[0] = 3.0
    assert constant.tolist() == [3.0, 0.0]


def test_gradient_of_a_result_is_kept_on_request() -> None:
    x = schuss.ones(2, requires_grad=True)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad is not None
    assert y.grad.tolist() == [6.0, 6.0]


def test_backward_takes_a_gradient_and_adds() -> None:
    x = schuss.ones(2, 2, requires_grad=True)
    y = x * 2
    y.backward(schuss.tensor([[1.0, 0.0], [0.0, 1.0]]), retain_graph=True)
    y.backward(np.ones((2, 2)))
    assert x.grad is not None
    assert x.grad.tolist() == [[4.0, 2.0], [2.0, 4.0]]
    given = schuss.ones(2, 2)
    x.grad = None
    x.backward(given)
    given.zero_()
    assert x.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    with pytest.raises(RuntimeError, match="needs a gradient"):
        (x * 2).backward()


def test_only_floating_leaves_require_gradients() -> None:
    with pytest.raises(RuntimeError, match="floating"):
        schuss.tensor([1, 2], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"detach\(\)"):
        (schuss.ones(2, requires_grad=True) * 2).requires_grad = False


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW])
def test_optimizers_update_leaf_tensors(make: Any) -> None:
    w = schuss.tensor([2.0, -1.0], requires_grad=True)
    p = schuss.Parameter([2.0, -1.0])
    optimizers = [make([w], lr=0.1), make([p], lr=0.1)]
    for _ in range(5):
        for leaf, optimizer in zip((w, p), optimizers, strict=True):
            optimizer.zero_grad()
            (leaf**2).sum().backward()
            optimizer.step()
    assert w.tolist() == p.tolist()
    assert w.tolist() != [2.0, -1.0]
    with pytest.raises(ValueError, match="leaves"):
        make([w * 2], lr=0.1)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies(duplicate: Any) -> None:
    for t in (schuss.arange(3), schuss.ones(2, 2, requires_grad=True)):
        twin = duplicate(t)
        assert twin.tolist() == t.tolist()
        assert twin.dtype == t.dtype
        assert twin.requires_grad == t.requires_grad


# ---- shapes that do not fit ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t: t + schuss.zeros(3), ValueError),
        (lambda t: t @ t, ValueError),
        (lambda t: t.reshape(5), ValueError),
        (lambda t: t.sum(dim=2), IndexError),
        (lambda t: t.permute(0, 0), ValueError),
        (lambda t: t.expand(3, 3), ValueError),
        (lambda t: schuss.cat([t, schuss.zeros(2, 3)]), ValueError),
        (lambda t: schuss.stack([t, schuss.zeros(2)]), ValueError),
        (lambda t: schuss.zeros(0).max(), ValueError),
        (lambda t: t.item(), ValueError),
        (lambda t: len(t.sum()), TypeError),
        (lambda t: bool(t), RuntimeError),
        (lambda t: t + "one", TypeError),
        (lambda t: t @ 2, TypeError),
        (lambda t: ~t, TypeError),
        (lambda t: schuss.where(t, t, t), TypeError),
        (lambda t: schuss.arange(0, 5, -1), ValueError),
        (lambda t: schuss.randint(5, 5, (2,)), ValueError),
        (lambda t: t.to("float16"), TypeError),
        (lambda t: t.to("cuda"), ValueError),
        (lambda t: t.no_such_thing, AttributeError),
    ],
)
def test_what_does_not_fit_raises(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(schuss.ones(2, 4))


# ---- text ----------------------------------------------------------------------------------------

TEXTS: list[Any] = [
    lambda m: m.tensor([1.0, 2.0]),
    lambda m: m.tensor([1.5, -2.25, 1000.0]),
    lambda m: m.tensor(3.14159),
    lambda m: m.tensor(2.0),
    lambda m: m.tensor([[1, 2], [30, 4]]),
    lambda m: m.tensor([True, False]),
    lambda m: m.tensor([1e-5, 1.0]),
    lambda m: m.tensor([1e10, 1.0]),
    lambda m: m.tensor([float("nan"), 1.0, float("inf")]),
    lambda m: m.tensor([]),
    lambda m: m.zeros(2, 0),
    lambda m: m.arange(30) / 7,
    lambda m: m.arange(24.0).reshape(2, 3, 4),
    lambda m: m.arange(2000),
    lambda m: m.arange(2000.0).reshape(100, 20) / 3,
    lambda m: m.ones(2, requires_grad=True),
    lambda m: m.ones(2, requires_grad=True) * 2,
    lambda m: (m.ones(2, requires_grad=True) + 1).sum(),
    lambda m: m.ones(2, requires_grad=True).mean(),
    lambda m: m.ones(30, requires_grad=True) ** 2,
]


@pytest.mark.torch
@pytest.mark.parametrize("make", TEXTS)
def test_tensors_print_as_pytorchs(make: Any) -> None:
    torch = pytest.importorskip("torch")
    assert repr(make(schuss)) == repr(make(torch))


def test_numbers_are_formatted() -> None:
    t = schuss.tensor([1.23456])
    assert f"{t.sum():.2f} {t.sum():8.3f}|" == "1.23    1.235|"
    assert f"{schuss.tensor(7)}" == "7"
    assert f"{schuss.tensor([1, 2])}" == "tensor([1, 2])"
    assert repr(schuss.zeros(1, dtype=schuss.float64)) == "tensor([0.], dtype=schuss.float64)"
    assert repr(schuss.Parameter([1.0])).startswith("Parameter containing:\ntensor([1.]")


def test_attribute_that_there_is_not() -> None:
    tensor = schuss.tensor([1.0])
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tensor.nothing  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no attribute '5'"):
        tensor.__getattr__(5)  # type: ignore[arg-type, operator]

# SPDX-License-Identifier: MIT
"""`nn.functional.linear` and products of tensors: the bits of a layer, however operands lie and
whoever makes them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import _schuss, nn, optim
from schuss.nn import functional as F  # noqa: N812  (PyTorch's custom)

#: Rows, inputs, outputs: small, narrow, wide, ragged, one row, few rows, two chunks of rows, two
#: levels of the gradient's tree.
SIZES = [
    (1, 1, 1),
    (7, 3, 2),
    (1, 40, 33),
    (11, 129, 70),
    (47, 64, 65),
    (48, 65, 64),
    (130, 300, 100),
    (300, 13, 4),
    (300, 4, 4),
    (300, 20, 37),
    (513, 5, 9),
    (16 * 1024 + 1, 3, 5),
]
pytestmark = pytest.mark.usefixtures("restored_threads")
DTYPES = ["float32", "float64"]
THREADS = [1, 2, 3]


def share_among(threads: int) -> None:
    """Every product, however small, by so many threads."""
    schuss.set_num_threads(threads)
    _schuss.testing.set_work_per_thread(1.0)


def drawn(seed: int, *shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def same(a: Any, b: Any) -> bool:
    a, b = np.asarray(a.detach()), np.asarray(b.detach())
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def by_layer(size: tuple[int, int, int], dtype: str, bias: bool = True) -> tuple[nn.Linear, Any]:
    """A layer after forward and backward on one thread, and its input with its gradient."""
    rows, n_in, n_out = size
    schuss.set_num_threads(1)
    schuss.manual_seed(rows + n_in)
    layer = nn.Linear(n_in, n_out, bias=bias, dtype=dtype)
    x = schuss.tensor(drawn(1, rows, n_in, dtype=dtype), requires_grad=True)
    output = layer(x)
    output.backward(drawn(2, rows, n_out, dtype=dtype))
    return layer, (x, output)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_linear_has_the_bits_of_a_layer(
    size: tuple[int, int, int], dtype: str, threads: int
) -> None:
    layer, (x, expected) = by_layer(size, dtype)
    share_among(threads)
    d = drawn(2, size[0], size[2], dtype=dtype)
    leaves = [
        schuss.tensor(np.array(t.detach()), requires_grad=True)
        for t in (x, layer.weight, layer.bias)
    ]
    output = F.linear(*leaves)
    assert same(output, expected)
    output.backward(d)
    for leaf, of_layer in zip(leaves, (x, layer.weight, layer.bias), strict=True):
        assert leaf.grad is not None
        assert of_layer.grad is not None
        assert same(leaf.grad, of_layer.grad)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("size", SIZES)
def test_parameters_of_a_layer_get_gradients_as_from_it(
    size: tuple[int, int, int], threads: int
) -> None:
    """Also where a gradient is there already; the layout stays the parameter's."""
    layer, (x, expected) = by_layer(size, "float32")
    x.grad = None
    layer(x).backward(drawn(3, size[0], size[2]))
    twin = nn.Linear(size[1], size[2])
    twin.load_state_dict(layer.state_dict())
    share_among(threads)
    fresh = schuss.tensor(x.detach().numpy(), requires_grad=True)
    output = F.linear(fresh, twin.weight, twin.bias)
    assert same(output, expected)
    output.backward(drawn(2, size[0], size[2]))
    fresh.grad = None
    F.linear(fresh, twin.weight, twin.bias).backward(drawn(3, size[0], size[2]))
    for a, b in ((twin.weight, layer.weight), (twin.bias, layer.bias), (fresh, x)):
        assert a.grad is not None
        assert b.grad is not None
        assert same(a.grad, b.grad)
        assert a.grad.stride() == a.stride()
    before = twin.weight.tolist()
    optimizer = schuss.optim.SGD(twin.parameters(), lr=0.1)
    optimizer.step()
    assert twin.weight.tolist() != before


def turned(values: np.ndarray) -> Any:
    return schuss.tensor(np.ascontiguousarray(values.T)).T


def spaced(values: np.ndarray) -> Any:
    wide = np.zeros((2 * values.shape[0], 3 * values.shape[1]), values.dtype)
    wide[::2, ::3] = values
    return schuss.tensor(wide)[::2, ::3]


def backwards(values: np.ndarray) -> Any:
    return schuss.from_numpy(np.ascontiguousarray(values[::-1]))[[*range(len(values))][::-1]]


LAYOUTS = {"turned": turned, "spaced": spaced, "backwards": backwards}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES[:-1])
def test_bits_do_not_depend_on_how_operands_lie(
    size: tuple[int, int, int], layout: str, threads: int
) -> None:
    rows, n_in, n_out = size
    share_among(threads)
    a, b = drawn(1, rows, n_in), drawn(2, n_out, n_in)
    d = drawn(3, rows, n_out)
    results = []
    for lay in (schuss.tensor, LAYOUTS[layout]):
        for function in (F.linear, lambda x, w: x @ w.T):
            x, w = lay(a).requires_grad_(), lay(b).requires_grad_()
            output = function(x, w)
            output.backward(d)
            results.append([output, x.grad, w.grad])
    for result in results[1:]:
        assert all(same(r, first) for r, first in zip(result, results[0], strict=True))


@pytest.mark.parametrize("threads", THREADS)
def test_stacks_have_the_bits_of_their_products(threads: int) -> None:
    share_among(threads)
    for count, m, k, n in ((30, 20, 30, 24), (2, 300, 40, 50), (40, 3, 5, 2)):
        a, b = drawn(1, count, m, k), drawn(2, count, k, n)
        x, y = (schuss.tensor(v, requires_grad=True) for v in (a, b))
        output = x @ y
        output.backward(drawn(3, count, m, n))
        assert x.grad is not None
        assert y.grad is not None
        one_right = schuss.tensor(a) @ schuss.tensor(b[0])
        for i in range(count):
            xi, yi = (schuss.tensor(v[i], requires_grad=True) for v in (a, b))
            single = xi @ yi
            single.backward(drawn(3, count, m, n)[i])
            assert same(output[i], single)
            assert same(one_right[i], schuss.tensor(a[i]) @ schuss.tensor(b[0]))
            assert same(x.grad[i], xi.grad)
            assert same(y.grad[i], yi.grad)


def test_arrays_are_taken_as_they_are_or_converted() -> None:
    x, w, b = drawn(1, 9, 6), drawn(2, 8, 6), drawn(3, 8)
    expected = F.linear(schuss.tensor(x), schuss.tensor(w), schuss.tensor(b))
    wide = np.zeros((18, 12), np.float32)
    wide[::2, ::2] = x
    for values in (
        x,
        np.asfortranarray(x),
        wide[::2, ::2],
        x.tolist(),
        x.astype(">f4"),
        x.astype(np.float64),
        np.ma.MaskedArray(x),
        schuss.tensor(x).double(),
    ):
        assert same(F.linear(values, w, b), expected)
    assert same(F.linear(x, w.tolist(), b.astype(np.float64)), expected)
    assert same(F.linear(x, np.asfortranarray(w), b[::-1].copy()[::-1]), expected)
    assert F.linear(x, w.astype(np.float64)).dtype == np.float64
    assert F.linear([[1, 2]], [[3, 4]], [5]).tolist() == [[16.0]]
    ones = np.ones((2, 3, 6), np.float32)
    assert F.linear(ones, w, b).shape == (2, 3, 8)
    assert F.linear(ones, w[0], 1.0).shape == (2, 3)
    assert F.linear(schuss.zeros(0, 6), w, b).shape == (0, 8)
    assert same(F.linear(schuss.zeros(2, 0), schuss.zeros(8, 0), b), schuss.tensor([b, b]))


def test_history_reaches_whatever_wants_it() -> None:
    x, w, b = drawn(1, 9, 6), drawn(2, 8, 6), drawn(3, 8)
    for wanted in range(8):
        leaves = [
            schuss.tensor(v, requires_grad=bool(wanted >> i & 1)) for i, v in enumerate((x, w, b))
        ]
        output = F.linear(*leaves)
        assert output.requires_grad == bool(wanted)
        if not wanted:
            continue
        assert repr(output.grad_fn) == "<AddmmBackward0>"
        (output * 2).sum().backward()
        for leaf in leaves:
            assert (leaf.grad is not None) == leaf.requires_grad
    with schuss.no_grad():
        assert not F.linear(*leaves).requires_grad
    hidden = leaves[1] * 2
    output = F.linear(leaves[0], hidden)
    output.sum().backward()
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        output.sum().backward()
    output = F.linear(leaves[0], leaves[1]).sum()
    with schuss.no_grad():
        leaves[1] -= 1
    with pytest.raises(RuntimeError, match="AddmmBackward0 needs was changed in place"):
        output.backward()


def test_a_parameter_used_twice_gets_both_gradients() -> None:
    layer = nn.Linear(20, 20)
    x, d = drawn(1, 30, 20), drawn(2, 30, 20)
    F.linear(F.linear(x, layer.weight, layer.bias), layer.weight, layer.bias).backward(d)
    twice = nn.Sequential(layer, layer)
    for parameter in layer.parameters():
        assert parameter.grad is not None
    found = [np.array(p.grad) for p in layer.parameters()]
    layer.zero_grad()
    twice(x).backward(d)
    for gradient, parameter in zip(found, layer.parameters(), strict=True):
        assert np.array_equal(gradient, parameter.grad)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        (
            ((2, 4), (5, 3), None),
            r"input has shape \(2, 4\); expected \(\.\.\., 3\), as weight has",
        ),
        (((), (5, 3), None), r"input has shape \(\); expected \(\.\.\., 3\)"),
        (((2, 3), (1, 5, 3), None), r"weight has shape \(1, 5, 3\); expected \(out_features"),
        (((2, 3), (), None), r"weight has shape \(\); expected \(out_features"),
        (((2, 3), (5, 3), (4,)), r"bias has shape \(4,\); expected \(5,\), as weight has"),
        (((2, 3), (5, 3), (2, 5)), r"bias has shape \(2, 5\); expected \(5,\)"),
        (((2, 3), (3,), (3,)), r"bias has shape \(3,\); expected \(\), as weight has shape \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_errors(shapes: tuple[Any, ...], text: str) -> None:
    for make in (np.ones, schuss.ones):
        operands = [None if shape is None else make(shape) for shape in shapes]
        with pytest.raises(ValueError, match="linear: " + text):
            F.linear(*operands)


def test_dtypes_that_would_lose_history_are_errors() -> None:
    x, w, b = schuss.ones(2, 3), schuss.ones(5, 3), schuss.ones(5)
    for wrong in range(3):
        operands = [x, w, b]
        operands[wrong] = operands[wrong].double().requires_grad_()
        if wrong == 1:  # constants follow the weight
            assert F.linear(*operands).dtype == np.float64
            operands[0] = x.clone().requires_grad_()
        with pytest.raises(TypeError, match=r"linear: got a float.. tensor beside a weight of"):
            F.linear(*operands)
    with pytest.raises(TypeError, match="input has dtype complex64"):
        F.linear(np.ones((2, 3), np.complex64), w)
    with pytest.raises(ValueError, match=r"1e\+300"):
        F.linear([[1e300, 0, 0]], w)


def test_large_products_let_other_threads_run() -> None:
    x, w = drawn(1, 600, 600), drawn(2, 600, 600)
    expected = F.linear(x, w)
    results: list[bool] = []

    def work() -> None:
        results.extend(same(F.linear(x, w), expected) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 15


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_copies_of_turned_tensors_have_their_elements(dtype: str) -> None:
    for shape in ((1, 9), (7, 8), (8, 8), (9, 17), (70, 130), (300, 65)):
        values = (np.random.default_rng(4).standard_normal((2, *shape)) * 9).astype(dtype)
        one = schuss.tensor(values[0])
        assert same(one.T.contiguous(), schuss.tensor(np.ascontiguousarray(values[0].T)))
        stack = schuss.tensor(values)
        for order in ((0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1)):
            expected = np.ascontiguousarray(values.transpose(order))
            assert same(stack.permute(*order).contiguous(), schuss.tensor(expected))
        reverse = values[0][::-1].copy()
        assert same(schuss.from_numpy(reverse)[::2].T.clone(), schuss.tensor(reverse[::2].T.copy()))


# ---- what is easily overlooked -------------------------------------------------------------------


@pytest.mark.parametrize(("n_out", "n_in"), [(3, 3), (20, 30), (33, 48), (4, 7), (1, 5)])
def test_weight_of_a_layer_may_be_the_input(n_out: int, n_in: int) -> None:
    layer = nn.Linear(n_in, n_out)
    values = np.arange(2 * n_in, dtype=np.float32).reshape(2, n_in) % 5
    F.linear(layer.weight, values).sum().backward()
    expected = np.broadcast_to(values.sum(axis=0), (n_out, n_in))
    np.testing.assert_array_equal(layer.weight.grad.numpy(), expected)


def test_weight_of_a_layer_may_be_input_and_weight() -> None:
    layer = nn.Linear(30, 20, dtype="float64")
    (F.linear(layer.weight, layer.weight) ** 2).sum().backward()
    weight = np.array(layer.weight)
    # d sum((W W^T)^2) = 4 W W^T W: chains of 30 and of 20 terms of at most 20 * 30 * max|W|^3.
    bound = 4 * 50 * 600 * np.abs(weight).max() ** 3 * np.finfo(np.float64).eps
    np.testing.assert_allclose(
        layer.weight.grad.numpy(), 4 * weight @ weight.T @ weight, rtol=0, atol=bound
    )


def test_conversion_of_what_is_recorded_is_noticed() -> None:
    def loss(model: nn.Module, p: Any, t: Any) -> Any:
        scale = F.linear(model.weight.detach(), np.ones((2, 3))).float().sum()
        return ((p - t) ** 2).mean() * (1 + scale * scale)

    x = np.arange(12, dtype=np.float32).reshape(4, 3) / 12
    y = x[:, :1].copy()

    def made() -> tuple[nn.Linear, optim.SGD]:
        schuss.manual_seed(0)
        model = nn.Linear(3, 1)
        return model, optim.SGD(model.parameters(), lr=0.05)

    model, optimizer = made()
    history = schuss.fit(
        model, lambda p, t: loss(model, p, t), optimizer, x, y, epochs=3, batch_size=None
    )
    other, optimizer = made()
    by_hand = []
    for _ in range(3):
        cost = loss(other, other(x), schuss.tensor(y))
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        by_hand.append(cost.item())
    assert list(history.loss) == by_hand


def test_write_during_a_product_is_noticed() -> None:
    """Large products let other threads run: one of them may write to an operand meanwhile."""
    values = drawn(2, 900, 900)
    x = schuss.ones(900, 900, requires_grad=True)
    noticed: list[str] = []
    for _ in range(8):
        weight = schuss.tensor(values, requires_grad=True)
        begun = threading.Event()

        def write(target: Any = weight, now: threading.Event = begun) -> None:
            now.wait()
            with schuss.no_grad():
                target.zero_()

        writer = threading.Thread(target=write)
        writer.start()
        begun.set()
        output = F.linear(x, weight)
        writer.join()
        try:
            output.sum().backward()
        except RuntimeError as error:
            noticed.append(str(error))
        else:  # written before the product began
            assert not np.asarray(output.detach()).any()
        x.grad = None
    assert noticed
    assert all("was changed in place" in message for message in noticed)


def test_sizes_beyond_memory_are_refused() -> None:
    one = schuss.zeros(1)
    with pytest.raises(MemoryError):
        F.linear(one.expand(1, 2**62), one.expand(1, 2**62))
    with pytest.raises(MemoryError):
        one.expand(1, 2**62) @ one.expand(2**62, 1)


def test_error_names_the_shape_that_was_given() -> None:
    with pytest.raises(ValueError, match=r"input has shape \(2, 5\).*weight has shape \(6,?\)"):
        F.linear(np.ones((2, 5), np.float32), np.ones(6, np.float32))

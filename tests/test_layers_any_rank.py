# SPDX-License-Identifier: MIT
"""Layers on tensors of any number of dimensions; dropout; what is done to gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn

RNG = np.random.default_rng(17)
SHAPES = [(3,), (1, 3), (5, 3), (2, 4, 3), (2, 1, 2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [1, 2, 40])
def test_layers_take_any_dimensions_before_the_features(shape: tuple[int, ...], width: int) -> None:
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Softmax(dim=-1))
    values = RNG.standard_normal(shape).astype(np.float32)
    x = schuss.tensor(values, requires_grad=True)
    rows = schuss.tensor(values.reshape(-1, 3), requires_grad=True)
    d = RNG.standard_normal((*shape[:-1], width)).astype(np.float32)
    output, expected = model(x), model(rows)
    assert output.shape == (*shape[:-1], width)
    assert np.array_equal(output.numpy().reshape(-1, width), expected.numpy())
    output.backward(d)
    gradients = [parameter.grad.tolist() for parameter in model.parameters()]
    model.zero_grad()
    expected.backward(d.reshape(-1, width))
    assert gradients == [parameter.grad.tolist() for parameter in model.parameters()]
    assert x.grad is not None
    assert rows.grad is not None
    assert x.grad.shape == shape
    assert np.array_equal(x.grad.numpy().reshape(-1, 3), rows.grad.numpy())


def test_activations_take_any_dimensions_also_none() -> None:
    for shape in [(), (4,), (2, 3), (2, 3, 2)]:
        values = RNG.standard_normal(shape).astype(np.float32)
        for layer in (nn.ReLU(), nn.Sequential(nn.Tanh(), nn.LeakyReLU(0.1)), nn.Identity()):
            output = layer(schuss.tensor(values))
            assert output.shape == shape
            assert np.array_equal(
                output.numpy().reshape(1, -1), layer(values.reshape(1, -1)).numpy()
            )


def test_a_wrong_width_is_refused() -> None:
    assert nn.Linear(1, 2)(schuss.ones(1)).shape == (2,)
    with pytest.raises(ValueError, match=r"X has shape \(5,\); expected \(n, 1\)"):
        nn.Linear(1, 2)(schuss.ones(5))
    with pytest.raises(ValueError, match=r"X has shape \(4,\); expected \(n, 3\)"):
        nn.Linear(3, 2)(schuss.ones(4))
    with pytest.raises(ValueError, match=r"X has shape \(2, 2, 4\)"):
        nn.Linear(3, 2)(schuss.ones(2, 2, 4))


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(("shape", "dim"), [((3,), 0), ((3, 4), 0), ((2, 3, 4), -2), ((2, 3), 1)])
def test_softmax_layers_along_any_dimension_are_pytorchs(
    kind: str, shape: tuple[int, ...], dim: int
) -> None:
    torch = pytest.importorskip("torch")
    values = RNG.standard_normal(shape)
    results = []
    for m in (schuss, torch):
        x = m.tensor(values, requires_grad=True)
        output = getattr(m.nn, kind)(dim=dim)(x)
        (output * output).sum().backward()
        results.append((output.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*results, strict=True):
        # Sums of at most four terms of size one, and an exponential or two.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=32 * np.finfo(np.float64).eps)


def test_softmax_over_columns_refuses_three_dimensions() -> None:
    with pytest.raises(ValueError, match=r"Softmax\(dim=1\).*dim=-1 for the last dimension"):
        nn.Softmax(dim=1)(schuss.ones(2, 3, 4))


# ---- losses --------------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", ["MSELoss", "L1Loss", "HuberLoss", "BCEWithLogitsLoss"])
@pytest.mark.parametrize("shape", [(), (2, 3, 4), (1, 1, 1, 2)])
def test_elementwise_losses_take_any_dimensions(
    kind: str, shape: tuple[int, ...], reduction: str
) -> None:
    torch = pytest.importorskip("torch")
    values, targets = RNG.standard_normal(shape), RNG.uniform(0, 1, shape)
    results = []
    for m in (schuss, torch):
        x = m.tensor(values, requires_grad=True, dtype=m.float64)
        loss = getattr(m.nn, kind)(reduction=reduction)(x, m.tensor(targets, dtype=m.float64))
        loss.sum().backward()
        results.append((loss.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        # Sums of at most 24 terms below 10.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=240 * np.finfo(np.float64).eps)


@pytest.mark.torch
def test_cross_entropy_of_one_row_and_one_label_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    values = RNG.standard_normal(5)
    results = []
    for m in (schuss, torch):
        x = m.tensor(values, requires_grad=True)
        loss = m.nn.CrossEntropyLoss()(x, m.tensor(3))
        loss.backward()
        results.append((loss.item(), x.grad.numpy()))
    for ours, theirs in zip(*results, strict=True):
        # Five exponentials, a sum and a logarithm.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=32 * np.finfo(np.float64).eps)


def test_losses_still_refuse_to_broadcast() -> None:
    with pytest.raises(ValueError, match="shape"):
        nn.MSELoss()(schuss.ones(2, 3, 4), schuss.ones(3, 4))
    with pytest.raises(ValueError, match="shape"):
        nn.MSELoss()(schuss.ones(3), schuss.tensor(1.0))


# ---- dropout -------------------------------------------------------------------------------------


def test_dropout_drops_its_share_and_keeps_the_expectation() -> None:
    schuss.manual_seed(3)
    x = schuss.ones(200, 500, requires_grad=True)
    output = nn.Dropout(0.3)(x)
    kept = output.numpy() != 0
    # 10^5 draws: three standard deviations of the share are 3 sqrt(0.21 / 10^5) = 0.0044.
    assert abs(kept.mean() - 0.7) < 0.0044
    assert set(np.unique(output.numpy())) == {np.float32(0.0), np.float32(1 / 0.7)}
    output.sum().backward()
    assert x.grad is not None
    assert np.array_equal(x.grad.numpy(), output.numpy())


def test_dropout_is_addressed_by_layer_forward_and_place() -> None:
    schuss.manual_seed(5)
    first, second = nn.Dropout(), nn.Dropout()
    x = schuss.ones(6, 9)
    one, again, other = first(x).tolist(), first(x).tolist(), second(x).tolist()
    assert one != again
    assert one != other
    schuss.manual_seed(5)
    same = nn.Dropout()
    assert same(x[:4]).tolist() == one[:4]  # a row's do not depend on the rows after it
    same.eval()
    assert same(x) is x
    same.train()
    assert same(x).tolist() == again  # evaluation does not count
    assert nn.Dropout(0.0)(x) is x
    assert nn.Dropout(1.0)(x).sum().item() == 0.0


def test_dropout_in_a_model_trains_step_by_step_and_repeats() -> None:
    x = RNG.standard_normal((50, 4)).astype(np.float32)
    y = x[:, :1] * 2

    def train() -> tuple[list[float], list[Any], float]:
        schuss.manual_seed(8)
        model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
        optimizer = schuss.optim.SGD(model.parameters(), lr=0.05)
        history = schuss.fit(
            model, nn.MSELoss(), optimizer, x, y, epochs=30, batch_size=10, shuffle=True, seed=1
        )
        model.eval()
        return list(history.loss), model[0].weight.tolist(), float(((model(x) - y) ** 2).mean())

    losses, weights, final = train()
    assert (losses, weights, final) == train()
    assert final < losses[0] / 4


def test_dropout_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match="expected a probability, 0 to 1"):
        nn.Dropout(1.5)
    with pytest.raises(TypeError, match="int64"):
        nn.functional.dropout(schuss.arange(3))
    x = schuss.ones(3)
    assert nn.functional.dropout(x, 0.9, training=False) is x
    assert repr(nn.Dropout(0.1)) == "Dropout(p=0.1, inplace=False)"


# ---- gradients and parameters --------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("kind", [1.0, 2.0, 3.0, float("inf")])
def test_clip_grad_norm_is_pytorchs(kind: float) -> None:
    torch = pytest.importorskip("torch")
    values = [RNG.standard_normal((3, 4)), RNG.standard_normal(5)]
    results = []
    for m in (schuss, torch):
        tensors = [m.tensor(v, requires_grad=True) for v in values]
        sum((t * t).sum() for t in tensors).backward()
        norm = m.nn.utils.clip_grad_norm_(tensors, 1.5, norm_type=kind)
        again = m.nn.utils.clip_grad_norm_(tensors, 1e6, norm_type=kind)
        results.append([float(norm), float(again), *(t.grad.numpy() for t in tensors)])
    for ours, theirs in zip(*results, strict=True):
        # Seventeen terms, a root and a quotient.
        np.testing.assert_allclose(ours, theirs, rtol=32 * np.finfo(np.float64).eps)


def test_clip_grad_norm_of_nothing_and_of_what_is_not_finite() -> None:
    layer = nn.Linear(2, 1)
    assert nn.utils.clip_grad_norm_(layer.parameters(), 1.0).item() == 0.0
    layer.weight.grad = [[1.0, float("inf")]]
    with pytest.raises(RuntimeError, match="the norm is inf; nothing was changed"):
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0, error_if_nonfinite=True)
    assert layer.weight.grad.tolist() == [[1.0, float("inf")]]


def test_parameters_to_a_vector_and_back() -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    vector = nn.utils.parameters_to_vector(source.parameters())
    nn.utils.vector_to_parameters(vector, target.parameters())
    assert target.weight.tolist() == source.weight.tolist()
    assert target.bias.tolist() == source.bias.tolist()
    with pytest.raises(ValueError, match=r"expected \(8,\)"):
        nn.utils.vector_to_parameters(vector[1:], target.parameters())

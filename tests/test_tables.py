# SPDX-License-Identifier: MIT
"""Numbers that others published or printed, each with its source.

Lessons are trained through ``schuss.fit`` in float64 here; `test_examples` checks the programs
that tell them. A printed number is right within half a unit of its last digit; where the source
computed in float32, the roundings that it could have made are added, and said.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import schuss
from schuss import nn, optim
from schuss.datasets import load_digits

EPS32 = 2.0**-23

X_LINE = np.arange(1.0, 31.0)
Y_LINE = np.array(
    [
        0.94, 1.98, 2.88, 3.92, 3.96, 4.55, 5.64, 6.3, 7.44, 9.1, 8.46, 9.5, 10.67, 11.16, 14,
        11.83, 14.4, 14.25, 16.2, 16.32, 17.46, 19.8, 18, 21.34, 22, 22.5, 24.57, 26.04, 21.6, 28.8,
    ]
)  # fmt: skip
T_U = np.array([35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4])
T_C = np.array([0.5, 14, 15, 28, 11, 8, 3, -4, 6, 13, 21])


def line(weight: float, bias: float | None) -> nn.Linear:
    model = nn.Linear(1, 1, bias=bias is not None, dtype=schuss.float64)
    model.weight.copy_([[weight]])
    if bias is not None:
        model.bias.copy_([bias])
    return model


def train(model, optimizer, x, y, epochs) -> list[float]:
    history = schuss.fit(
        model, nn.MSELoss(), optimizer, x[:, None], y, epochs=epochs, batch_size=None, shuffle=False
    )
    return history.loss


# ---- the five lessons ----------------------------------------------------------------------------


def test_line_through_30_points():
    """Korean PyTorch course note on losses and optimisation; printed by PyTorch in float64."""
    model = line(0.0, 0.0)
    optimizer = optim.SGD(model.parameters(), lr=0.001)
    done = 0
    for epoch, weight, bias, cost in [
        (1000, 0.864258, -0.138465, 1.393250),
        (2000, 0.869788, -0.250826, 1.380349),
        (5000, 0.876704, -0.391328, 1.372670),
        (10000, 0.878694, -0.431769, 1.372201),
    ]:
        losses = train(model, optimizer, X_LINE, Y_LINE, epoch - done)
        done = epoch
        # Rounding in float64 sums of 30 terms is below 1e-12, and descent contracts it.
        got = (model.weight.item(), model.bias.item(), losses[-1])
        assert got == pytest.approx((weight, bias, cost), rel=0, abs=5.1e-7)


def test_y_equals_2x():
    """Korean course "deep learning for everyone", which computes in float32.

    A residual r carries the rounding of predictions up to 6, so the cost mean(r^2) carries
    2 sqrt(cost) 6 EPS32.
    """
    model = line(0.0, 0.0)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])
    done = 0
    for epoch, weight, bias, cost in [
        (0, 0.187, 0.080, 18.666666),
        (100, 1.746, 0.578, 0.048171),
        (200, 1.800, 0.454, 0.029767),
        (500, 1.903, 0.221, 0.007024),
        (800, 1.953, 0.107, 0.001657),
    ]:
        losses = train(model, optimizer, x, y, epoch + 1 - done)
        done = epoch + 1
        assert (model.weight.item(), model.bias.item()) == pytest.approx(
            (weight, bias), rel=0, abs=5.1e-4
        )
        rounding = 12.0 * math.sqrt(cost) * EPS32
        assert losses[-1] == pytest.approx(cost, rel=0, abs=1e-6 + rounding)
    train(model, optimizer, x, y, 1000 - done)
    assert (model.weight.item(), model.bias.item()) == pytest.approx(
        (1.9708, 0.0664), rel=0, abs=5.1e-5
    )


def test_y_equals_2x_with_the_weight_alone():
    """As above, lr 0.1: the error shrinks by 15 a step, the cost by 225."""
    model = line(0.0, None)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])
    weights, costs = [], []
    for _ in range(4):
        costs += train(model, optimizer, x, y, 1)
        weights.append(model.weight.item())
    assert weights == pytest.approx([1.866667, 1.991111, 1.999407, 1.999960], rel=0, abs=5.1e-7)
    # Six printed digits, and a float32 weight near 2 that is off by up to EPS32: 14/3 (2 - W)^2.
    for cost, printed, before in zip(
        costs, [18.666666, 0.0829630, 0.000368722, 0.00000163862], [0.0, *weights], strict=False
    ):
        rounding = 28.0 / 3.0 * (2.0 - before) * EPS32
        assert cost == pytest.approx(printed, rel=0, abs=5e-6 * printed + rounding)


def test_thermometer_first_loss_and_gradient():
    """Stevens, Antiga, Viehmann, "Deep Learning with PyTorch", chapter 5; float32."""
    model = line(1.0, 0.0)
    cost = nn.MSELoss()(model(T_U[:, None]), T_C)
    cost.backward()
    # Predictions reach 82; the gradient sums eleven products of like sign.
    assert cost.item() == pytest.approx(1763.8848, abs=5e-5 + 2 * math.sqrt(1764) * 82 * EPS32)
    assert model.weight.grad.item() == pytest.approx(4517.2969, abs=5e-5 + 11 * 4517.3 * EPS32)
    assert model.bias.grad.item() == pytest.approx(82.6, abs=5e-5 + 11 * 82.6 * EPS32)


def test_thermometer_normalised():
    model = line(1.0, 0.0)
    losses = train(model, optim.SGD(model.parameters(), lr=1e-2), 0.1 * T_U, T_C, 5000)
    for epoch, printed in [
        (1, 80.364342), (2, 37.574917), (3, 30.871077), (10, 29.030487), (11, 28.941875),
        (99, 22.214186), (100, 22.148710), (4000, 2.927680), (5000, 2.927648),
    ]:  # fmt: skip
        # Predictions of a size of up to 40, off by 40 EPS32.
        rounding = 2.0 * math.sqrt(printed) * 40.0 * EPS32
        assert losses[epoch - 1] == pytest.approx(printed, rel=0, abs=5e-7 + rounding)
    # The book's float32 parameters wander by a few roundings of 17.3, 2e-6 each.
    assert (model.weight.item(), model.bias.item()) == pytest.approx(
        (5.3671, -17.3012), rel=0, abs=6e-5
    )
    least_squares = np.polyfit(0.1 * T_U, T_C, 1)
    np.testing.assert_allclose(least_squares, [5.36771921, -17.3047855], rtol=1e-8)
    train(model, optim.SGD(model.parameters(), lr=1e-2), 0.1 * T_U, T_C, 20000)
    # Another 20,000 steps whose slowest mode shrinks by 0.9983: e^-34 of what was left, 4e-3.
    got = (model.weight.item(), model.bias.item())
    assert got == pytest.approx(least_squares.tolist(), rel=1e-9)


def test_thermometer_raw_with_adam():
    model = line(1.0, 0.0)
    train(model, optim.Adam(model.parameters(), lr=1e-1), T_U, T_C, 2000)
    assert (model.weight.item(), model.bias.item()) == pytest.approx(
        (0.5367, -17.3021), rel=0, abs=6e-5
    )


def test_thermometer_raw_diverges_at_1e_2_and_not_at_1e_4():
    model = line(1.0, 0.0)
    with pytest.raises(schuss.NonFiniteError):
        train(model, optim.SGD(model.parameters(), lr=1e-2), T_U, T_C, 1000)
    model = line(1.0, 0.0)
    losses = train(model, optim.SGD(model.parameters(), lr=1e-4), T_U, T_C, 100)
    assert (np.diff(losses) < 0).all()


def test_parabola():
    """Course note on gradient descent: (w - 1)^2 + 2."""
    f, slope = (lambda w: (w - 1.0) ** 2 + 2.0), (lambda w: 2.0 * (w - 1.0))
    one = schuss.minimize(f, slope, 5.0, lr=0.1, max_iter=1)
    # Three roundings of numbers below 8.
    assert [float(w) for w in one.path] == pytest.approx([5.0, 4.2], rel=0, abs=24 * 2.0**-53)
    arrived = schuss.minimize(f, slope, 2.0, lr=0.4, max_iter=100)
    # The error shrinks by 0.2 a step until it is one unit of 1.0.
    assert float(arrived.path[-1]) == pytest.approx(1.0, rel=0, abs=2.0**-52)
    slow = schuss.minimize(f, slope, 2.0, lr=0.001, max_iter=100)
    # 1 + 0.998^100 = 1.81856680; printed from a float32, whose unit there is EPS32.
    assert float(slow.path[-1]) == pytest.approx(1.8185669, rel=0, abs=EPS32)
    assert float(slow.path[-1]) == pytest.approx(1.0 + 0.998**100, rel=1e-14)
    wild = schuss.minimize(f, slope, 2.0, lr=10.0, max_iter=10)
    assert [float(w) for w in wild.path] == [1.0 + (-19.0) ** step for step in range(11)]


def test_cross_entropy_of_a_one_hot_label_in_both_bases():
    """Course note on losses, which prints the logarithm of base 10."""
    log_p = np.log([[0.3, 0.2, 0.5]])
    for cost in (
        nn.NLLLoss()(log_p, [2]),
        nn.CrossEntropyLoss()(log_p, [2]),  # log-probabilities are logits of those probabilities
        nn.CrossEntropyLoss()(log_p, [[0.0, 0.0, 1.0]]),
    ):
        assert cost.item() == pytest.approx(0.6931472, rel=0, abs=5.1e-8)
        assert cost.item() / math.log(10.0) == pytest.approx(0.30103, rel=0, abs=5e-6)


# ---- back-propagation by hand --------------------------------------------------------------------


def test_mazur():
    """Mazur, "A Step by Step Backpropagation Example", 2015; printed from float64."""
    model = nn.Sequential(
        nn.Linear(2, 2, dtype=schuss.float64), nn.Sigmoid(),
        nn.Linear(2, 2, dtype=schuss.float64), nn.Sigmoid(),
    )  # fmt: skip
    model.load_state_dict(
        {
            "0.weight": [[0.15, 0.20], [0.25, 0.30]],
            "0.bias": [0.35, 0.35],
            "2.weight": [[0.40, 0.45], [0.50, 0.55]],
            "2.bias": [0.60, 0.60],
        }
    )
    for layer in (model[0], model[2]):
        layer.bias.requires_grad = False
    x, y = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])
    np.testing.assert_allclose(model(x).numpy(), [[0.75136507, 0.772928465]], rtol=0, atol=5.1e-9)
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    first = schuss.fit(model, nn.MSELoss(), optimizer, x, y, epochs=1).loss[0]
    assert first == pytest.approx(0.298371109, rel=0, abs=5.1e-10)
    state = model.state_dict()
    np.testing.assert_allclose(
        state["0.weight"].ravel(), [0.14978072, 0.19956143, 0.24975114, 0.29950229], atol=5.1e-9
    )
    np.testing.assert_allclose(
        state["2.weight"].ravel(), [0.35891648, 0.40866619, 0.51130127, 0.56137012], atol=5.1e-9
    )
    np.testing.assert_array_equal(state["0.bias"], [0.35, 0.35])
    np.testing.assert_array_equal(state["2.bias"], [0.60, 0.60])
    schuss.fit(model, nn.MSELoss(), optimizer, x, y, epochs=9999)
    last = nn.MSELoss()(model(x), y).item()
    # Five printed digits: fine enough to count steps, each of which moves the loss by 3.5e-9.
    assert last == pytest.approx(3.5102e-5, rel=0, abs=5.1e-10)


# ---- losses --------------------------------------------------------------------------------------

LOGITS = [[10.0, 1.0, -2.0], [1.0, 4.0, 0.2], [0.5, 0.5, 0.5]]
LABELS = [1, 0, 2]
CLASS_WEIGHTS = [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("target", "smoothing", "printed"),
    [
        (LABELS, 0.0, 3.637768790964),
        (np.eye(3)[LABELS], 0.0, 8.488127178916),
        (LABELS, 0.1, 3.713891463657),
        (np.eye(3)[LABELS], 0.1, 8.665746748533),
        ([1, -100, 2], 0.1, 3.768601752666),
    ],
    ids=["labels", "one-hot", "labels, smoothed", "one-hot, smoothed", "one ignored, smoothed"],
)
def test_cross_entropy_options(target, smoothing, printed):
    """Printed by PyTorch 2.13 in float64."""
    loss = nn.CrossEntropyLoss(weight=CLASS_WEIGHTS, label_smoothing=smoothing)
    cost = loss(np.array(LOGITS), target)
    assert cost.item() == pytest.approx(printed, rel=0, abs=5.1e-13)
    assert loss.value_and_grad(np.array(LOGITS), target)[0] == cost.item()


def test_cross_entropy_of_the_keras_tests():
    """Keras' losses_test: sparse and one-hot labels, from logits."""
    logits, labels = np.array([[8.0, 1, 1], [0, 9, 1], [2, 3, 5]]), np.arange(3)
    for target in (labels, np.eye(3)):
        rows = nn.CrossEntropyLoss(reduction="none")(logits, target).numpy()
        np.testing.assert_allclose(rows, [0.001822, 0.000459, 0.169846], rtol=0, atol=5.1e-7)
        mean = nn.CrossEntropyLoss()(logits, target).item()
        assert mean == pytest.approx(0.0573, rel=0, abs=1e-4)  # they compare three decimals


def test_regression_losses_of_the_keras_tests():
    y, prediction = np.array([[1.0, 9, 2], [-5, -2, 6]]), np.array([[4.0, 8, 12], [8, 1, 3]])
    # Small integers: sums are exact, and so are the quotients.
    assert nn.MSELoss()(prediction, y).item() == 49.5
    assert nn.L1Loss()(prediction, y).item() == 5.5
    y, prediction = np.array([[1.0, 0, 1], [1, 0, 0]]), np.array([[0.9, 0.2, 0.2], [0.8, 0.4, 0.6]])
    # 1.25 / 12; a dozen roundings of numbers below 1.
    assert nn.HuberLoss()(prediction, y).item() == pytest.approx(1.25 / 12, rel=1e-15 * 12)


def test_binary_cross_entropy_of_the_keras_tests():
    """Keras' losses_test: logits of +-100, two wrong ones in the six."""
    y, logits = np.array([[1.0, 0, 1], [0, 1, 1]]), np.array([[100.0, -100, 100], [100, 100, -100]])
    rows = nn.BCEWithLogitsLoss(reduction="none")(logits, y).numpy()
    # exp(-100) is below a rounding of 100, and next to nothing alone.
    np.testing.assert_allclose(rows, [[0, 0, 0], [100, 0, 100]], rtol=1e-15, atol=1e-40)
    assert nn.BCEWithLogitsLoss()(logits, y).item() == pytest.approx(100.0 / 3.0, rel=1e-15)


# ---- handwritten digits --------------------------------------------------------------------------


def sklearn_start(widths: list[int]) -> dict[str, np.ndarray]:
    """Starting weights as MLPClassifier(activation="relu", random_state=0) draws them.

    Uniform in +-sqrt(6 / (n_in + n_out)), layer by layer, weights as (n_in, n_out), then biases.
    """
    random = np.random.RandomState(0)  # the generator that scikit-learn uses
    state = {}
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        bound = np.sqrt(6.0 / (n_in + n_out))
        state[f"{2 * layer}.weight"] = random.uniform(-bound, bound, (n_in, n_out)).T
        state[f"{2 * layer}.bias"] = random.uniform(-bound, bound, n_out)
    return state


def test_digits_give_scikit_learns_loss_curve():
    """scikit-learn 1.9.1 and PyTorch 2.13 agree on these, in float64."""
    X, y = load_digits(return_X_y=True)
    model = nn.Sequential(
        nn.Linear(64, 32, dtype=schuss.float64), nn.ReLU(), nn.Linear(32, 10, dtype=schuss.float64)
    )
    model.load_state_dict(sklearn_start([64, 32, 10]))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    X = np.asarray(X, dtype=np.float64) / 16
    history = schuss.fit(
        model, nn.CrossEntropyLoss(), optimizer, X, y, epochs=20, batch_size=200, shuffle=False
    )
    # Rounding differs by 1e-15 and training amplifies it by far less than 1e5 in 20 epochs.
    printed = {0: 2.07594975, 1: 1.24298739, 2: 0.61441740, 19: 0.06617214}
    for epoch, loss in printed.items():
        assert history.loss[epoch] == pytest.approx(loss, rel=0, abs=5.1e-9)
    accuracy = np.mean(schuss.predict(model, X).argmax(axis=1) == y)
    assert accuracy == pytest.approx(0.98887, rel=0, abs=5.1e-6)


def test_digits_weights_equal_scikit_learns():
    neural_network = pytest.importorskip(
        "sklearn.neural_network", reason="compares with scikit-learn as installed"
    )
    X, y = load_digits(return_X_y=True)
    X = np.asarray(X[:600], dtype=np.float64) / 16
    y = y[:600]
    peer = neural_network.MLPClassifier(
        (32,), solver="sgd", learning_rate_init=0.1, momentum=0.9, nesterovs_momentum=True,
        alpha=0, batch_size=200, shuffle=False, random_state=0, max_iter=3,
    )  # fmt: skip
    with pytest.warns(Warning, match="converge"):  # three epochs are not meant to
        peer.fit(X, y)
    model = nn.Sequential(
        nn.Linear(64, 32, dtype=schuss.float64), nn.ReLU(), nn.Linear(32, 10, dtype=schuss.float64)
    )
    model.load_state_dict(sklearn_start([64, 32, 10]))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    history = schuss.fit(
        model, nn.CrossEntropyLoss(), optimizer, X, y, epochs=3, batch_size=200, shuffle=False
    )
    # Nine steps of sums of at most 200 terms each, in another order.
    np.testing.assert_allclose(history.loss, peer.loss_curve_, rtol=1e-12)
    for layer in (0, 1):
        np.testing.assert_allclose(
            model[2 * layer].weight.numpy(), peer.coefs_[layer].T, rtol=0, atol=1e-13
        )
        np.testing.assert_allclose(
            model[2 * layer].bias.numpy(), peer.intercepts_[layer], rtol=0, atol=1e-13
        )

# SPDX-License-Identifier: MIT
"""fit, evaluate, predict, DataLoader and History."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest

import schuss
from schuss import nn, optim

RNG = np.random.default_rng(8)
X = RNG.standard_normal((50, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [-2.0], [0.5]]) + 0.3).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)


def regression(dtype: Any = schuss.float32) -> nn.Sequential:
    schuss.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8, dtype=dtype), nn.ReLU(), nn.Linear(8, 1, dtype=dtype))


def classifier() -> nn.Sequential:
    schuss.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))


def values(model: nn.Module) -> list[np.ndarray]:
    return list(model.state_dict().values())


def equal(one: nn.Module, two: nn.Module) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(values(one), values(two), strict=True))


def sgd(model: nn.Module, **options: Any) -> optim.SGD:
    return optim.SGD(model.parameters(), **{"lr": 0.05, "momentum": 0.9, **options})


# ---- fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("batch_size", "drop_last"), [(16, False), (16, True), (None, False)])
@pytest.mark.parametrize("kind", ["mse", "cross_entropy"])
def test_step_by_step_and_fit_give_equal_bits(
    shuffle: bool, batch_size: int | None, drop_last: bool, kind: str
) -> None:
    by_value = kind == "mse"
    one, two = (regression(), regression()) if by_value else (classifier(), classifier())
    loss = nn.MSELoss() if by_value else nn.CrossEntropyLoss(label_smoothing=0.1)
    y = Y if by_value else LABELS
    options: dict[str, Any] = {"batch_size": batch_size, "shuffle": shuffle, "seed": 4}
    first, second = sgd(one, nesterov=True), sgd(two, nesterov=True)
    loader = schuss.DataLoader(X, y, drop_last=drop_last, **options)
    for _ in range(3):
        for xb, yb in loader:
            cost = loss(one(xb), yb)
            first.zero_grad()
            cost.backward()
            first.step()
    schuss.fit(two, loss, second, X, y, epochs=3, drop_last=drop_last, **options)
    assert equal(one, two)


def test_two_calls_are_one_longer_call() -> None:
    one, two = regression(), regression()
    first, second = sgd(one), sgd(two)
    loss = nn.MSELoss()
    schuss.fit(one, loss, first, X, Y, epochs=4, seed=3)
    for _ in range(2):
        schuss.fit(two, loss, second, X, Y, epochs=2, seed=3)
    assert equal(one, two)


def test_two_calls_without_a_seed_are_one_longer_call() -> None:
    one, two = regression(), regression()
    first, second = sgd(one), sgd(two)
    schuss.manual_seed(9)
    schuss.fit(one, nn.MSELoss(), first, X, Y, epochs=4)
    schuss.manual_seed(9)
    for _ in range(2):
        schuss.fit(two, nn.MSELoss(), second, X, Y, epochs=2)
    assert equal(one, two)


def test_optimizer_state_dict_goes_on_with_the_next_epoch() -> None:
    one, two = regression(), regression()
    first, second = sgd(one), sgd(two)
    schuss.fit(one, nn.MSELoss(), first, X, Y, epochs=2, seed=3)
    two.load_state_dict(one.state_dict())
    second.load_state_dict(first.state_dict())
    for model, optimizer in ((one, first), (two, second)):
        schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=2)
    assert equal(one, two)


def test_python_loss_trains_with_the_same_bits() -> None:
    one, two = regression(), regression()
    loss = nn.MSELoss()
    a = schuss.fit(one, loss, sgd(one), X, Y, epochs=3, batch_size=16, seed=2)
    b = schuss.fit(two, loss.value_and_grad, sgd(two), X, Y, epochs=3, batch_size=16, seed=2)
    assert equal(one, two)
    # The same batch losses, averaged in another order: 4 roundings in float64.
    assert a.loss == pytest.approx(b.loss, rel=1e-15)


def test_own_module_trains_with_the_same_bits() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = regression()

        def forward(self, x: schuss.Tensor) -> schuss.Tensor:
            return self.net(x)

    one, two = regression(), Own()
    a, b = (
        schuss.fit(m, nn.MSELoss(), sgd(m), X, Y, epochs=3, seed=2, validation_data=(X, Y))
        for m in (one, two)
    )
    assert equal(one, two)
    # In evaluation: one sum over 50 rows against another.
    assert a.val_loss == pytest.approx(b.val_loss, rel=1e-6)


def test_fit_leaves_grad_and_mode_as_they_were() -> None:
    model = regression()
    nn.MSELoss()(model(X), Y).backward()
    kept = [p.grad.numpy().copy() for p in model.parameters()]
    model.eval()
    model[0].training = True
    for loss in (nn.MSELoss(), nn.MSELoss().value_and_grad):
        schuss.fit(model, loss, sgd(model), X, Y)
        assert [m.training for m in model.modules()] == [False, True, False, False]
        for grad, p in zip(kept, model.parameters(), strict=True):
            assert np.array_equal(grad, p.grad.numpy())


def test_parameters_outside_the_optimizer_or_frozen_stay_fixed() -> None:
    model = regression()
    before = model.state_dict()
    model[2].bias.requires_grad = False
    optimizer = optim.SGD(model[2].parameters(), lr=0.1)
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=2)
    after = model.state_dict()
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert changed == ["2.weight"]


def test_live_learning_rate_holds_inside_fit() -> None:
    model = regression()
    optimizer = sgd(model)

    def freeze(epoch: int, history: schuss.History) -> None:
        if epoch == 0:
            optimizer.param_groups[0]["lr"] = 0.0
            freeze.kept = model.state_dict()  # type: ignore[attr-defined]

    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=3, callback=freeze)
    kept = freeze.kept  # type: ignore[attr-defined]
    assert all(np.array_equal(kept[name], a) for name, a in model.state_dict().items())


def test_callback_stops_and_may_use_the_model() -> None:
    model = regression()
    seen: list[tuple[int, float]] = []

    def callback(epoch: int, history: schuss.History) -> bool:
        model.load_state_dict(model.state_dict())
        assert schuss.predict(model, X).shape == (50, 1)
        seen.append((epoch, history.loss[-1]))
        return epoch == 2

    history = schuss.fit(model, nn.MSELoss(), sgd(model), X, Y, epochs=9, callback=callback)
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert [loss for _, loss in seen] == history.loss
    assert history.stopped == "callback"


def test_history_loss_is_the_row_weighted_mean_before_each_update() -> None:
    model, twin = regression(schuss.float64), regression(schuss.float64)
    loss = nn.MSELoss()
    history = schuss.fit(model, loss, sgd(model), X, Y, batch_size=16, shuffle=False, epochs=1)
    optimizer = sgd(twin)
    total = 0.0
    for xb, yb in schuss.DataLoader(X, Y, batch_size=16):
        optimizer.zero_grad()
        cost = loss(twin(xb), yb)
        cost.backward()
        optimizer.step()
        total += cost.item() * len(xb)
    assert history.loss == pytest.approx([total / 50], rel=1e-14)


def test_validation_and_metrics_are_recorded() -> None:
    model = classifier()

    def errors(prediction: np.ndarray, target: np.ndarray) -> float:
        return float(np.count_nonzero(prediction.argmax(axis=1) != target))

    history = schuss.fit(
        model,
        nn.CrossEntropyLoss(),
        sgd(model),
        X,
        LABELS,
        epochs=3,
        validation_data=(X[:20], LABELS[:20]),
        metrics=["accuracy", errors],
    )
    assert len(history.val_loss) == 3
    last = schuss.evaluate(
        model, nn.CrossEntropyLoss(), X[:20], LABELS[:20], metrics=["accuracy", errors]
    )
    assert history.val_loss[-1] == last["loss"]
    assert history.metrics["accuracy"][-1] == last["accuracy"] == 1 - last["errors"] / 20
    assert history.metrics["errors"][-1] == last["errors"]


def test_python_loss_gradient_of_a_wrong_shape_is_an_error() -> None:
    model = regression()
    with pytest.raises(ValueError, match="gradient"):
        schuss.fit(model, lambda p, t: (1.0, np.ones(3)), sgd(model), X, Y)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"epochs": 0}, ValueError, "epochs: got 0"),
        ({"epochs": 1.5}, TypeError, "epochs: got float"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0"),
        ({"batch_size": "all"}, TypeError, "batch_size: got str"),
        ({"batch_size": 51, "drop_last": True}, ValueError, "drop_last"),
        ({"shuffle": 1}, TypeError, "shuffle: got int 1"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"seed": 2**64}, ValueError, "seed: got"),
        ({"validation_data": X}, TypeError, r"validation_data: got numpy\.ndarray"),
        ({"validation_data": (X, Y[:-1])}, ValueError, "49"),
        ({"metrics": "accuracy"}, TypeError, "metrics: got 'accuracy'"),
        ({"metrics": ["recall"]}, ValueError, "metrics: got 'recall'"),
        ({"callback": 3}, TypeError, "callback: got int"),
        ({"epoch": 3}, TypeError, "unknown option 'epoch'; expected one of model"),
        ({"num_threads": 0}, ValueError, "num_threads: got 0"),
        ({"model": "net"}, TypeError, "model: got str"),
        ({"criterion": "mse"}, TypeError, "criterion: got str"),
        ({"criterion": nn.MSELoss(reduction="none")}, ValueError, "reduction"),
        ({"optimizer": "sgd"}, TypeError, "optimizer: got str"),
        ({"X": X[:, :2]}, ValueError, r"layer 0 \(Linear\(3, 8\)\)"),
        ({"X": X[:0], "y": Y[:0]}, ValueError, "X"),
        ({"X": None}, TypeError, "X"),
        ({"y": Y[:-1]}, ValueError, "49"),
        ({"y": np.ones((50, 2))}, ValueError, "y"),
        ({"y": np.full(50, 1e300)}, ValueError, "overflow"),
    ],
)
def test_wrong_argument_is_an_error_before_anything_changes(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    model = regression()
    before = values(model)
    optimizer = sgd(model)
    arguments: dict[str, Any] = {
        "model": model,
        "criterion": nn.MSELoss(),
        "optimizer": optimizer,
        "X": X,
        "y": Y,
        **options,
    }
    with pytest.raises(error, match=text):
        schuss.fit(**arguments)
    assert all(np.array_equal(a, b) for a, b in zip(before, values(model), strict=True))
    assert optimizer.state_dict()["state"] == {}
    assert model.training


def test_optimizer_parameter_foreign_to_the_model_is_an_error() -> None:
    model = regression()
    optimizer = optim.SGD([*model.parameters(), schuss.Parameter(np.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match=r"shape \(1,\) in group 0 is not one of the model's"):
        schuss.fit(model, nn.MSELoss(), optimizer, X, Y)


def test_label_out_of_range_names_row_and_label() -> None:
    model, labels = classifier(), LABELS.copy()
    labels[17] = 3
    with pytest.raises(ValueError, match=r"17.*3|3.*17"):
        schuss.fit(model, nn.CrossEntropyLoss(), sgd(model), X, labels)


# ---- not finite ----------------------------------------------------------------------------------


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_divergence_is_reported_and_undone(native: bool, keep: bool) -> None:
    model = nn.Linear(3, 1)
    optimizer = optim.SGD(model.parameters(), lr=1e6)
    loss = nn.MSELoss()
    with pytest.raises(schuss.NonFiniteError, match="smaller learning rate") as caught:
        schuss.fit(
            model,
            loss if native else loss.value_and_grad,
            optimizer,
            X,
            Y,
            epochs=100,
            seed=0,
            keep_last_finite=keep,
        )
    error = caught.value
    assert error.epoch >= 0
    assert error.step >= 0
    if keep or error.parameter is None:
        assert all(np.isfinite(a).all() for a in values(model))
    twin = copy.copy(error).__reduce__()
    assert twin[1][1:] == (error.epoch, error.step, error.parameter)


def test_overflowed_parameter_is_named_and_its_epochs_start_comes_back() -> None:
    model = nn.Linear(3, 1)
    optimizer = optim.SGD(model.parameters(), lr=1e38)
    x, y = X.copy(), Y.copy()
    start = values(model)
    with pytest.raises(schuss.NonFiniteError) as caught:
        schuss.fit(model, nn.MSELoss(), optimizer, x, 1e3 * y, batch_size=10, epochs=1)
    assert caught.value.parameter in ("weight", "bias", None)
    if caught.value.parameter is not None:
        assert all(np.array_equal(a, b) for a, b in zip(start, values(model), strict=True))


# ---- one thread at a time ------------------------------------------------------------------------


def test_other_threads_are_kept_out_while_fit_runs() -> None:
    model = regression()
    optimizer = sgd(model)
    errors: list[BaseException] = []

    def attempt(action: Any) -> None:
        try:
            action()
        except RuntimeError as error:
            errors.append(error)

    def intrude() -> None:
        attempt(lambda: model.load_state_dict(model.state_dict()))
        attempt(lambda: schuss.fit(model, nn.MSELoss(), sgd(model), X, Y))
        attempt(lambda: optimizer.load_state_dict(optimizer.state_dict()))

    def callback(epoch: int, history: schuss.History) -> None:
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()

    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=1, callback=callback)
    assert len(errors) == 3
    assert all("another thread" in str(error) for error in errors)
    model.load_state_dict(model.state_dict())  # free again


def test_different_models_train_in_different_threads() -> None:
    models = [regression() for _ in range(4)]
    threads = [
        threading.Thread(
            target=schuss.fit,
            args=(m, nn.MSELoss(), sgd(m), X, Y),
            kwargs={"epochs": 20, "seed": 0},
        )
        for m in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(equal(models[0], m) for m in models[1:])


# ---- predict and evaluate ------------------------------------------------------------------------


def test_predict_is_the_models_output_without_history() -> None:
    model = regression()
    prediction = schuss.predict(model, X)
    assert isinstance(prediction, np.ndarray)
    assert prediction.dtype == np.float32
    assert np.array_equal(prediction, model(X).numpy())


def test_prediction_of_a_row_does_not_depend_on_the_others() -> None:
    model = classifier()
    whole = schuss.predict(model, X)
    for rows in (slice(0, 1), slice(3, 20), slice(49, 50)):
        assert np.array_equal(schuss.predict(model, X[rows]), whole[rows])


def test_evaluate_is_the_loss_over_all_rows() -> None:
    model = regression(schuss.float64)
    found = schuss.evaluate(model, nn.MSELoss(), X, Y)
    assert set(found) == {"loss"}
    # Two orders of a sum of 50 positive float64 terms.
    assert found["loss"] == pytest.approx(nn.MSELoss()(model(X), Y).item(), rel=50 * 2.3e-16)


@pytest.mark.parametrize(
    ("loss", "outputs", "target", "expected"),
    [
        (nn.CrossEntropyLoss(), [[1.0, 1.0], [0.0, 2.0]], [0, 0], 0.5),
        (nn.BCEWithLogitsLoss(), [[0.2], [-0.1], [0.7], [0.0]], [1.0, 0.0, 0.0, 0.0], 0.75),
        (nn.BCELoss(), [[0.2], [0.6], [0.7]], [1.0, 1.0, 0.0], 1 / 3),
    ],
)
def test_accuracy_counts_rows(
    loss: nn.Module, outputs: list[list[float]], target: list[Any], expected: float
) -> None:
    class Same(nn.Module):
        def forward(self, x: Any) -> schuss.Tensor:
            return nn.Identity()(x)

    for model in (nn.Identity(), Same()):
        found = schuss.evaluate(model, loss, np.array(outputs), target, metrics=["accuracy"])
        assert found["accuracy"] == expected

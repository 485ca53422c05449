# SPDX-License-Identifier: MIT
"""No surprise: nothing broadcasts, errors change nothing, NaN and infinity are reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import schuss
from schuss import nn, optim

ROWS = 24
X = np.linspace(-1, 1, ROWS * 3).reshape(ROWS, 3)
Y = np.stack([X.sum(axis=1), X[:, 0]], axis=1)
LABELS = np.arange(ROWS) % 2
FIT: dict[str, Any] = {"batch_size": 5, "seed": 2}


class Setting(NamedTuple):
    """Everything a user holds, in the middle of training."""

    model: nn.Sequential
    optimizer: optim.Optimizer


@pytest.fixture(params=["momentum", "Adam"])
def setting(request: pytest.FixtureRequest) -> Setting:
    schuss.manual_seed(4)
    model = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 2))
    optimizer: optim.Optimizer
    if request.param == "Adam":
        optimizer = optim.Adam(model.parameters(), lr=0.01, amsgrad=True)
    else:
        optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, **FIT)
    nn.MSELoss()(model(X), Y).backward()
    model[0].eval()
    return Setting(model, optimizer)


def everything(setting: Setting) -> list[Any]:
    """All state, bit for bit."""
    model, optimizer = setting
    state = optimizer.state_dict()
    return [
        [(name, p.numpy().tobytes(), p.requires_grad) for name, p in model.named_parameters()],
        [None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()],
        [module.training for module in model.modules()],
        [(i, k, np.asarray(v).tobytes()) for i, s in state["state"].items() for k, v in s.items()],
        state["param_groups"],
        state["progress"],
        schuss.is_grad_enabled(),
        schuss.get_num_threads(),
    ]


# ---- shapes never broadcast ----------------------------------------------------------------------

REAL_LOSSES = [nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss, nn.BCEWithLogitsLoss]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("loss", REAL_LOSSES)
@pytest.mark.parametrize(
    ("prediction", "target"),
    [
        ((8, 2), (8,)),
        ((8, 2), (8, 1)),
        ((8, 2), (1, 2)),
        ((8, 2), (2,)),
        ((8, 2), (2, 8)),
        ((8, 2), (16,)),
        ((8, 2), ()),
        ((8, 2), (8, 2, 1)),
        ((8, 1), (8, 2)),
        ((8, 1), (1, 8)),
        ((8, 1), (1,)),
        ((8, 1), (7,)),
        ((1, 1), (8,)),
        ((1, 2), (8, 2)),
    ],
)
def test_real_losses_take_equal_shapes_only(
    loss: Any, reduction: str, prediction: tuple[int, ...], target: tuple[int, ...]
) -> None:
    criterion = loss(reduction=reduction)
    with pytest.raises((ValueError, TypeError), match=r"expected"):
        criterion(np.zeros(prediction, np.float32), np.zeros(target, np.float32))


@pytest.mark.parametrize("loss", REAL_LOSSES)
def test_column_and_vector_are_the_same_target_for_one_output(loss: Any) -> None:
    prediction = np.linspace(0, 1, 8, dtype=np.float32).reshape(8, 1)
    column = np.linspace(1, 0, 8, dtype=np.float32).reshape(8, 1)
    for reduction in ("mean", "sum"):
        criterion = loss(reduction=reduction)
        assert criterion(prediction, column).item() == criterion(prediction, column.ravel()).item()


@pytest.mark.parametrize(
    "target", [np.zeros((8, 1), int), np.zeros(7, int), np.zeros((1, 8), int), np.zeros((8, 2))]
)
def test_cross_entropy_takes_a_label_or_a_distribution_for_each_row(target: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        nn.CrossEntropyLoss()(np.zeros((8, 3), np.float32), target)


# ---- a bad input changes nothing -----------------------------------------------------------------


def with_last(array: np.ndarray, value: Any) -> np.ndarray:
    """The array with a bad value where the last batch finds it."""
    copy = array.copy()
    copy[-1] = value
    return copy


def run_fit(s: Setting, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        "model": s.model,
        "criterion": nn.MSELoss(),
        "optimizer": s.optimizer,
        "X": X,
        "y": Y,
        **FIT,
        "epochs": 2,
        **changes,
    }
    schuss.fit(**arguments)


def labelled(s: Setting, **changes: Any) -> None:
    run_fit(s, **{"criterion": nn.CrossEntropyLoss(), "y": LABELS, **changes})


def step_by_step(s: Setting, x: Any, y: Any) -> None:
    nn.MSELoss()(s.model(x), y).backward()


BAD_CALLS: dict[str, Callable[[Setting], Any]] = {
    "fit: X too narrow": lambda s: run_fit(s, X=X[:, :2]),
    "fit: X a vector": lambda s: run_fit(s, X=X[:, 0]),
    "fit: X of strings": lambda s: run_fit(s, X=X.astype(str)),
    "fit: X of objects": lambda s: run_fit(s, X=X.astype(object)),
    "fit: X complex": lambda s: run_fit(s, X=X.astype(complex)),
    "fit: X of dates": lambda s: run_fit(s, X=X.astype("M8[s]")),
    "fit: X longdouble": lambda s: run_fit(s, X=X.astype(np.longdouble)),
    "fit: X masked": lambda s: run_fit(s, X=np.ma.masked_greater(X, 0)),
    "fit: X ragged": lambda s: run_fit(s, X=[[1.0, 2.0, 3.0], [1.0]]),
    "fit: no rows": lambda s: run_fit(s, X=X[:0], y=Y[:0]),
    "fit: y too short": lambda s: run_fit(s, y=Y[:-1]),
    "fit: y too narrow": lambda s: run_fit(s, y=Y[:, :1]),
    "fit: y a vector": lambda s: run_fit(s, y=Y[:, 0]),
    "fit: label out of range in the last row": lambda s: labelled(s, y=with_last(LABELS, 2)),
    "fit: negative label in the last row": lambda s: labelled(s, y=with_last(LABELS, -1)),
    "fit: real labels": lambda s: labelled(s, y=LABELS + 0.5),
    "fit: epochs": lambda s: run_fit(s, epochs=0),
    "fit: batch size": lambda s: run_fit(s, batch_size=-3),
    "fit: batch size too large for drop_last": lambda s: run_fit(
        s, batch_size=ROWS + 1, drop_last=True
    ),
    "fit: seed": lambda s: run_fit(s, seed=-1),
    "fit: threads": lambda s: run_fit(s, num_threads=0),
    "fit: unknown option": lambda s: run_fit(s, shufle=True),
    "fit: metric": lambda s: run_fit(s, metrics=["accuracy", "recall"]),
    "fit: validation data": lambda s: run_fit(s, validation_data=(X, Y[:3])),
    "fit: validation data too narrow": lambda s: run_fit(s, validation_data=(X[:, :1], Y)),
    "fit: loss without reduction": lambda s: run_fit(s, criterion=nn.MSELoss(reduction="none")),
    "fit: foreign optimizer": lambda s: run_fit(
        s, optimizer=optim.SGD(nn.Linear(3, 2).parameters(), lr=0.1)
    ),
    "model: X too narrow": lambda s: step_by_step(s, X[:, :2], Y),
    "model: X overflows": lambda s: step_by_step(s, with_last(X, 1e300), Y),
    "model: X of strings": lambda s: step_by_step(s, X.astype(str), Y),
    "loss: y too short": lambda s: step_by_step(s, X, Y[:-1]),
    "loss: y overflows": lambda s: step_by_step(s, X, with_last(Y, 1e300)),
    "backward: gradient of another shape": lambda s: s.model(X).backward(np.ones((2, ROWS))),
    "backward: no gradient": lambda s: s.model(X).backward(),
    "backward: gradient of strings": lambda s: s.model(X).backward(Y.astype(str)),
    "predict: X too narrow": lambda s: schuss.predict(s.model, X[:, :2]),
    "predict: X overflows": lambda s: schuss.predict(s.model, with_last(X, 1e300)),
    "evaluate: y too short": lambda s: schuss.evaluate(s.model, nn.MSELoss(), X, Y[:-1]),
    "evaluate: threads": lambda s: schuss.evaluate(s.model, nn.MSELoss(), X, Y, num_threads=-1),
    "grad: shape": lambda s: setattr(s.model[0].weight, "grad", np.ones((3, 7))),
    "grad: scalar": lambda s: setattr(s.model[0].weight, "grad", 1.0),
    "grad: kind": lambda s: setattr(s.model[0].weight, "grad", np.ones((7, 3), complex)),
    "grad: overflow": lambda s: setattr(s.model[0].weight, "grad", np.full((7, 3), 1e300)),
    "data: shape": lambda s: setattr(s.model[0].weight, "data", np.ones((1, 3))),
    "copy_: shape": lambda s: s.model[0].weight.copy_(np.ones(3)),
    "copy_: overflow": lambda s: s.model[0].weight.copy_(with_last(np.ones((7, 3)), 1e300)),
    "load: key": lambda s: s.model.load_state_dict({"0.weight": np.zeros((7, 3))}),
    "load: last shape": lambda s: s.model.load_state_dict(
        {name: a if name != "2.bias" else a[:1] for name, a in zeroed(s.model).items()}
    ),
    "load: last kind": lambda s: s.model.load_state_dict(
        {name: a if name != "2.bias" else a.astype(str) for name, a in zeroed(s.model).items()}
    ),
    "load: last overflows": lambda s: s.model.load_state_dict(
        {name: a if name != "2.bias" else a + 1e300 for name, a in zeroed(s.model).items()}
    ),
    "optimizer: last buffer's shape": lambda s: s.optimizer.load_state_dict(
        damaged_state(s.optimizer)
    ),
    "optimizer: option": lambda s: s.optimizer.load_state_dict(
        {
            **s.optimizer.state_dict(),
            "param_groups": [{**s.optimizer.state_dict()["param_groups"][0], "lr": -1.0}],
        }
    ),
    "optimizer: groups": lambda s: s.optimizer.load_state_dict(
        {**s.optimizer.state_dict(), "param_groups": []}
    ),
    "optimizer: parameter twice": lambda s: s.optimizer.add_param_group(
        {"params": [schuss.Parameter([1.0]), s.model[0].weight]}
    ),
    "optimizer: group's option": lambda s: s.optimizer.add_param_group(
        {"params": [schuss.Parameter([1.0])], "lr": float("nan")}
    ),
    "optimizer: learning rate": lambda s: s.optimizer.param_groups[0].__setitem__("lr", -0.1),
    "optimizer: no number": lambda s: s.optimizer.param_groups[0].__setitem__("lr", "0.1"),
}


def zeroed(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.zeros(a.shape) for name, a in model.state_dict().items()}


def damaged_state(optimizer: optim.Optimizer) -> dict[str, Any]:
    """All zeros, and the last buffer too long."""
    state = optimizer.state_dict()
    for values in state["state"].values():
        for key, value in values.items():
            values[key] = value * 0
    values[key] = np.zeros(9)
    return state


@pytest.mark.parametrize("call", BAD_CALLS)
def test_bad_input_is_an_error_that_changes_nothing(call: str, setting: Setting) -> None:
    before = everything(setting)
    with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
        BAD_CALLS[call](setting)
    assert len(str(caught.value)) > 20  # says what came and what was expected
    assert everything(setting) == before


def test_comparison_sees_what_a_good_call_changes(setting: Setting) -> None:
    before = everything(setting)
    run_fit(setting)
    after = everything(setting)
    assert [a == b for a, b in zip(before, after, strict=True)] == [
        False,  # parameters
        True,  # gradients, which fit leaves alone
        True,
        False,  # state
        True,
        False,  # progress
        True,
        True,
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"X": with_last(X, 1e300)},
        {"criterion": nn.CrossEntropyLoss(), "y": np.where(np.arange(ROWS) < 20, LABELS, -100)},
    ],
    ids=["overflow", "ignored labels"],
)
def test_bad_value_in_a_late_batch_changes_nothing(
    changes: dict[str, Any], setting: Setting
) -> None:
    before = everything(setting)
    with pytest.raises(ValueError, match=r"1e\+300|ignore_index"):
        run_fit(setting, shuffle=False, **changes)
    assert everything(setting) == before


def test_failed_fit_draws_no_random_number(setting: Setting) -> None:
    schuss.manual_seed(0)
    optimizer = optim.SGD(setting.model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="expected"):
        schuss.fit(setting.model, nn.MSELoss(), optimizer, X[:, :1], Y)
    after_error = nn.Linear(2, 2).weight.tolist()
    schuss.manual_seed(0)
    assert nn.Linear(2, 2).weight.tolist() == after_error


# ---- NaN and infinity ----------------------------------------------------------------------------

NATIVE = pytest.mark.parametrize("native", [True, False], ids=["native", "callable"])


def loss_of(native: bool) -> Any:
    return nn.MSELoss() if native else nn.MSELoss().value_and_grad


def straight(steps: int) -> list[list[float]]:
    """Parameters after so many steps in the order of the rows."""
    model, optimizer = fresh()
    for k in range(steps):
        rows = slice(k % 6 * 4, k % 6 * 4 + 4)
        optimizer.zero_grad()
        nn.MSELoss()(model(X[rows]), Y[rows]).backward()
        optimizer.step()
    return [p.tolist() for p in model.parameters()]


def fresh() -> tuple[nn.Sequential, optim.SGD]:
    schuss.manual_seed(4)
    model = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 2))
    return model, optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


@NATIVE
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("step", [0, 3, 5])
@pytest.mark.parametrize(
    ("where", "value"), [("X", np.nan), ("y", np.nan), ("y", np.inf), ("y", -np.inf)]
)  # tanh makes a number of an infinity in X
def test_bad_row_is_reported_with_its_step_before_its_update(
    where: str, step: int, value: float, keep: bool, native: bool
) -> None:
    model, optimizer = fresh()
    data = {"X": X.copy(), "y": Y.copy()}
    data[where][step * 4 + 1, 1] = value
    with pytest.raises(schuss.NonFiniteError, match=f"epoch 0, step {step}: the loss") as caught:
        schuss.fit(
            model,
            loss_of(native),
            optimizer,
            **data,
            batch_size=4,
            shuffle=False,
            epochs=3,
            keep_last_finite=keep,
        )
    error = caught.value
    assert (error.epoch, error.step, error.parameter) == (0, step, None)
    assert [p.tolist() for p in model.parameters()] == straight(step)
    assert all(values["step"] == step for values in optimizer.state_dict()["state"].values())
    assert model.training


@NATIVE
@pytest.mark.parametrize("keep", [True, False])
def test_overflow_names_the_parameter_and_puts_the_epochs_start_back(
    keep: bool, native: bool
) -> None:
    model, optimizer = fresh()
    kept: list[Any] = []

    def callback(epoch: int, history: schuss.History) -> None:
        if epoch == 1:
            kept.append(everything(Setting(model, optimizer))[:4])
            optimizer.param_groups[0]["lr"] = 3e38

    with pytest.raises(schuss.NonFiniteError, match="epoch 2, step") as caught:
        schuss.fit(
            model,
            loss_of(native),
            optimizer,
            X,
            1e3 * Y,
            batch_size=4,
            shuffle=False,
            epochs=5,
            callback=callback,
            keep_last_finite=keep,
        )
    assert caught.value.epoch == 2
    assert caught.value.step in (1, 2)
    assert caught.value.parameter in [name for name, _ in model.named_parameters()]
    finite = [np.isfinite(p.numpy()).all() for p in model.parameters()]
    if keep:
        assert everything(Setting(model, optimizer))[:4] == kept[0]
    else:
        assert not all(finite)


def test_epoch_counts_over_all_calls_of_fit() -> None:
    model, optimizer = fresh()
    schuss.fit(model, nn.MSELoss(), optimizer, X, Y, epochs=3, batch_size=4, seed=0)
    with pytest.raises(schuss.NonFiniteError) as caught:
        schuss.fit(model, nn.MSELoss(), optimizer, X * np.nan, Y, batch_size=4)
    assert (caught.value.epoch, caught.value.step) == (3, 0)


@NATIVE
def test_overflow_in_the_very_last_update_is_reported(native: bool) -> None:
    model, optimizer = fresh()
    before = [p.tolist() for p in model.parameters()]
    optimizer.param_groups[0]["lr"] = 3e38
    with pytest.raises(schuss.NonFiniteError):
        schuss.fit(model, loss_of(native), optimizer, X, 1e3 * Y, batch_size=None)
    assert [p.tolist() for p in model.parameters()] == before

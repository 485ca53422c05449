# SPDX-License-Identifier: MIT
"""What went wrong once."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import schuss
from schuss import nn, optim

X30 = np.linspace(-1, 1, 30).reshape(-1, 1)
Y30 = 2 * X30 + 1


def test_drop_last_on_one_short_batch_trains_on_the_batch() -> None:
    found = []
    for make in (lambda: nn.Linear(1, 1), lambda: nn.Sequential(nn.Linear(1, 1), nn.Identity())):
        schuss.manual_seed(0)
        model = make()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        options = {"batch_size": 20, "drop_last": True, "shuffle": False, "epochs": 3}
        fitted = schuss.fit(model, nn.MSELoss(), optimizer, X30, Y30, **options).loss
        schuss.manual_seed(0)
        model = make()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        alone = schuss.fit(
            model, nn.MSELoss(), optimizer, X30[:20], Y30[:20], batch_size=None, epochs=3
        ).loss
        found += [fitted, alone]
    assert all(losses == found[0] for losses in found)


@pytest.mark.parametrize("kind", ["momentum", "amsgrad", "load_state_dict"])
def test_options_and_state_may_change_in_a_callback(kind: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer: optim.Optimizer
    if kind == "momentum":
        optimizer = optim.SGD(model.parameters(), lr=0.1)
    else:
        optimizer = optim.Adam(model.parameters(), lr=0.1)
    fresh = optimizer.state_dict()

    def callback(epoch: int, history: schuss.History) -> None:
        if kind == "load_state_dict":
            optimizer.load_state_dict(fresh)
        else:
            optimizer.param_groups[0][kind] = 0.9 if kind == "momentum" else True

    x, y = np.ones((8, 3)), np.ones((8, 1))
    history = schuss.fit(
        model, nn.MSELoss(), optimizer, x, y, epochs=4, batch_size=4, callback=callback
    )
    assert history.loss[-1] < history.loss[0]


@pytest.mark.no_sanitizer
def test_long_chain_of_costs_is_freed_without_recursion() -> None:
    code = """
        import numpy as np, schuss
        from schuss import nn
        model = nn.Linear(1, 1)
        total = nn.MSELoss()(model(np.ones((1, 1))), np.ones((1, 1)))
        for _ in range(200_000):
            total = total + 1.0
        total.backward()
        del total
        print("freed")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "freed\n"


def test_gradient_of_a_parameter_in_scalar_arithmetic_fits_its_storage() -> None:
    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    cost = nn.MSELoss()(model(X30), Y30) + 0.1 * model.weight * model.weight
    cost.backward()
    optimizer.step()
    schuss.predict(model, X30)
    schuss.fit(model, nn.MSELoss(), optimizer, X30, Y30, epochs=2)
    assert np.isfinite(model.weight.item())


def test_backward_after_a_leaf_input_changed_is_an_error() -> None:
    p = schuss.Parameter(np.ones((3, 1)))
    cost = nn.MSELoss()(p, np.zeros((3, 1)))
    p.copy_(np.full((3, 1), 5.0))
    with pytest.raises(RuntimeError, match="changed"):
        cost.backward()
    model = nn.Linear(1, 1, dtype=np.float64)
    output = model(p)
    p.copy_(np.ones((3, 1)))
    with pytest.raises(RuntimeError, match="changed"):
        output.backward(np.ones((3, 1)))


@pytest.mark.no_sanitizer  # the sanitizer ends the process where operator new would throw
def test_result_that_no_memory_holds_is_a_memory_error() -> None:
    rows = np.broadcast_to(np.float32(0), (2**50, 1))
    with pytest.raises(MemoryError):
        schuss.predict(nn.Linear(1, 4096), rows)
    with pytest.raises(MemoryError, match=r"Linear\(10000000, 10000000\)"):
        nn.Linear(10**7, 10**7)


def test_labels_changed_during_fit_are_an_error() -> None:
    model = nn.Linear(2, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    labels = np.zeros(16, int)

    def metric(prediction: object, target: object) -> float:
        labels[:] = 10**9
        return 0.0

    with pytest.raises(ValueError, match=r"y\[\d+\] is .*changed while it was in use"):
        schuss.fit(
            model, nn.CrossEntropyLoss(), optimizer, np.ones((16, 2)), labels,
            epochs=3, batch_size=4, metrics=[metric],
        )  # fmt: skip


@pytest.mark.no_sanitizer
@pytest.mark.parametrize("threads", [1, 2])
def test_process_may_end_while_a_daemon_thread_trains(threads: int) -> None:
    code = f"""
        import threading, time, numpy as np, schuss
        from schuss import nn, optim
        schuss.set_num_threads({threads})
        model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1))
        optimizer = optim.SGD(model.parameters(), lr=1e-6)
        x, y = np.ones((4096, 256), np.float32), np.ones((4096, 1), np.float32)
        def work():
            schuss.fit(model, nn.MSELoss(), optimizer, x, y, epochs=10**6)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print("ended", flush=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


@pytest.mark.parametrize("keep", [True, False])
def test_batch_that_is_all_ignored_in_a_later_epoch_leaves_a_consistent_state(keep: bool) -> None:
    labels = np.array([0, 1, -100, -100, -100, 1, 0, 1])
    x = np.random.default_rng(0).standard_normal((8, 2))
    for seed in range(40):
        model = nn.Linear(2, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        try:
            schuss.fit(
                model, nn.CrossEntropyLoss(), optimizer, x, labels, epochs=30,
                batch_size=3, seed=seed, keep_last_finite=keep,
            )  # fmt: skip
        except ValueError:
            progress = optimizer.state_dict()["progress"]
            steps = optimizer.state_dict()["state"][0]["step"] if progress["epoch"] else 0
            if progress["epoch"]:
                assert steps == 3 * progress["epoch"] + progress["step"]
                return
    pytest.fail("no seed met the bad batch in a later epoch")


def test_foreign_objects_are_named_with_their_module() -> None:
    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match=r"got a class; expected an instance: MSELoss\(\)"):
        schuss.fit(model, nn.MSELoss, optimizer, X30, Y30)
    with pytest.raises(TypeError, match=r"numpy\.ndarray"):
        schuss.fit(np.zeros(3), nn.MSELoss(), optimizer, X30, Y30)
    with pytest.raises(ValueError, match="validation_data: "):
        schuss.fit(model, nn.MSELoss(), optimizer, X30, Y30, validation_data=(X30, Y30[:3]))


def test_python_loss_that_returns_something_else_is_an_error() -> None:
    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match=r"expected \(value, d_prediction\)"):
        schuss.fit(model, lambda p, t: 1.0, optimizer, X30, Y30)
    with pytest.raises(ValueError, match="the shape of the prediction"):
        schuss.fit(model, lambda p, t: (1.0, np.ones(3)), optimizer, X30, Y30)


def test_step_calls_its_closure_first() -> None:
    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    before = model.weight.item()

    def closure() -> schuss.Tensor:
        optimizer.zero_grad()
        cost = nn.MSELoss()(model(X30), Y30)
        cost.backward()
        return cost

    assert optimizer.step(closure).item() > 0.0
    assert model.weight.item() != before


def test_what_tensors_lack_names_what_to_use() -> None:
    output = nn.Linear(1, 1)(X30)
    with pytest.raises(AttributeError, match=r"\.detach\(\)\.numpy\(\)"):
        _ = output.no_such_operation
    with pytest.raises(ValueError, match=r"\(m, k\) @ \(k, n\)"):
        output @ output


def test_parameter_set_to_minus_infinity_is_no_failure() -> None:
    model = nn.Linear(2, 3)
    model.bias.copy_([0.0, 0.0, -np.inf])  # a class that is masked out
    optimizer = optim.SGD([model.weight], lr=0.1)
    x, y = np.ones((6, 2)), np.array([0, 1] * 3)
    history = schuss.fit(model, nn.CrossEntropyLoss(), optimizer, x, y, epochs=2)
    assert np.isfinite(history.loss).all()


def test_number_too_large_for_a_float_is_an_overflow_error() -> None:
    cost = nn.MSELoss()(nn.Linear(1, 1)(X30), Y30)
    with pytest.raises(OverflowError):
        _ = cost * 10**400


def test_python_loss_with_a_gradient_that_is_not_finite_is_reported_at_its_step() -> None:
    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    calls = []

    def loss(p: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
        calls.append(t.shape)
        bad = len(calls) == 5
        return float(((p - t) ** 2).mean()), np.full_like(p, np.nan) if bad else 2 * (p - t) / len(
            p
        )

    with pytest.raises(schuss.NonFiniteError, match="epoch 1, step 1: the gradient"):
        schuss.fit(model, loss, optimizer, X30, Y30.ravel(), epochs=4, batch_size=10)
    assert set(calls) == {(10, 1)}  # targets come in the shape of the prediction
    assert np.isfinite(model.weight.item())

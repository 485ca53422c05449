# SPDX-License-Identifier: MIT
"""DataLoader, History and the progress bar."""

from __future__ import annotations

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


# ---- DataLoader ----------------------------------------------------------------------------------


def test_loader_covers_every_row_once_in_a_new_order_each_pass() -> None:
    loader = schuss.DataLoader(X, LABELS, batch_size=8, shuffle=True, seed=1)
    assert len(loader) == 7
    passes = []
    for _ in range(2):
        batches = list(loader)
        assert [len(yb) for _, yb in batches] == [8] * 6 + [2]
        rows = np.concatenate([xb for xb, _ in batches])
        assert sorted(map(tuple, rows)) == sorted(map(tuple, X))
        passes.append(rows)
    assert not np.array_equal(*passes)


def test_loader_in_order_gives_views() -> None:
    batches = list(schuss.DataLoader(X, batch_size=16, drop_last=True))
    assert [len(b) for b in batches] == [16, 16, 16]
    assert all(np.shares_memory(b, X) for b in batches)
    assert next(iter(schuss.DataLoader((X, Y), batch_size=None)))[0].shape == (50, 3)


def test_loader_repeats_with_its_seed() -> None:
    def first(**options: Any) -> list[int]:
        loader = schuss.DataLoader(np.arange(50), batch_size=50, shuffle=True, **options)
        return next(iter(loader)).tolist()

    assert first(seed=3) == first(seed=3) != first(seed=4)
    assert first(generator=schuss.Generator(5)) == first(generator=schuss.Generator(5))
    schuss.manual_seed(6)
    by_default = first()
    schuss.manual_seed(6)
    assert first() == by_default


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: schuss.DataLoader(X, Y[:-1]), ValueError, "50 and 49 rows"),
        (lambda: schuss.DataLoader(X[:0]), ValueError, "at least one row"),
        (lambda: schuss.DataLoader(np.array(["a"])), TypeError, "real numbers"),
        (lambda: schuss.DataLoader(None), TypeError, "X: got dtype object"),
        (lambda: schuss.DataLoader(np.ma.ones(3)), TypeError, "masked"),
        (lambda: schuss.DataLoader(X, batch_size=0), ValueError, "batch_size: got 0"),
        (lambda: schuss.DataLoader(X, shuffel=True), TypeError, "unknown option 'shuffel'"),
        (lambda: schuss.DataLoader((X, Y, Y)), ValueError, "got 3 arrays"),
    ],
)
def test_loader_rejects(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


# ---- History -------------------------------------------------------------------------------------


def test_history_prints_and_draws() -> None:
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    model = classifier()
    history = schuss.fit(
        model,
        nn.CrossEntropyLoss(),
        sgd(model),
        X,
        LABELS,
        epochs=25,
        validation_data=(X, LABELS),
        metrics=["accuracy"],
    )
    lines = str(history).splitlines()
    assert lines[0].split() == ["epoch", "loss", "val_loss", "accuracy", "samples/s"]
    assert len(lines) == 11
    assert lines[-1].split()[0] == "24"
    assert repr(history).startswith("History(epochs=25, loss=")
    assert "<th>val_loss</th>" in history._repr_html_()
    assert all(s > 0 for s in history.samples_per_second)
    axes = history.plot()
    assert [line.get_label() for line in axes.get_lines()] == ["loss", "validation loss"]
    assert np.array_equal(axes.get_lines()[0].get_ydata(), history.loss)
    plt.close("all")


def test_history_plot_without_matplotlib_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"schuss\[plot\]"):
        schuss.History().plot()


def test_progress_bar_counts_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    model = regression()
    schuss.fit(model, nn.MSELoss(), sgd(model), X, Y, epochs=3)
    assert capsys.readouterr().err == ""  # not a terminal
    schuss.fit(model, nn.MSELoss(), sgd(model), X, Y, epochs=3, progress=True)
    assert "3/3" in capsys.readouterr().err

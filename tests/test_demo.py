# SPDX-License-Identifier: MIT
"""The main job: `python -m schuss demo` on the data that ships."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

import schuss
from schuss import _demo
from schuss.__main__ import main


@pytest.fixture(scope="module")
def cars():
    return _demo.regression(0)


@pytest.mark.parametrize("seed", range(5))
def test_digits_reach_97_percent_held_out(seed):
    result = _demo.digits(seed)
    assert len(result.target) == 359
    assert result.accuracy >= 0.97
    assert result.accuracy == np.mean(result.prediction == result.target)
    assert result.loss[-1] < result.loss[0]


def test_regression_line_by_descent_reaches_least_squares(cars):
    # At the minimum the float32 gradient is wrong by about 1e-7; divided by the smallest eigenvalue
    # of the Hessian, 0.016, the coefficients are off by some 1e-5, and R2 by a few times that.
    assert cars.r2_linear == pytest.approx(cars.r2_least_squares, abs=1e-4)


def test_regression_network_beats_least_squares(cars):
    # The same network in PyTorch, five seeds: 0.898 to 0.908, against 0.802.
    assert cars.r2_network > cars.r2_least_squares + 0.05


def test_regression_prediction_is_in_miles_per_gallon(cars):
    residual = cars.target - cars.prediction
    r2 = 1.0 - np.sum(residual**2) / np.sum((cars.target - cars.target.mean()) ** 2)
    # R2 does not change with the unit; 2 eps of float64 for each of the few operations of it.
    assert r2 == pytest.approx(cars.r2_network, abs=1e-12)
    assert 10.0 < cars.prediction.mean() < 40.0


def test_digits_same_seed_gives_the_same_numbers():
    first, second = _demo.digits(7, epochs=3), _demo.digits(7, epochs=3)
    assert first.loss == second.loss
    np.testing.assert_array_equal(first.prediction, second.prediction)
    assert _demo.digits(8, epochs=3).loss != first.loss


def test_demo_prints_saves_and_draws(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the picture needs it")
    assert main(["demo", "--epochs", "2", "--seed", "3", "--out", str(tmp_path / "new")]) == 0
    text = capsys.readouterr().out
    for expected in ("least squares", "accuracy on the digits held out", "s a step", "seed 3"):
        assert expected in text
    assert str(schuss.info()["isa"]) in text
    folder = tmp_path / "new"
    assert {path.name for path in folder.iterdir()} == {
        "digits.safetensors", "cars.safetensors", "demo.png"
    }  # fmt: skip
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_demo_saved_models_predict_the_same(tmp_path):
    result = _demo.run(out=tmp_path, epochs=2)
    X = np.linspace(0.0, 1.0, 3 * 64).reshape(3, 64)
    model = schuss.load(result.files.digits)
    np.testing.assert_array_equal(schuss.predict(model, X), schuss.predict(result.digits.model, X))


def test_demo_without_matplotlib_says_so(tmp_path, monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name)
    )
    result = _demo.run(out=tmp_path, epochs=1)
    assert result.files.picture is None
    assert "pip install matplotlib" in capsys.readouterr().out


def test_command_line_runs_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "schuss", "demo", "--epochs", "1"],
        cwd=tmp_path, capture_output=True, text=True, check=True, encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert "accuracy on the digits held out" in done.stdout
    assert (tmp_path / "schuss-demo" / "digits.safetensors").is_file()


def test_command_line_info_prints_what_info_gives(capsys):
    assert main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["version"] == schuss.info()["version"]
    assert lines["isa"] == schuss.info()["isa"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--epochs", "0"], "got 0; expected a whole number from 1 up"),
        (["demo", "--epochs", "two"], "got two; expected a whole number from 1 up"),
        (["demo", "--seed", "-1"], "got -1; expected a whole number from 0 up"),
        (["train"], "invalid choice"),
        ([], "required"),
    ],
)
def test_command_line_bad_arguments_exit_with_a_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err

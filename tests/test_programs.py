# SPDX-License-Identifier: MIT
"""Lessons and tutorials written for PyTorch run here with their imports changed, and agree.

``tests/programs`` holds them: scripts for PyTorch that leave what they found in ``result``. Here
their import lines are replaced, and their dtype where float32 is asked for; nothing else.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PROGRAMS = Path(__file__).resolve().parent / "programs"
NAMES = sorted(path.stem for path in PROGRAMS.glob("*.py"))

# A value of one step depends on up to this many roundings: a forward and a backward sum over some
# sixty terms, and an update. Descent shrinks the differences it finds, and where a step is too
# large they grow like the values, so that a run stays within as many of the exact one, relative to
# the largest value of a series; two runs differ by twice that. (PyTorch's float32 and float64 runs
# differ by less than this in every program.)
DEPTH = 128
HALF_ULP32 = 2.0**-24

# Absolute, on top: the gradient of a penalty on |w| jumps at 0. A weight within rounding of 0 steps
# to either side, 2 * lr * penalty apart, and six of the weights of this program hover there.
JUMPS = {"l1_penalty": 6 * 2 * 0.02 * 0.1}

# What PyTorch 2.13 leaves at the end of a series, float64.
KEYS = {
    "adam_by_hand": ("by_hand", 3.6857232577265817),
    "autoencoder": ("losses", 0.0017305670025743482),
    "clipped_gradients": ("clipped", 0.2210224424922096),
    "custom_dataset": ("losses", 2.836687270639491e-08),
    "custom_losses": ("quantile", 0.15530367503280793),
    "digits_loader": ("train", 0.0029391998559817403),
    "early_stopping": ("epochs", 11.0),
    "fine_tuning": ("pretrained", 0.034335915419189046),
    "gradient_accumulation": ("losses", 0.7697991463025451),
    "huber_by_hand": ("by_hand", 1.9429233903338676),
    "l1_penalty": ("losses", 0.004893106309862025),
    "learning_rate_sweep": ("finals", 1500158.6541738277),
    "logistic_regression": ("costs", 0.2592406401053493),
    "momentum_by_hand": ("momentum", 0.005335082907175599),
    "multi_output": ("losses", 0.0005296046853788492),
    "perceptron_rule": ("losses", 0.026530069600766017),
    "polynomial_regression": ("losses", 3.2820258643806106e-15),
    "sequence_features": ("losses", 0.6828048442545367),
    "sine_polynomial": ("losses", 0.11944213064729611),
    "softmax_regression": ("written", 0.5101341815454682),
    "standardised_features": ("losses", 8.297875946713805e-17),
    "state_dict_round_trip": ("whole", 0.47767670161856923),
    "thermometer_validation": ("train", 2.9858318584290067),
    "two_heads": ("costs", 0.03447929046847185),
    "weight_decay": ("by_cost", 0.6617995579619974),
    "xor_module": ("losses", 0.012433295590336584),
}

# Tables that others printed: series, index, value, half a unit of the last digit. The thermometer
# and y = 2x were printed from float32, whose rounding `atol` adds.
TABLES: list[tuple[str, str, int, float, float]] = [
    ("line30", "weights", 999, 0.864258, 5.1e-7),
    ("line30", "biases", 999, -0.138465, 5.1e-7),
    ("line30", "costs", 999, 1.393250, 5.1e-7),
    ("line30", "weights", 1999, 0.869788, 5.1e-7),
    ("line30", "biases", 1999, -0.250826, 5.1e-7),
    ("line30", "costs", 4999, 1.372670, 5.1e-7),
    ("line30", "weights", 9999, 0.878694, 5.1e-7),
    ("line30", "biases", 9999, -0.431769, 5.1e-7),
    ("line30", "costs", 9999, 1.372201, 5.1e-7),
    ("line30_linear", "weights", 999, 0.864258, 5.1e-7),
    ("line30_linear", "costs", 1999, 1.380349, 5.1e-7),
    ("y_equals_2x", "weights", 0, 0.187, 5.1e-4),
    ("y_equals_2x", "biases", 0, 0.080, 5.1e-4),
    ("y_equals_2x", "costs", 0, 18.666666, 5.1e-6),
    ("y_equals_2x", "weights", 500, 1.903, 5.1e-4),
    ("y_equals_2x", "costs", 500, 0.007024, 1.0e-6),
    ("y_equals_2x", "weights", 999, 1.9708, 5.1e-5),
    ("y_equals_2x", "biases", 999, 0.0664, 5.1e-5),
    ("y_equals_2x", "alone", 2, 1.991111, 5.1e-7),
    ("y_equals_2x", "alone_costs", 1, 0.0829630, 1.0e-6),
    ("thermometer", "first_loss", 0, 1763.8848, 5e-4),
    ("thermometer", "first_gradient", 0, 4517.2969, 6e-3),
    ("thermometer", "losses", 0, 80.364342, 9e-5),
    ("thermometer", "losses", 1, 37.574917, 6e-5),
    ("thermometer", "losses", 10, 28.941875, 6e-5),
    ("thermometer", "losses", 99, 22.148710, 5e-5),
    ("thermometer", "losses", 4999, 2.927648, 2e-5),
    ("thermometer", "params", 0, 5.3671, 5.1e-4),
    ("thermometer", "params", 1, -17.3012, 5.1e-4),
    ("thermometer", "adam_params", 0, 0.5367, 5.1e-4),
    ("thermometer", "adam_params", 1, -17.3021, 5.1e-4),
    ("parabola", "one_step", 1, 4.2, 1e-15),
    ("parabola", "good", 100, 1.0, 1e-15),
    ("parabola", "slow", 100, 1.0 + 0.998**100, 4.5e-14),
    ("losses", "by_hand", 0, 0.6931472, 5.1e-8),
    ("losses", "entropy", 0, 3.637768790964, 5.1e-13),
]


def source(name: str, library: str, dtype: str) -> str:
    text = (PROGRAMS / f"{name}.py").read_text("utf-8")
    assert "dtype = torch.float64" in text
    if library != "torch":
        text = re.sub(r"^import torch$", f"import {library} as torch", text, flags=re.MULTILINE)
        text = re.sub(r"^(import|from) torch\b", rf"\1 {library}", text, flags=re.MULTILINE)
    return text.replace("dtype = torch.float64", f"dtype = torch.{dtype}")


@cache
def run(name: str, library: str, dtype: str) -> dict[str, np.ndarray]:
    """Run a program, and give its results as flat arrays of float64."""
    space: dict[str, Any] = {"__name__": name}
    exec(compile(source(name, library, dtype), f"{name} under {library}", "exec"), space)
    return {key: flat(value) for key, value in space["result"].items()}


def flat(value: Any) -> np.ndarray:
    if isinstance(value, list) and value and not isinstance(value[0], (bool, int, float)):
        return np.concatenate([flat(item) for item in value])
    return np.asarray(value, np.float64).ravel()


def differences(
    own: dict[str, np.ndarray], other: dict[str, np.ndarray], allowed: float = 0.0
) -> dict[str, float]:
    """By how much each result differs more than `allowed`, relative to the largest value in it."""
    assert own.keys() == other.keys()
    found = {}
    for key, expected in other.items():
        assert own[key].shape == expected.shape, key
        scale = np.abs(expected).max(initial=0.0) or 1.0
        found[key] = float((np.abs(own[key] - expected).max(initial=0.0) - allowed) / scale)
    return found


@pytest.fixture
def one_thread() -> Any:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # sums of a few numbers: a second thread only waits
    yield torch
    torch.set_num_threads(before)


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMES)
def test_program_agrees_with_pytorch_in_float64(name: str, one_thread: Any) -> None:
    found = differences(run(name, "schuss", "float64"), run(name, "torch", "float64"))
    assert all(difference <= 1e-12 for difference in found.values()), found


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMES)
def test_program_agrees_with_pytorch_in_float32(name: str, one_thread: Any) -> None:
    own, theirs = run(name, "schuss", "float32"), run(name, "torch", "float32")
    found = differences(own, theirs, JUMPS.get(name, 0.0))
    tolerance = 2 * DEPTH * HALF_ULP32
    assert all(difference <= tolerance for difference in found.values()), found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_program_gives_finite_numbers(name: str, dtype: str) -> None:
    results = run(name, "schuss", dtype)
    assert all(series.size and np.isfinite(series).all() for series in results.values())


@pytest.mark.parametrize("name", sorted(KEYS))
def test_program_ends_where_it_did_in_pytorch(name: str) -> None:
    key, expected = KEYS[name]
    series = run(name, "schuss", "float64")[key]
    # As far as the two may differ where both are there, and the digits that are stored.
    assert abs(series[-1] - expected) <= 2e-12 * np.abs(series).max()


@pytest.mark.parametrize(("name", "key", "index", "expected", "atol"), TABLES)
def test_lesson_prints_its_table(
    name: str, key: str, index: int, expected: float, atol: float
) -> None:
    assert run(name, "schuss", "float64")[key][index] == pytest.approx(expected, rel=0, abs=atol)


def test_every_program_has_numbers_to_be_held_to() -> None:
    assert set(NAMES) == set(KEYS) | {name for name, *_ in TABLES}
    assert len(NAMES) >= 25

# SPDX-License-Identifier: MIT
"""The five lessons against the numbers that others printed.

The models run in float64. Where a table was printed from float32 (lessons 2 and 3), the tolerance
is half a unit of its last digit plus the float32 rounding of the quantities behind it.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
LESSONS = ["line30", "y_equals_2x", "thermometer", "parabola", "losses"]
EPS32 = 2.0**-23


def load(name: str) -> ModuleType:
    """Import a program of examples/ from its file."""
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def line30():
    return load("line30").main()


@pytest.fixture(scope="module")
def y_equals_2x():
    return load("y_equals_2x").main()


@pytest.fixture(scope="module")
def thermometer():
    return load("thermometer").main()


@pytest.fixture(scope="module")
def parabola():
    return load("parabola").main()


@pytest.fixture(scope="module")
def losses():
    return load("losses").main()


def test_examples_are_the_five_lessons():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(LESSONS)


@pytest.mark.parametrize("name", LESSONS)
def test_lesson_draws_its_picture(name, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="draws pictures")
    file = tmp_path / f"{name}.png"
    load(name).main(file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert f"picture: {file}" in capsys.readouterr().out


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_page_python_blocks_run(page, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)  # the pages save models
    exec(compile("\n".join(blocks), page, "exec"), {"__name__": page})
    assert capsys.readouterr().out


@pytest.mark.parametrize("marker", ["demo command", "test command"])
def test_readme_has_one_command_behind_each_marker(marker):
    text = (ROOT / "README.md").read_text("utf-8")
    commands = re.findall(rf"<!-- {marker} -->\n```sh\n(.*)\n```", text)
    assert len(commands) == 1
    assert commands[0].startswith("python3 -m venv .venv && ")


# 1. The line through 30 points: PyTorch 2.13 in float64, printed to six digits. Rounding in the
# sums of 30 terms is below 1e-12 and descent contracts it, so half a unit of the last digit holds.

LINE30 = {
    1000: (0.864258, -0.138465, 1.393250),
    2000: (0.869788, -0.250826, 1.380349),
    5000: (0.876704, -0.391328, 1.372670),
    10000: (0.878694, -0.431769, 1.372201),
}


@pytest.mark.parametrize("way", ["PyTorch's loop", "native fit", "by hand"])
def test_line30_every_way_gives_the_table(line30, way):
    rows = {row.epoch: row for row in line30[way]}
    for epoch, expected in LINE30.items():
        row = rows[epoch]
        assert (row.weight, row.bias, row.cost) == pytest.approx(expected, rel=0, abs=5.1e-7)


def test_line30_loop_and_native_fit_give_equal_bits(line30):
    assert [row[:3] for row in line30["PyTorch's loop"]] == [
        row[:3] for row in line30["native fit"]
    ]


# 2. y = 2x


@pytest.mark.parametrize(
    ("epoch", "weight", "bias", "cost"),
    [
        (0, 0.187, 0.080, 18.666666),
        (100, 1.746, 0.578, 0.048171),
        (200, 1.800, 0.454, 0.029767),
        (500, 1.903, 0.221, 0.007024),
        (800, 1.953, 0.107, 0.001657),
    ],
)
def test_y_equals_2x_gives_the_course_table(y_equals_2x, epoch, weight, bias, cost):
    row = y_equals_2x[0][epoch]
    assert row.epoch == epoch
    assert (row.weight, row.bias) == pytest.approx((weight, bias), rel=0, abs=5.1e-4)
    # A residual r carries the float32 rounding of predictions up to 6; cost = mean r^2.
    rounding = 2.0 * math.sqrt(cost) * 6.0 * EPS32
    assert row.cost == pytest.approx(cost, rel=0, abs=5e-7 + rounding)


def test_y_equals_2x_after_1000_updates(y_equals_2x):
    last = y_equals_2x[0][-1]
    assert last.epoch == 999
    assert (last.weight, last.bias) == pytest.approx((1.9708, 0.0664), rel=0, abs=5.1e-5)


def test_y_equals_2x_weight_alone_gives_the_course_table(y_equals_2x):
    expected = [(0.0, 18.666666), (1.866667, 0.0829630), (1.991111, 0.000368722),
                (1.999407, 0.00000163862), (1.999960, None)]  # fmt: skip
    for state, (weight, cost) in zip(y_equals_2x[1], expected, strict=False):
        assert state.weight == pytest.approx(weight, rel=0, abs=5.1e-7)
        if cost is not None:
            # cost = 14/3 (2 - W)^2, and a float32 W near 2 is off by up to EPS32.
            rounding = 28.0 / 3.0 * (2.0 - weight) * EPS32
            digits = 5e-6 * cost  # six printed digits
            assert state.cost == pytest.approx(cost, rel=0, abs=digits + rounding)


# 3. The thermometer. The book trains in float32: predictions of a size of up to 40 are off by
# 40 EPS32, a loss mean r^2 by 2 sqrt(loss) times that.


def loss_tolerance(loss: float) -> float:
    return 5e-7 + 2.0 * math.sqrt(loss) * 40.0 * EPS32


def test_thermometer_first_step_gives_the_book_loss_and_gradient(thermometer):
    step = thermometer.first_step
    # Raw predictions reach 82; printed to four digits.
    assert step.loss == pytest.approx(1763.8848, abs=5e-5 + 2 * math.sqrt(1764) * 82 * EPS32)
    # The gradient sums eleven float32 products of like sign: up to eleven roundings of its size.
    assert step.gradient[0] == pytest.approx(4517.2969, abs=11 * 4517.3 * EPS32)
    assert step.gradient[1] == pytest.approx(82.6, abs=5e-5 + 11 * 82.6 * EPS32)
    # One step of 1e-5 along that gradient, in float64.
    assert step.weight == pytest.approx(1.0 - 1e-5 * step.gradient[0], rel=0, abs=1e-15)
    assert step.bias == pytest.approx(-1e-5 * step.gradient[1], rel=1e-14)


def test_thermometer_raw_readings_diverge_at_1e_2(thermometer):
    losses = thermometer.diverging.losses
    assert all(later > 1000.0 * earlier for earlier, later in itertools.pairwise(losses))
    assert "epoch" in thermometer.diverging.message


def test_thermometer_raw_readings_do_not_diverge_at_1e_4(thermometer):
    losses = thermometer.small_rate.losses
    assert all(later <= earlier for earlier, later in itertools.pairwise(losses))
    # NumPy, float64: 29.022668341184954 at epoch 100.
    assert losses[99] == pytest.approx(29.022668341184954, rel=1e-12)


@pytest.mark.parametrize(
    ("epoch", "loss"),
    [
        (1, 80.364342), (2, 37.574917), (3, 30.871077), (10, 29.030487), (11, 28.941875),
        (99, 22.214186), (100, 22.148710), (4000, 2.927680), (5000, 2.927648),
    ],
)  # fmt: skip
def test_thermometer_normalised_gives_the_book_losses(thermometer, epoch, loss):
    measured = thermometer.normalised.losses[epoch - 1]
    assert measured == pytest.approx(loss, rel=0, abs=loss_tolerance(loss))


def test_thermometer_normalised_gives_the_book_parameters(thermometer):
    fit = thermometer.normalised
    # Printed to four digits; the float32 parameters wander by a few roundings of 17.3, 2e-6 each.
    assert (fit.weight, fit.bias) == pytest.approx((5.3671, -17.3012), rel=0, abs=5e-5 + 1e-5)
    assert fit.weight == pytest.approx(5.36771921, abs=1e-3)  # on its way to least squares


def test_thermometer_adam_gives_the_book_parameters(thermometer):
    fit = thermometer.adam
    assert (fit.weight, fit.bias) == pytest.approx((0.5367, -17.3021), rel=0, abs=5e-5 + 1e-5)


def test_thermometer_validation_split_equals_numpy(thermometer):
    program = load("thermometer")
    kept = np.array([row for row in range(11) if row not in program.HELD_OUT])
    t, c = program.T_UN[kept, 0], program.T_C[kept, 0]
    t_out, c_out = program.T_UN[list(program.HELD_OUT), 0], program.T_C[list(program.HELD_OUT), 0]
    weight, bias = 1.0, 0.0
    expected = {}
    for epoch in range(1, 3001):
        residual = weight * t + bias - c
        weight -= 1e-2 * 2.0 * np.mean(residual * t)
        bias -= 1e-2 * 2.0 * np.mean(residual)
        val_loss = np.mean((weight * t_out + bias - c_out) ** 2)
        expected[epoch] = (np.mean(residual**2), val_loss)
    rows = thermometer.validated.rows
    assert [row[0] for row in rows] == [1, 500, 1000, 1500, 2000, 2500, 3000]
    for epoch, loss, val_loss in rows:
        # Two orders of the same float64 sums of nine terms, contracted by descent.
        assert (loss, val_loss) == pytest.approx(expected[epoch], rel=1e-11)
    assert (thermometer.validated.weight, thermometer.validated.bias) == pytest.approx(
        (weight, bias), rel=1e-11
    )


# 4. Descent on (w - 1)^2 + 2


def test_parabola_one_step_from_5_gives_4_2(parabola):
    # Three roundings of numbers below 8.
    assert parabola["one step"].path == pytest.approx([5.0, 4.2], rel=0, abs=3 * 8 * 2.0**-53)


def test_parabola_lr_0_4_arrives_and_keeps_the_path(parabola):
    path = parabola["arrives"].path
    assert len(path) <= 101
    # The error shrinks by 0.2 a step; each w is rounded at the size of 1.
    expected = 1.0 + 0.2 ** np.arange(len(path))
    np.testing.assert_allclose(path, expected, rtol=0, atol=4 * 2.0**-52)
    assert path[-1] == pytest.approx(1.0, rel=0, abs=2.0**-52)
    assert parabola["arrives"].converged


def test_parabola_lr_0_001_is_still_far_after_100_steps(parabola):
    descent = parabola["too slow"]
    assert len(descent.path) == 101
    assert descent.path[-1] == pytest.approx(1.0 + 0.998**100, rel=1e-13)
    assert not descent.converged


def test_parabola_lr_10_diverges(parabola):
    descent = parabola["diverges"]
    errors = np.array(descent.path) - 1.0
    # -19 exactly in exact arithmetic; integers stay exact in float64 up to 2^53, about 19^12.
    np.testing.assert_array_equal(errors[:12], (-19.0) ** np.arange(12))
    assert not descent.converged


# 5. Losses


def test_losses_squared_errors_sum_and_mean(losses):
    # 0.3^2 + 0.2^2 + 0.5^2 = 0.38; a handful of float64 roundings.
    assert losses.squared_sum == pytest.approx(0.38, rel=1e-15 * 4)
    assert losses.squared_mean == pytest.approx(0.38 / 3.0, rel=1e-15 * 4)


def test_losses_cross_entropy_in_both_bases(losses):
    # The note prints five digits of the base-10 value; -log(0.5) = ln 2 in nats.
    assert losses.cross_entropy_base_10 == pytest.approx(0.30103, rel=0, abs=5e-6)
    assert losses.cross_entropy_nats == pytest.approx(math.log(2.0), rel=1e-14)
    assert losses.cross_entropy_of_class_index == pytest.approx(math.log(2.0), rel=1e-14)


def test_losses_accuracy_stays_where_the_loss_moves(losses):
    accuracy, loss = np.array(losses.accuracy), np.array(losses.loss)
    flat = np.diff(accuracy) == 0.0
    # Points stand 0.04 apart and the bias moves by 0.01: at most one step in four crosses a point.
    assert np.mean(flat) >= 0.7
    assert (np.diff(loss) != 0.0).all()


def test_losses_step_has_no_gradient_and_sigmoid_has(losses):
    assert losses.step_gradient == 0.0
    s = 1.0 / (1.0 + math.exp(-0.5))
    assert losses.sigmoid_gradient == pytest.approx(2.0 * s * s * (1.0 - s), rel=1e-14)

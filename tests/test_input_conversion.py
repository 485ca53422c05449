# SPDX-License-Identifier: MIT
"""Conversion to the model's dtype: one correctly rounded step, and what overflows is an error.

NumPy's `astype` is the reference, to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import schuss
from schuss import nn, optim

Array = NDArray[Any]


def converted(values: Array, dtype: str) -> Array:
    """What a model of this dtype sees: 1 * x + 0 is x but for the sign of zero."""
    layer = nn.Linear(1, 1, dtype=dtype)
    layer.load_state_dict({"weight": np.ones((1, 1)), "bias": np.zeros(1)})
    return schuss.predict(nn.Sequential(layer), values.reshape(-1, 1))[:, 0]


def assert_converts_as_numpy(values: Array) -> None:
    for dtype in ("float32", "float64"):
        wanted = values.astype(dtype)
        for given_values in (values, values.astype(values.dtype.newbyteorder())):
            np.testing.assert_array_equal(converted(given_values, dtype), wanted, strict=True)


def test_every_float16_converts_exactly() -> None:
    everything = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    assert_converts_as_numpy(everything)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "uint32"])
def test_integer_ties_round_to_even_in_one_step(dtype: str) -> None:
    """Numbers halfway between two floats, and one to either side.

    Through float64 they would round twice: 2^60 + 2^36 + 1 becomes a tie first.
    """
    info = np.iinfo(dtype)
    ties = [
        (significand << shift) + (1 << (shift - 1)) + step
        for shift in range(1, 41)
        for significand in ((1 << 23), (1 << 23) + 1, (1 << 24) - 2, (1 << 24) - 1)
        for step in (-1, 0, 1)
    ]
    ties += [info.max, info.max - 1]
    values = [value for tie in ties for value in (tie, -tie) if info.min <= value <= info.max]
    assert len(values) > 60
    assert_converts_as_numpy(np.array([*values, info.min], dtype))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40))
def test_any_int64_converts_as_numpy_does(values: list[int]) -> None:
    assert_converts_as_numpy(np.array(values, np.int64))


@given(st.lists(st.floats(width=64, min_value=-1e38, max_value=1e38), min_size=1, max_size=40))
def test_any_float64_converts_as_numpy_does(values: list[float]) -> None:
    assert_converts_as_numpy(np.array(values))


def test_infinities_and_nan_are_predicted_with_not_refused() -> None:
    values = np.array([np.inf, -np.inf, np.nan, 1.0])
    np.testing.assert_array_equal(converted(values, "float32"), values.astype("float32"))


# Half a unit above the largest float32: the first float64 that rounds to infinity.
OVERFLOWS = float.fromhex("0x1.ffffffp127")


def three_columns(dtype: str = "float32") -> nn.Sequential:
    schuss.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 1, dtype=dtype))


def bits(model: nn.Sequential) -> bytes:
    return b"".join(value.tobytes() for value in model.state_dict().values())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("value", [OVERFLOWS, -OVERFLOWS, 1e39, np.finfo(np.float64).max])
def test_overflow_names_row_and_column_and_changes_nothing(value: float, order: Any) -> None:
    x = np.ones((10, 3), order=order)
    x[7, 2] = value
    # Infinities pass; they must not be taken for the overflow behind them.
    x[1, 0] = np.inf
    model = three_columns()
    before = bits(model)
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    with pytest.raises(ValueError, match=r"X\[7, 2\] is -?\d.*, which overflows float32"):
        schuss.fit(model, nn.MSELoss(), optimizer, x, np.ones(10), epochs=1, batch_size=None)
    assert bits(model) == before
    with pytest.raises(ValueError, match=r"\[7, 2\] is .*overflows float32"):
        schuss.predict(model, x)
    with pytest.raises(ValueError, match=r"\[7, 2\] is .*overflows float32"):
        model(x)
    assert schuss.predict(three_columns("float64"), x).shape == (10, 1)


def test_overflow_in_y_is_named_too() -> None:
    y = np.ones(10)
    y[4] = 1e39
    model = three_columns()
    before = bits(model)
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    with pytest.raises(ValueError, match=r"y\[4\] is 1e\+39, which overflows float32"):
        schuss.fit(model, nn.MSELoss(), optimizer, np.ones((10, 3)), y, epochs=1, batch_size=None)
    assert bits(model) == before


def test_the_largest_value_that_rounds_down_is_accepted() -> None:
    value = np.nextafter(OVERFLOWS, 0.0)
    assert converted(np.array([value]), "float32")[0] == np.finfo(np.float32).max

# SPDX-License-Identifier: MIT
"""Packing copies; whatever order b lies in, the product is the product of the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schuss import _schuss

testing = _schuss.testing
ISAS = testing.isas()
SIZES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 64, 65]


def spread(values: np.ndarray, stride: int, offset: int) -> np.ndarray:
    """The same values `stride` elements apart, NaN between them, from an odd address."""
    rows, cols = values.shape
    buffer = np.full(offset + rows * (cols + 1) * stride, np.nan, values.dtype)
    view = buffer[offset:].reshape(rows, cols + 1, stride)[:, :cols, 0]
    view[...] = values
    return view


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["rows", "columns", "strided", "strided columns"])
def test_packed_product_does_not_depend_on_how_b_lies(isa: str, dtype: Any, layout: str) -> None:
    rng = np.random.default_rng(1)
    for turn, n in enumerate(SIZES):
        for k in SIZES:
            a = rng.standard_normal((5, k)).astype(dtype)
            b = rng.standard_normal((k, n)).astype(dtype)
            expected = np.zeros((5, n), dtype)
            testing.product(isa, a, b, expected, "zero", "store", None, None, False)
            stride = 2 if layout.startswith("strided") else 1
            across = layout.endswith("columns")
            lying = spread(b.T, stride, turn).T if across else spread(b, stride, turn)
            got = np.zeros((5, n), dtype)
            testing.product(isa, a, lying, got, "zero", "store", None, None, True)
            assert got.tobytes() == expected.tobytes(), (n, k)

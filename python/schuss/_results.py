# SPDX-License-Identifier: MIT
"""What operations return beside single tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from schuss._schuss import Tensor

__all__ = ["ValuesIndices"]


class ValuesIndices(NamedTuple):
    """The largest or smallest elements along a dimension, and where they are."""

    values: Tensor
    indices: Tensor

# SPDX-License-Identifier: MIT
"""Tools around training, with PyTorch's names."""

from schuss.utils import data

__all__ = ["data"]

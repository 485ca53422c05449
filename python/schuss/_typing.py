# SPDX-License-Identifier: MIT
"""Names for the types in public signatures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]
    #: Arrays, tensors and whatever `numpy.asarray` understands.
    TensorLike: TypeAlias = Any
    #: (prediction, target) -> (value, d_prediction)
    PythonLoss: TypeAlias = Callable[[Array, Array], tuple[float, Array]]
    #: (prediction, target) -> value
    Metric: TypeAlias = Callable[[Array, Array], float]
    DTypeLike: TypeAlias = str | type[np.floating[Any]] | np.dtype[np.floating[Any]] | None

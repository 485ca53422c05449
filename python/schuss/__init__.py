# SPDX-License-Identifier: MIT
"""Small and medium dense networks, trained on the CPU, with PyTorch's names and the same bits.

Examples
--------
>>> import numpy as np
>>> import schuss
>>> from schuss import nn, optim
>>> schuss.manual_seed(0)
>>> X = np.linspace(-1, 1, 100).reshape(-1, 1)
>>> y = X * X
>>> model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
>>> optimizer = optim.Adam(model.parameters(), lr=0.02)
>>> history = schuss.fit(model, nn.MSELoss(), optimizer, X, y, epochs=200, batch_size=20)
>>> history.loss[-1] < 0.01
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy import bool_ as bool
from numpy import float32, float64, int64

from schuss import nn, optim, utils
from schuss._compile import compile
from schuss._creation import (
    FloatTensor,
    LongTensor,
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    is_tensor,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from schuss._device import cuda, device
from schuss._functions import (
    abs,
    add,
    allclose,
    argmax,
    argmin,
    cat,
    clamp,
    concat,
    div,
    dot,
    eq,
    equal,
    erf,
    exp,
    expm1,
    flatten,
    log,
    log1p,
    log_softmax,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    mm,
    mul,
    neg,
    numel,
    permute,
    pow,
    reciprocal,
    relu,
    reshape,
    sigmoid,
    softmax,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sub,
    sum,
    t,
    tanh,
    transpose,
    unsqueeze,
    var,
    where,
)
from schuss._grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from schuss._gradcheck import gradcheck
from schuss._minimize import MinimizeResult, minimize
from schuss._options import as_count
from schuss._random import Generator, manual_seed
from schuss._schuss import Parameter, Tensor, __version__, set_threads, threads
from schuss._schuss import info as _info
from schuss.errors import NonFiniteError, RecordingError
from schuss.evaluation import evaluate, predict
from schuss.history import History
from schuss.training import fit
from schuss.utils.data import DataLoader

if TYPE_CHECKING:
    from schuss.saving import load, save

float = float32  # noqa: A001
double = float64
long = int64

__all__ = [
    "DataLoader",
    "FloatTensor",
    "Generator",
    "History",
    "LongTensor",
    "MinimizeResult",
    "NonFiniteError",
    "Parameter",
    "RecordingError",
    "Tensor",
    "__version__",
    "abs",
    "add",
    "allclose",
    "arange",
    "argmax",
    "argmin",
    "as_tensor",
    "bool",
    "cat",
    "clamp",
    "compile",
    "concat",
    "cuda",
    "device",
    "div",
    "dot",
    "double",
    "empty",
    "empty_like",
    "enable_grad",
    "eq",
    "equal",
    "erf",
    "evaluate",
    "exp",
    "expm1",
    "eye",
    "fit",
    "flatten",
    "float",
    "float32",
    "float64",
    "from_numpy",
    "full",
    "full_like",
    "get_num_threads",
    "gradcheck",
    "info",
    "int64",
    "is_grad_enabled",
    "is_tensor",
    "linspace",
    "load",
    "log",
    "log1p",
    "log_softmax",
    "long",
    "manual_seed",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimize",
    "minimum",
    "mm",
    "mul",
    "neg",
    "nn",
    "no_grad",
    "numel",
    "ones",
    "ones_like",
    "optim",
    "permute",
    "pow",
    "predict",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "reciprocal",
    "relu",
    "reshape",
    "save",
    "set_grad_enabled",
    "set_num_threads",
    "sigmoid",
    "softmax",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sub",
    "sum",
    "t",
    "tanh",
    "tensor",
    "transpose",
    "unsqueeze",
    "utils",
    "var",
    "where",
    "zeros",
    "zeros_like",
]


def __getattr__(name: str) -> Any:
    # Files need modules (json, pathlib) whose import would cost more than all of schuss.
    if name in ("load", "save"):
        from schuss import saving

        return getattr(saving, name)
    raise AttributeError(f"module 'schuss' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def info() -> dict[str, Any]:
    """Say what runs: version, arithmetic version, instruction set, threads, compiler, caches.

    Examples
    --------
    >>> import schuss
    >>> schuss.info()["version"] == schuss.__version__
    True
    """
    return _info()


def get_num_threads() -> int:
    """How many threads native calls may use."""
    return threads()


def set_num_threads(num_threads: int) -> None:
    """Set how many threads native calls may use; results do not depend on it.

    Raises
    ------
    TypeError
        `num_threads` is not an integer.
    ValueError
        It is not positive.
    """
    set_threads(as_count(num_threads, "num_threads"))

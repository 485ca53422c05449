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

from math import inf, nan
from typing import TYPE_CHECKING, Any

from numpy import bool_ as bool
from numpy import float32, float64, int64

from schuss import autograd, nn, optim, utils
from schuss._compile import compile
from schuss._creation import (
    DoubleTensor,
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
    absolute,
    add,
    all,
    allclose,
    amax,
    amin,
    any,
    argmax,
    argmin,
    argsort,
    argwhere,
    bincount,
    bmm,
    broadcast_to,
    cat,
    ceil,
    chunk,
    clamp,
    clip,
    clone,
    concat,
    cos,
    count_nonzero,
    cumsum,
    div,
    divide,
    dot,
    eq,
    equal,
    erf,
    exp,
    expm1,
    flatten,
    flip,
    floor,
    floor_divide,
    fmod,
    gather,
    ge,
    gt,
    hstack,
    index_select,
    is_floating_point,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    log,
    log1p,
    log2,
    log10,
    log_softmax,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    logsumexp,
    lt,
    masked_fill,
    matmul,
    max,
    maximum,
    mean,
    median,
    meshgrid,
    min,
    minimum,
    mm,
    mul,
    multiply,
    mv,
    narrow,
    ne,
    neg,
    negative,
    nonzero,
    norm,
    numel,
    outer,
    permute,
    pow,
    prod,
    ravel,
    reciprocal,
    relu,
    remainder,
    reshape,
    round,
    rsqrt,
    select,
    sigmoid,
    sign,
    sin,
    softmax,
    sort,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sub,
    subtract,
    sum,
    swapaxes,
    t,
    tan,
    tanh,
    topk,
    transpose,
    true_divide,
    trunc,
    unbind,
    unique,
    unsqueeze,
    var,
    vstack,
    where,
)
from schuss._grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
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

pi, e = 3.141592653589793, 2.718281828459045
float = float32  # noqa: A001
double = float64
long = int64

__all__ = [
    "DataLoader",
    "DoubleTensor",
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
    "absolute",
    "add",
    "all",
    "allclose",
    "amax",
    "amin",
    "any",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "argwhere",
    "as_tensor",
    "autograd",
    "bincount",
    "bmm",
    "bool",
    "broadcast_to",
    "cat",
    "ceil",
    "chunk",
    "clamp",
    "clip",
    "clone",
    "compile",
    "concat",
    "cos",
    "count_nonzero",
    "cuda",
    "cumsum",
    "device",
    "div",
    "divide",
    "dot",
    "double",
    "e",
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
    "flip",
    "float",
    "float32",
    "float64",
    "floor",
    "floor_divide",
    "fmod",
    "from_numpy",
    "full",
    "full_like",
    "gather",
    "ge",
    "get_num_threads",
    "gradcheck",
    "gt",
    "hstack",
    "index_select",
    "inf",
    "inference_mode",
    "info",
    "int64",
    "is_floating_point",
    "is_grad_enabled",
    "is_tensor",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "linspace",
    "load",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "long",
    "lt",
    "manual_seed",
    "masked_fill",
    "matmul",
    "max",
    "maximum",
    "mean",
    "median",
    "meshgrid",
    "min",
    "minimize",
    "minimum",
    "mm",
    "mul",
    "multiply",
    "mv",
    "nan",
    "narrow",
    "ne",
    "neg",
    "negative",
    "nn",
    "no_grad",
    "nonzero",
    "norm",
    "numel",
    "ones",
    "ones_like",
    "optim",
    "outer",
    "permute",
    "pi",
    "pow",
    "predict",
    "prod",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "ravel",
    "reciprocal",
    "relu",
    "remainder",
    "reshape",
    "round",
    "rsqrt",
    "save",
    "select",
    "set_grad_enabled",
    "set_num_threads",
    "sigmoid",
    "sign",
    "sin",
    "softmax",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sub",
    "subtract",
    "sum",
    "swapaxes",
    "t",
    "tan",
    "tanh",
    "tensor",
    "topk",
    "transpose",
    "true_divide",
    "trunc",
    "unbind",
    "unique",
    "unsqueeze",
    "utils",
    "var",
    "vstack",
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

    `fit`, `predict`, `evaluate`, calls of models, ``backward()`` and optimizers' ``step()`` use as
    many of them as their work is worth. Threads that helped in a call look for the next one for a
    tenth of a millisecond before they sleep.

    Raises
    ------
    TypeError
        `num_threads` is not an integer.
    ValueError
        It is not positive.
    """
    set_threads(as_count(num_threads, "num_threads"))

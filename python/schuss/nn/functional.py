# SPDX-License-Identifier: MIT
"""Layers, activations and losses as functions, with PyTorch's names.

They take Tensors (history is kept) or plain arrays, and return Tensors. Formulas and options are
those of the classes in `schuss.nn` with the matching name.

Examples
--------
>>> import numpy as np
>>> import schuss.nn.functional as F
>>> F.relu(np.array([[-1.0, 2.0]])).tolist()
[[0.0, 2.0]]
>>> float(F.mse_loss([1.0, 2.0], [1.0, 4.0]))
2.0
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from schuss import _schuss
from schuss._options import as_flag
from schuss._schuss import Tensor
from schuss.nn.activation import check_dim, check_finite
from schuss.nn.dropout import check_probability, dropped
from schuss.nn.loss import refuse_deprecated
from schuss.nn.native import FollowsDtype

if TYPE_CHECKING:
    from schuss._typing import TensorLike

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "elu",
    "gelu",
    "huber_loss",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "relu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "step",
    "tanh",
]


def linear(
    input: TensorLike,  # noqa: A002  (PyTorch's name)
    weight: TensorLike,
    bias: TensorLike | None = None,
) -> Tensor:
    """Compute ``input @ weight.T + bias``.

    Parameters
    ----------
    input : array-like of shape (..., in_features)
    weight : array-like of shape (out_features, in_features), or (in_features,)
        A Parameter or another Tensor gets its gradient.
    bias : the same, of shape (out_features,), or () beside a weight of one dimension, optional

    Returns
    -------
    Tensor of shape (..., out_features), or (...)
        The bits of a `Linear` layer. Of the weight's dtype; float32 where that is neither float32
        nor float64. Input and bias are converted to it, but a Tensor that requires a gradient must
        have it. Arrays of that dtype are held, not copied: backward reads them again.

    Raises
    ------
    ValueError
        The shapes do not fit each other.
    TypeError
        A Tensor that requires a gradient is of another dtype than the weight, or an argument is
        not of real numbers.

    Examples
    --------
    >>> import schuss.nn.functional as F
    >>> F.linear([[1.0, 2.0]], [[3.0, 4.0]], [0.5]).tolist()
    [[11.5]]
    """
    return _schuss.linear(input, weight, bias)


# ---- activations ---------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _network(kind: str, a: float, beta: float, threshold: float) -> FollowsDtype:
    return FollowsDtype([("activation", kind, a, beta, threshold, kind)])


def _activation(
    kind: str,
    input: TensorLike,  # noqa: A002
    a: float = 0.0,
    beta: float = 1.0,
    threshold: float = 20.0,
    dim: int = -1,
) -> Tensor:
    if isinstance(input, Tensor):
        return _schuss.activation(input, kind, a, beta, threshold, dim)
    return _network(kind, a, beta, threshold)(input)


def relu(input: TensorLike, inplace: bool = False) -> Tensor:  # noqa: A002
    """``x <= 0 ? 0 : x``."""
    as_flag(inplace, "inplace")
    return _activation("relu", input)


def leaky_relu(
    input: TensorLike,  # noqa: A002
    negative_slope: float = 0.01,
    inplace: bool = False,
) -> Tensor:
    """``x > 0 ? x : negative_slope * x``."""
    as_flag(inplace, "inplace")
    return _activation("leaky_relu", input, check_finite(negative_slope, "negative_slope"))


def elu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:  # noqa: A002
    """``x > 0 ? x : alpha * (exp(x) - 1)``."""
    as_flag(inplace, "inplace")
    return _activation("elu", input, check_finite(alpha, "alpha"))


def gelu(input: TensorLike, approximate: str = "none") -> Tensor:  # noqa: A002
    """``x * Phi(x)``; with ``approximate="tanh"`` the tanh form."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate: got {approximate!r}; expected 'none' or 'tanh'")
    return _activation("gelu" if approximate == "none" else "gelu_tanh", input)


def silu(input: TensorLike, inplace: bool = False) -> Tensor:  # noqa: A002
    """``x * sigmoid(x)``."""
    as_flag(inplace, "inplace")
    return _activation("silu", input)


def softplus(
    input: TensorLike,  # noqa: A002
    beta: float = 1.0,
    threshold: float = 20.0,
) -> Tensor:
    """``beta*x > threshold ? x : log(1 + exp(beta*x)) / beta``."""
    scale = check_finite(beta, "beta")
    if scale == 0.0:
        raise ValueError("beta: got 0.0; expected a number other than 0")
    return _activation("softplus", input, 0.0, scale, check_finite(threshold, "threshold"))


def sigmoid(input: TensorLike) -> Tensor:  # noqa: A002
    """``1 / (1 + exp(-x))``."""
    return _activation("sigmoid", input)


def tanh(input: TensorLike) -> Tensor:  # noqa: A002
    """Compute the hyperbolic tangent."""
    return _activation("tanh", input)


def step(input: TensorLike) -> Tensor:  # noqa: A002
    """``x > 0 ? 1 : 0``, with a gradient of zero."""
    return _activation("step", input)


def softmax(input: TensorLike, dim: int | None = None) -> Tensor:  # noqa: A002
    """``exp(x) / sum(exp(x))`` along `dim`; arrays and `dim=None`: over the columns of each row."""
    if isinstance(input, Tensor) and dim is not None:
        return _activation("softmax", input, dim=dim)
    check_dim(dim)
    return _activation("softmax", input)


def log_softmax(input: TensorLike, dim: int | None = None) -> Tensor:  # noqa: A002
    """``x - log(sum(exp(x)))`` along `dim`; arrays and `dim=None`: over the columns of each row."""
    if isinstance(input, Tensor) and dim is not None:
        return _activation("log_softmax", input, dim=dim)
    check_dim(dim)
    return _activation("log_softmax", input)


def dropout(
    input: TensorLike,  # noqa: A002
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Tensor:
    """Elements set to 0 with probability `p`, the others times ``1 / (1 - p)``.

    Each call draws from the process-wide seed (`schuss.manual_seed`); `schuss.nn.Dropout` has
    numbers of its own.

    Examples
    --------
    >>> import schuss
    >>> schuss.nn.functional.dropout(schuss.ones(3), training=False).tolist()
    [1.0, 1.0, 1.0]
    """
    as_flag(inplace, "inplace")
    probability = check_probability(p)
    if not as_flag(training, "training"):
        return input if isinstance(input, Tensor) else _schuss.tensor(input)
    return dropped(input, probability, _schuss.next_seed(), 0)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of int64 zeros with a one at each label.

    Examples
    --------
    >>> import schuss
    >>> schuss.nn.functional.one_hot(schuss.tensor([1, 0]), 3).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    classes = int(tensor.max().item()) + 1 if num_classes < 0 else num_classes
    rows = _schuss.full((*tensor.shape, classes), 0.0, "int64")
    return rows.scatter_(-1, tensor.unsqueeze(-1), 1)


# ---- losses --------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _loss(kind: str, reduction: str, a: float = 1.0) -> _schuss.Loss:
    return _schuss.Loss(kind, reduction, a=a)


def mse_loss(
    input: TensorLike,  # noqa: A002
    target: TensorLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """Squared error, as `schuss.nn.MSELoss`."""
    refuse_deprecated(size_average, reduce)
    return _loss("mse", reduction)(input, target)


def l1_loss(
    input: TensorLike,  # noqa: A002
    target: TensorLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """Absolute error, as `schuss.nn.L1Loss`."""
    refuse_deprecated(size_average, reduce)
    return _loss("l1", reduction)(input, target)


def huber_loss(
    input: TensorLike,  # noqa: A002
    target: TensorLike,
    reduction: str = "mean",
    delta: float = 1.0,
) -> Tensor:
    """Huber's loss, as `schuss.nn.HuberLoss`."""
    return _loss("huber", reduction, delta)(input, target)


def smooth_l1_loss(
    input: TensorLike,  # noqa: A002
    target: TensorLike,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Smooth absolute error, as `schuss.nn.SmoothL1Loss`."""
    refuse_deprecated(size_average, reduce)
    return _loss("smooth_l1", reduction, beta)(input, target)


def cross_entropy(
    input: TensorLike,  # noqa: A002
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of logits, as `schuss.nn.CrossEntropyLoss`."""
    refuse_deprecated(size_average, reduce)
    loss = _schuss.Loss(
        "cross_entropy",
        reduction,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )
    return loss(input, target)


def nll_loss(
    input: TensorLike,  # noqa: A002
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood, as `schuss.nn.NLLLoss`."""
    refuse_deprecated(size_average, reduce)
    loss = _schuss.Loss("nll", reduction, weight=weight, ignore_index=ignore_index)
    return loss(input, target)


def binary_cross_entropy(
    input: TensorLike,  # noqa: A002
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy of probabilities, as `schuss.nn.BCELoss`."""
    refuse_deprecated(size_average, reduce)
    return _schuss.Loss("bce", reduction, weight=weight)(input, target)


def binary_cross_entropy_with_logits(
    input: TensorLike,  # noqa: A002
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    pos_weight: TensorLike | None = None,
) -> Tensor:
    """Binary cross-entropy of logits, as `schuss.nn.BCEWithLogitsLoss`."""
    refuse_deprecated(size_average, reduce)
    loss = _schuss.Loss("bce_with_logits", reduction, weight=weight, pos_weight=pos_weight)
    return loss(input, target)

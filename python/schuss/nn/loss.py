# SPDX-License-Identifier: MIT
"""Losses. Formulas, reductions and options are those of PyTorch's namesakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from schuss import _schuss
from schuss._options import as_count, as_number, known_options, type_name
from schuss.nn.module import Module

if TYPE_CHECKING:
    from schuss._schuss import Tensor
    from schuss._typing import Array, TensorLike

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "HuberLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "NLLLoss",
    "SmoothL1Loss",
]


def refuse_deprecated(size_average: Any, reduce: Any) -> None:
    """PyTorch's old pair of options has a successor."""
    for name, value in (("size_average", size_average), ("reduce", reduce)):
        if value is not None:
            raise ValueError(
                f'{name}: got {value!r}; use reduction="none", "mean" or "sum" in its place'
            )


class Loss(Module):
    """Base of the losses: called with ``(prediction, target)``, Tensors or plain arrays.

    Shapes never broadcast. The options are attributes; assigning one is checked and takes effect
    at the next call.
    """

    _kind: ClassVar[str]
    # The attributes that are options, and what the native loss calls them.
    _native_names: ClassVar[dict[str, str]] = {}

    reduction: str
    _loss: _schuss.Loss

    def __init__(self, reduction: str, **options: Any) -> None:
        super().__init__()
        values = {"reduction": reduction, **options}
        self._loss = self._build(values)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "reduction" or name in self._native_names:
            value = self._parsed(name, value)
            object.__setattr__(self, "_loss", self._build({**self._config(), name: value}))
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def __call__(self, input: TensorLike, target: TensorLike) -> Tensor:  # noqa: A002
        """Compute the loss of predictions against targets."""
        return self._loss(input, target)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:  # noqa: A002
        """Compute the loss of predictions against targets."""
        return self._loss(input, target)

    def value_and_grad(self, prediction: TensorLike, target: TensorLike) -> tuple[float, Array]:
        """Compute the loss and its gradient with respect to the prediction.

        Returns
        -------
        value : float
        d_prediction : ndarray
            Of the prediction's shape.

        Raises
        ------
        ValueError
            The reduction is ``"none"``, or shapes do not fit.

        Examples
        --------
        >>> from schuss import nn
        >>> value, d = nn.MSELoss().value_and_grad([1.0, 2.0], [1.0, 4.0])
        >>> value, d.tolist()
        (2.0, [0.0, -2.0])
        """
        return self._loss.value_and_grad(prediction, target)

    def _config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("reduction", *self._native_names)}

    def _parsed(self, name: str, value: Any) -> Any:
        """`value` as it is kept: checked for its kind; its range is checked natively."""
        if name in ("weight", "pos_weight"):
            return None if value is None else np.array(value, copy=True)
        if name == "reduction":
            if not isinstance(value, str):
                raise TypeError(f"reduction: got {type_name(value)}; expected a string")
            return value
        if name == "ignore_index":
            return as_count(value, name, least=-(2**63))
        return as_number(value, name)

    def _build(self, values: dict[str, Any]) -> _schuss.Loss:
        for name, value in values.items():
            values[name] = self._parsed(name, value)
        options = {native: values[name] for name, native in self._native_names.items()}
        return _schuss.Loss(self._kind, values["reduction"], **options)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the native loss, which the copy makes anew."""
        return {name: value for name, value in self.__dict__.items() if name != "_loss"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__["_loss"] = self._build(self._config())

    def extra_repr(self) -> str:
        """Each option with its value."""
        return ", ".join(f"{name}={value!r}" for name, value in self._config().items())


class MSELoss(Loss):
    """Squared error ``(prediction - target)^2``; the mean is over all elements.

    Parameters
    ----------
    size_average, reduce : None
        PyTorch's deprecated options; anything but None is a ValueError.
    reduction : {"mean", "sum", "none"}, default "mean"

    Examples
    --------
    >>> from schuss import nn
    >>> float(nn.MSELoss()([1.0, 2.0], [3.0, 4.0]))
    4.0
    """

    _kind = "mse"

    @known_options
    def __init__(
        self, size_average: None = None, reduce: None = None, reduction: str = "mean"
    ) -> None:
        refuse_deprecated(size_average, reduce)
        super().__init__(reduction)


class L1Loss(Loss):
    """Absolute error ``|prediction - target|``; the gradient at 0 is 0.

    Parameters
    ----------
    size_average, reduce : None
        PyTorch's deprecated options; anything but None is a ValueError.
    reduction : {"mean", "sum", "none"}, default "mean"

    Examples
    --------
    >>> from schuss import nn
    >>> float(nn.L1Loss(reduction="sum")([1.0, 2.0], [3.0, 1.0]))
    3.0
    """

    _kind = "l1"

    @known_options
    def __init__(
        self, size_average: None = None, reduce: None = None, reduction: str = "mean"
    ) -> None:
        refuse_deprecated(size_average, reduce)
        super().__init__(reduction)


class HuberLoss(Loss):
    """With ``e = |prediction - target|``: ``e^2/2`` up to `delta`, ``delta*(e - delta/2)`` beyond.

    Huber, "Robust estimation of a location parameter", 1964.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default "mean"
    delta : float, default 1.0
        Positive.

    Examples
    --------
    >>> from schuss import nn
    >>> float(nn.HuberLoss(delta=2.0)([5.0], [0.0]))
    8.0
    """

    _kind = "huber"
    _native_names = {"delta": "a"}  # noqa: RUF012  (ClassVar in the base)

    delta: float

    @known_options
    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction, delta=delta)


class SmoothL1Loss(Loss):
    """With ``e = |prediction - target|``: ``e^2/(2*beta)`` below `beta`, ``e - beta/2`` from there.

    Parameters
    ----------
    size_average, reduce : None
        PyTorch's deprecated options; anything but None is a ValueError.
    reduction : {"mean", "sum", "none"}, default "mean"
    beta : float, default 1.0
        0 or more; 0 is the absolute error.

    Examples
    --------
    >>> from schuss import nn
    >>> float(nn.SmoothL1Loss(beta=2.0)([5.0], [0.0]))
    4.0
    """

    _kind = "smooth_l1"
    _native_names = {"beta": "a"}  # noqa: RUF012  (ClassVar in the base)

    beta: float

    @known_options
    def __init__(
        self,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        refuse_deprecated(size_average, reduce)
        super().__init__(reduction, beta=beta)


class CrossEntropyLoss(Loss):
    """Cross-entropy of logits ``(n, n_classes)``, in nats.

    Targets are class indices ``(n,)`` of an integer dtype or probabilities ``(n, n_classes)``.
    The mean over class indices divides by the sum of the weights of the rows that count; over
    probabilities, by the number of rows.

    Parameters
    ----------
    weight : array of shape (n_classes,), optional
        Weight of each class, 0 or more.
    size_average, reduce : None
        PyTorch's deprecated options; anything but None is a ValueError.
    ignore_index : int, default -100
        Rows with this label count nothing.
    reduction : {"mean", "sum", "none"}, default "mean"
    label_smoothing : float, default 0.0
        0 to 1: this share of every target is spread evenly over the classes (Szegedy et al.,
        "Rethinking the Inception architecture", 2016).

    Examples
    --------
    >>> from schuss import nn
    >>> cost = nn.CrossEntropyLoss()([[8.0, 1.0, 1.0], [0.0, 9.0, 1.0]], [0, 1])
    >>> f"{cost:.6f}"
    '0.001140'
    """

    _kind = "cross_entropy"
    _native_names = {  # noqa: RUF012  (ClassVar in the base)
        "weight": "weight",
        "ignore_index": "ignore_index",
        "label_smoothing": "label_smoothing",
    }

    weight: Array | None
    ignore_index: int
    label_smoothing: float

    @known_options
    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        refuse_deprecated(size_average, reduce)
        super().__init__(
            reduction, weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing
        )


class NLLLoss(Loss):
    """Negative log-likelihood of log-probabilities ``(n, n_classes)``, as `LogSoftmax` gives them.

    Parameters
    ----------
    weight : array of shape (n_classes,), optional
        Weight of each class, 0 or more.
    size_average, reduce : None
        PyTorch's deprecated options; anything but None is a ValueError.
    ignore_index : int, default -100
        Rows with this label count nothing.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean divides by the sum of the weights of the rows that count.

    Examples
    --------
    >>> from schuss import nn
    >>> float(nn.NLLLoss()([[-0.5, -2.0], [-3.0, -1.5]], [0, 1]))
    1.0
    """

    _kind = "nll"
    _native_names = {  # noqa: RUF012  (ClassVar in the base)
        "weight": "weight",
        "ignore_index": "ignore_index",
    }

    weight: Array | None
    ignore_index: int

    @known_options
    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        refuse_deprecated(size_average, reduce)
        super().__init__(reduction, weight=weight, ignore_index=ignore_index)


class BCELoss(Loss):
    """Binary cross-entropy of probabilities; logarithms are at least -100, as in PyTorch.

    Parameters
    ----------
    weight : array of shape (columns,), optional
        Weight of each column, 0 or more.
    size_average, reduce : None
        PyTorch's deprecated options; anything but None is a ValueError.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean is over all elements.

    Examples
    --------
    >>> from schuss import nn
    >>> f"{nn.BCELoss()([0.5, 0.5], [0.0, 1.0]):.4f}"
    '0.6931'
    """

    _kind = "bce"
    _native_names = {"weight": "weight"}  # noqa: RUF012  (ClassVar in the base)

    weight: Array | None

    @known_options
    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        refuse_deprecated(size_average, reduce)
        super().__init__(reduction, weight=weight)


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of logits: stable where `Sigmoid` and `BCELoss` would round to 0 or 1.

    Parameters
    ----------
    weight : array of shape (columns,), optional
        Weight of each column, 0 or more.
    size_average, reduce : None
        PyTorch's deprecated options; anything but None is a ValueError.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean is over all elements.
    pos_weight : array of shape (columns,), optional
        Weight of positive targets in each column, 0 or more.

    Examples
    --------
    >>> from schuss import nn
    >>> f"{nn.BCEWithLogitsLoss()([0.0, 0.0], [0.0, 1.0]):.4f}"
    '0.6931'
    """

    _kind = "bce_with_logits"
    _native_names = {  # noqa: RUF012  (ClassVar in the base)
        "weight": "weight",
        "pos_weight": "pos_weight",
    }

    weight: Array | None
    pos_weight: Array | None

    @known_options
    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
        pos_weight: TensorLike | None = None,
    ) -> None:
        refuse_deprecated(size_average, reduce)
        super().__init__(reduction, weight=weight, pos_weight=pos_weight)

# SPDX-License-Identifier: MIT
"""Losses written as tensor expressions, recorded once and run natively."""

from __future__ import annotations

import contextlib
import traceback
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from schuss._grad_mode import enable_grad
from schuss._options import type_name
from schuss._schuss import Recording, Tensor, recorded_loss, seed_state, set_seed_state, tensor
from schuss._trials import example_sizes, tensors_of, trial
from schuss.data import as_array, as_rows
from schuss.errors import RecordingError
from schuss.nn import functional
from schuss.nn import loss as losses
from schuss.nn.loss import Loss

if TYPE_CHECKING:
    from schuss import _schuss
    from schuss._typing import Array, PythonLoss, TensorLike
    from schuss.nn.module import Module

__all__ = [
    "Criterion",
    "ExpressionLoss",
    "PythonCriterion",
    "as_criterion",
    "compile_loss",
    "like_prediction",
    "native_loss",
    "place_of",
    "recorded_for",
]

_FUNCTIONS: dict[Callable[..., Any], Callable[[], Loss]] = {
    functional.binary_cross_entropy: losses.BCELoss,
    functional.binary_cross_entropy_with_logits: losses.BCEWithLogitsLoss,
    functional.cross_entropy: losses.CrossEntropyLoss,
    functional.huber_loss: losses.HuberLoss,
    functional.l1_loss: losses.L1Loss,
    functional.mse_loss: losses.MSELoss,
    functional.nll_loss: losses.NLLLoss,
    functional.smooth_l1_loss: losses.SmoothL1Loss,
}
_CALLS = (Loss.__module__, "schuss.nn.module")
_PACKAGE = str(Path(__file__).parent)
_EXAMPLE_ROWS = 64
_MOST_WHOLE = 2**24  # integers that float32 holds


class ExpressionLoss:
    """A function of (prediction, target) Tensors that returns a Tensor, and its native form."""

    def __init__(
        self, function: Callable[..., Any], native: _schuss.Loss | None, *, strict: bool = False
    ) -> None:
        self._function = function
        self._loss = native
        self._strict = strict
        self._recorded_for: tuple[Any, ...] | None = None  # the data that `_loss` is right for
        self.__name__ = getattr(function, "__name__", type_name(function))

    def __call__(self, prediction: Any, target: Any) -> Any:
        """Compute the loss at once, with history."""
        return self._function(prediction, target)

    def __repr__(self) -> str:
        how = "recorded" if self._loss is not None else "step by step"
        return f"<loss {self.__name__}, {how}>"

    def cost(self, prediction: Tensor, target: Array) -> Tensor:
        """Compute the loss of a batch, of targets as the user's array has them."""
        columns = prediction.shape[1] if prediction.ndim > 1 else 1
        result = self._function(prediction, _target(target, columns, prediction.dtype))
        if not isinstance(result, Tensor) or result.ndim != 0:
            shape = f" of shape {result.shape}" if isinstance(result, Tensor) else ""
            raise TypeError(
                f"criterion: returned {type_name(result)}{shape}; expected a Tensor of one number: "
                "end in .mean() or .sum()"
            )
        return result

    def value_and_grad(self, prediction: Array, target: Array) -> tuple[float, Array]:
        """Compute the loss at once, and its gradient with respect to the prediction."""
        leaf = tensor(prediction)
        leaf.requires_grad = True
        cost = self.cost(leaf, target)
        cost.backward()
        return cost.item(), as_array(leaf.grad)

    def forgotten(self) -> ExpressionLoss:
        """The same function, to be recorded anew."""
        return ExpressionLoss(self._function, None, strict=self._strict)

    def recorded(
        self,
        prediction: Array,
        targets: Array,
        all_targets: Array,
        sizes: tuple[int, int],
        model: Module,
    ) -> ExpressionLoss:
        """Record the function on a few rows of the data, of which `all_targets` are the targets.

        They are repeated until there are as many as in the batches, whose `sizes` are two. Where it
        cannot be recorded, as when it uses tensors of the `model`, the result has no native form.
        """
        labels = targets.dtype.kind if targets.ndim == 1 else "f"
        data = (prediction.shape[1:], prediction.dtype, targets.shape[1:], labels, sizes)
        if data == self._recorded_for:
            return self
        columns = prediction.shape[1] if prediction.ndim > 1 else 1
        size, other_size = example_sizes(sizes, columns)
        some = np.arange(size) % len(prediction)
        rows = prediction[some]
        once = rows, _target(targets[some], columns, rows.dtype)
        other = np.arange(other_size)[::-1] % size
        again = _moved(rows[other]), once[1][other]
        native: _schuss.Loss | None = None
        watched = tensors_of(model)
        try:
            with trial(model):
                (first, _), _ = _run(self._function, *once, watched)
                native = _recorded(self._function, first, again, watched)
        except Exception:  # the call for a whole batch says what is wrong
            if self._strict:
                raise
        integers = native is not None and native.whole_targets
        if integers and not _are_small_integers(all_targets):
            native = None
        found = ExpressionLoss(self._function, native, strict=self._strict)
        found._recorded_for = None if integers else data
        return found


class PythonCriterion:
    """A function of the user's; its first call shows whether it is one of arrays or of Tensors.

    That call is the one of the first batch, with arrays: a function that returns (value,
    d_prediction) for them is never called but for its result, so that it may count or remember.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.expression: ExpressionLoss | None = None  # when it is one of Tensors
        if _is_known(function):
            self.expression = ExpressionLoss(function, None)

    def try_arrays(self, prediction: Array, target: Array, *, number: bool = False) -> Any:
        """What the function returns for arrays; None, and `expression` is set, for Tensors.

        `number`: one that returns a number alone is one of arrays too.
        """
        failure: Exception | None = None
        result: Any = None
        seeds = seed_state()
        try:
            # Copies: a function of Tensors may write to its arguments, and is called once more.
            result = self.function(prediction.copy(), like_prediction(target, prediction).copy())
        except Exception as error:  # noqa: BLE001  (whatever it is: perhaps not for arrays)
            failure = error
        if isinstance(result, tuple) or (number and type(result) in (int, float)):
            return result
        leaf = tensor(prediction)
        leaf.requires_grad = True
        expression = ExpressionLoss(self.function, None)
        set_seed_state(*seeds)
        try:
            expression.cost(leaf, target)
        except Exception as error:
            if failure is None and result is not None and not isinstance(result, Tensor):
                return result  # for whoever asked to judge
            if isinstance(failure, (AttributeError, TypeError)):
                raise error from failure
            raise (failure or error) from None
        set_seed_state(*seeds)
        self.expression = expression
        _remember(self.function)
        return None


Criterion: TypeAlias = "Loss | ExpressionLoss | PythonCriterion | PythonLoss"
_tensor_functions: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()


def _is_known(function: Callable[..., Any]) -> bool:
    try:
        return function in _tensor_functions
    except TypeError:  # no hash
        return False


def _remember(function: Callable[..., Any]) -> None:
    with contextlib.suppress(TypeError):  # what cannot be referred to weakly is tried again
        _tensor_functions.add(function)


def native_loss(criterion: Any) -> _schuss.Loss | None:
    """The native form of a loss; None where it has none."""
    return criterion._loss if isinstance(criterion, (Loss, ExpressionLoss)) else None


def _is_own(criterion: Any) -> bool:
    """Whether it is a loss of nn that somebody's subclass computes otherwise."""
    cls = type(criterion)
    return isinstance(criterion, Loss) and (
        cls.forward.__module__ != Loss.__module__ or cls.__call__.__module__ not in _CALLS
    )


def as_criterion(criterion: Any) -> Loss | ExpressionLoss | PythonCriterion:
    """`criterion` as `fit` and `evaluate` run it."""
    if isinstance(criterion, (Loss, ExpressionLoss, PythonCriterion)) and not _is_own(criterion):
        return criterion
    for known, module in _FUNCTIONS.items():
        if criterion is known:
            return module()
    return PythonCriterion(criterion)


def recorded_for(
    criterion: Criterion,
    model: Module,
    predict: Callable[[Module, Array], Array],
    X: TensorLike,
    y: TensorLike,
    sizes: tuple[int, int],
) -> Criterion:
    """Record a function of Tensors for its data; other criteria are returned as they are."""
    if isinstance(criterion, PythonCriterion) and criterion.expression is not None:
        criterion = criterion.expression
    if not isinstance(criterion, ExpressionLoss):
        return criterion
    features, targets = as_rows(X, "X"), as_rows(y, "y")
    if len(features) != len(targets):
        raise ValueError(
            f"X, y: got {len(features)} and {len(targets)} rows; expected as many of each"
        )
    some = slice(0, _EXAMPLE_ROWS)
    with trial(model):
        prediction = predict(model, features[some])
    return criterion.recorded(prediction, targets[some], targets, sizes, model)


def like_prediction(target: Array, prediction: Array) -> Array:
    """Targets (n,) of a one-output model as (n, 1): nothing broadcasts in a loss of one's own."""
    one_output = prediction.shape == (len(target), 1) and target.ndim == 1
    return target.reshape(-1, 1) if one_output and target.dtype.kind == "f" else target


def compile_loss(function: Callable[..., Any], prediction: Any, target: Any) -> ExpressionLoss:
    """Record a loss on an example; RecordingError where that cannot be done."""
    rows, targets = _example(prediction, "prediction"), _example(target, "target")
    if rows.dtype != np.float64:
        rows = rows.astype(np.float32)
    if len(rows) != len(targets):
        raise ValueError(
            f"example_inputs: got {len(rows)} and {len(targets)} rows; expected as many of each"
        )
    if len(rows) < 2:
        raise ValueError(f"example_inputs: got {len(rows)} row; expected 2 or more")
    columns = rows.shape[1] if rows.ndim > 1 else 1
    once = rows, _target(targets, columns, rows.dtype, keep=rows.ndim == 1)
    other = np.arange(len(rows) + 1)[::-1] % len(rows)
    again = _moved(rows[other]), once[1][other]
    (first, _), result = _run(function, *once)
    if not isinstance(result, Tensor):
        raise RecordingError(
            f"{_name(function)}: returned {type_name(result)}; expected a Tensor of one number"
        )
    return ExpressionLoss(function, _recorded(function, first, again), strict=True)


def _example(data: Any, name: str) -> Array:
    return as_rows(data.detach().numpy() if isinstance(data, Tensor) else data, name)


def _moved(rows: Array) -> Array:
    """Other values with the same signs; probabilities stay probabilities."""
    moved: Array = rows * rows.dtype.type(0.9375)
    return moved


def _target(rows: Array, columns: int, dtype: Any, *, keep: bool = False) -> Tensor:
    """Targets as an expression sees them.

    Numbers become the prediction's dtype. With one output (n,) becomes (n, 1), so that nothing
    broadcasts; with more, integers of shape (n,) stay integers.
    """
    if rows.ndim == 1 and columns == 1 and not keep:
        rows = rows.reshape(-1, 1)
    labels = rows.ndim == 1 and columns > 1 and rows.dtype.kind in "iub"
    return tensor(rows.astype(np.int64 if labels else dtype))


def _are_small_integers(targets: Array) -> bool:
    if targets.dtype.kind not in "iub":
        return False
    return bool(targets.min() >= -_MOST_WHOLE and targets.max() <= _MOST_WHOLE)


def _run(
    function: Callable[..., Any], prediction: Array, target: Tensor, watched: Sequence[Tensor] = ()
) -> tuple[tuple[Recording, Tensor], Any]:
    """One recording: it and its leaf, and what the function returned."""
    leaf = tensor(prediction)
    leaf.requires_grad = True
    recording = Recording(leaf, target)
    recording.watch(watched)
    try:
        with enable_grad():
            result = recording.run(function, leaf, target)
    except Exception as error:
        if not recording.refusal:
            raise
        raise RecordingError(f"{place_of(error, _name(function))}: {recording.refusal}") from None
    if recording.refusal and isinstance(result, Tensor):
        raise RecordingError(f"{_name(function)}: {recording.refusal}")
    return (recording, leaf), result


def _recorded(
    function: Callable[..., Any],
    first: Recording,
    again: tuple[Array, Tensor],
    watched: Sequence[Tensor] = (),
) -> _schuss.Loss:
    """The native loss of a function that was recorded; it is run `again` and compared."""
    try:
        second, result = _run(function, *again, watched)
    except RecordingError:
        raise
    except Exception as error:
        raise RecordingError(f"{place_of(error, _name(function))}: {error}") from error
    if not isinstance(result, Tensor):
        raise RecordingError(f"{_name(function)}: returned {type_name(result)} the second time")
    try:
        native = recorded_loss(first, second[0], getattr(function, "__name__", "criterion"))
    except RuntimeError as error:
        raise RecordingError(f"{_name(function)}: {error}") from None
    result.backward()
    value, d_prediction = native.value_and_grad(again[0], again[1].numpy())
    gradient = as_array(second[1].grad).reshape(again[0].shape)
    if not _same(value, result.item()) or not _same(d_prediction, gradient):
        raise RecordingError(
            f"{_name(function)}: the operations that were seen do not give what it returned; a "
            "recorded function computes with tensors alone"
        )
    return native


def _same(one: Any, other: Any) -> bool:
    """Whether all bits are the same, NaNs apart."""
    a, b = np.asarray(one), np.asarray(other)
    signs = (np.signbit(a) == np.signbit(b)) | np.isnan(a)
    return bool((np.array_equal(a, b, equal_nan=True)) and signs.all())


def place_of(error: BaseException, otherwise: str) -> str:
    """File and line of the last call that is not schuss's own."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_PACKAGE):
            return f"{frame.filename}:{frame.lineno}"
    return otherwise


def _name(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", type_name(function))
    return name if code is None else f"{code.co_filename}:{code.co_firstlineno} ({name})"

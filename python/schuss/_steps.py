# SPDX-License-Identifier: MIT
"""The training loop step by step.

For losses and models that are Python's, and for the rest of an epoch that was interrupted.
Batches, order and bits are those of the native loop.
"""

from __future__ import annotations

import time
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from schuss import _schuss
from schuss._recording import Criterion, ExpressionLoss, PythonCriterion, native_loss
from schuss._trials import Kept, as_input, batch_sizes
from schuss.data import Batches, as_rows
from schuss.errors import NonFiniteError
from schuss.evaluation import checked_result, python_loss
from schuss.nn.loss import Loss
from schuss.nn.module import to_array

if TYPE_CHECKING:
    from schuss._interrupts import Interrupts
    from schuss._schuss import Tensor
    from schuss._typing import Array, PythonLoss, TensorLike
    from schuss.nn.module import Module
    from schuss.optim import Optimizer

__all__ = ["ADVICE", "StepLoop"]

ADVICE = (
    "try a smaller learning rate, scale the features to about [-1, 1], and check X and y for "
    "infinities and NaNs"
)


class StepLoop:
    """Drop-in for the native trainer: `run` may be called again and goes on where it stopped.

    Its result is "recorded", and nothing has changed, when the first batch shows that the criterion
    has a native form.
    """

    def __init__(
        self,
        model: Module,
        criterion: Criterion,
        optimizer: Optimizer,
        X: TensorLike,
        y: TensorLike,
        *,
        batch_size: int | None,
        shuffle: bool,
        drop_last: bool,
        seed: int,
        first_epoch: int,
        first_step: int,
        restore: bool,
        shards: int,
        interrupts: Interrupts,
    ) -> None:
        self._model = model
        self.criterion = criterion
        self._optimizer = optimizer
        self._X, self._y = as_rows(X, "X"), as_rows(y, "y")
        if len(self._X) != len(self._y):
            raise ValueError(
                f"X, y: got {len(self._X)} and {len(self._y)} rows; expected as many of each"
            )
        self._batches = Batches(len(self._X), batch_size, shuffle, drop_last)
        self._sizes = batch_sizes(len(self._X), batch_size, drop_last)
        self._seed = seed
        self._first_epoch = first_epoch
        self._restore = restore
        self._shards = shards
        self.steps_per_epoch = self._batches.count
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"drop_last: the only batch ({len(self._X)} rows) is shorter than batch_size = "
                f"{batch_size} and would be dropped; use a smaller batch_size"
            )
        self.steps_done = first_step
        self._losses: list[float] = []
        self._sum = 0.0
        self._rows = 0
        self._snapshot: tuple[list[Array], list[dict[str, Any]]] | None = None
        self._fresh = True  # the next step starts an epoch
        self._epoch_from = first_step  # the step that the epoch under way started with
        self._interrupts = interrupts

    @property
    def epochs_done(self) -> int:
        """Whole epochs so far."""
        return len(self._losses)

    def losses_from(self, first: int) -> Array:
        """Losses of the epochs that are done, from epoch `first` on."""
        return np.array(self._losses[first:])

    def run(self, epochs: int, seconds: float) -> str:
        """Train until that many epochs are done in all, or that much time has passed.

        Ctrl-C ends it at a step boundary, where `interrupts` are in force; from then on they are
        held until the caller, who has books of its own to keep, releases them.
        """
        # Gradients that the user keeps are put back: training here leaves .grad as it was.
        kept = [(parameter, parameter.grad) for parameter in self._model.parameters()]
        self._model.zero_grad()
        begin = time.perf_counter()
        try:
            while self.epochs_done < epochs:
                if self._fresh:
                    if self._restore or self.epochs_done == 0:
                        self._snapshot = self._state()
                    self._fresh = False
                    self._epoch_from = self.steps_done
                try:
                    if not self._step():
                        return "recorded"
                except (TypeError, ValueError):
                    # Every row is seen in the first epoch: bad data changes nothing.
                    if self.epochs_done == 0 and self._snapshot is not None:
                        self._rewind()
                        self.steps_done = self._epoch_from
                    raise
                if time.perf_counter() - begin >= seconds and self.epochs_done < epochs:
                    return "time"
            self._check_parameters(self.epochs_done - 1, self.steps_per_epoch - 1, "")
            return "done"
        finally:
            self._interrupts.held = True
            for parameter, grad in kept:
                parameter.grad = grad

    def _step(self) -> bool:
        """Do a step; False: leave it to the native loop."""
        rows = self._batches.rows(self.steps_done, self._seed, self._first_epoch + self.epochs_done)
        x, y = self._X[rows], self._y[rows]
        compute = self._whole if self._shards == 1 else self._sharded
        kept = Kept(self._model) if isinstance(self.criterion, PythonCriterion) else None
        value = compute(x, y)
        if value is None and kept is not None:
            kept.restore()
            if native_loss(self.criterion) is None:
                value = compute(x, y)
        if value is None:
            self._fresh = True
            return False
        # The update and what is known of it belong together.
        self._interrupts.held = True
        self._optimizer._native.step()
        self._sum += value * len(x)
        self._rows += len(x)
        self.steps_done += 1
        if self.steps_done == self.steps_per_epoch:
            self._finish_epoch()
        self._model.zero_grad()
        self._interrupts.release()
        return True

    def _finish_epoch(self) -> None:
        self._losses.append(self._sum / self._rows)
        self.steps_done = self._rows = 0
        self._sum = 0.0
        self._fresh = True

    def _python_loss(self, prediction: Array, y: Array) -> tuple[float, Array] | None:
        """Value and gradient of a function; None where it has turned out to be one of Tensors."""
        criterion = self.criterion
        if not isinstance(criterion, PythonCriterion):
            return python_loss(cast("PythonLoss", criterion), prediction, y)
        result = criterion.try_arrays(prediction, y)
        if criterion.expression is None:
            checked = checked_result(result, prediction)
            self.criterion = criterion.function
            return checked
        self.criterion = criterion.expression.recorded(
            prediction, y, self._y, self._sizes, self._model
        )
        return None

    def _whole(self, x: Array, y: Array) -> float | None:
        """Loss and gradients of a batch; None: the criterion has turned out to be another."""
        output = self._model(as_input(self._model, x))
        value: float
        if isinstance(self.criterion, Loss):
            cost = self.criterion(output, y)
            value = float(cost.item())
            self._check(value)
            cost.backward()
        elif isinstance(self.criterion, ExpressionLoss):
            cost = self.criterion.cost(output, y)
            value = cost.item()
            self._check(value)
            cost.backward()
        else:
            result = self._python_loss(output.numpy(), y)
            if result is None:
                return None
            value, d_output = result
            self._check(value)
            self._check_gradient(d_output)
            output.backward(d_output)
        return value

    def _sharded(self, x: Array, y: Array) -> float | None:
        """The same, with gradients of shards summed pairwise."""
        n, shards = len(x), self._shards
        ends = [-(-s * n // shards) for s in range(shards + 1)]
        outputs = [
            self._model(as_input(self._model, x[a:b])) if a < b else None for a, b in pairwise(ends)
        ]
        prediction = np.concatenate([output.numpy() for output in outputs if output is not None])
        native = native_loss(self.criterion)
        if native is not None:
            value, d_output = native.value_and_grad(prediction, y, shards)
            self._check(value)
        elif isinstance(self.criterion, ExpressionLoss):
            value, d_output = self.criterion.value_and_grad(prediction, y)
            self._check(value)
        else:
            result = self._python_loss(prediction, y)
            if result is None:
                return None
            value, d_output = result
            self._check(value)
            self._check_gradient(d_output)
        gradients: list[list[Tensor | None]] = []
        for output, a, b in zip(outputs, ends, ends[1:], strict=False):
            if output is not None:
                output.backward(d_output[a:b])
            gradients.append([parameter.grad for parameter in self._model.parameters()])
            self._model.zero_grad()
        while len(gradients) > 1:
            gradients = [_added(a, b) for a, b in zip(gradients[::2], gradients[1::2], strict=True)]
        for parameter, gradient in zip(self._model.parameters(), gradients[0], strict=True):
            parameter.grad = gradient
        return value

    def _check_gradient(self, d_output: Array) -> None:
        if not np.isfinite(d_output).all():
            self._check_parameters(
                self.epochs_done, self.steps_done, "the gradient of the loss is not finite"
            )

    def _check(self, value: float) -> None:
        if isfinite(value):
            return
        self._check_parameters(self.epochs_done, self.steps_done, f"the loss is {value}")

    def _check_parameters(self, epoch: int, step: int, found: str) -> None:
        """Raise when a parameter is not finite, or when something else was `found`."""
        bad = next(
            (n for n, p in self._model.named_parameters() if not np.isfinite(p.numpy()).all()),
            None,
        )
        if bad is not None:
            found = f"parameter {bad} is not finite"
            if self._restore:
                self._rewind()
        if found:
            epoch += self._first_epoch
            raise NonFiniteError(f"epoch {epoch}, step {step}: {found}; {ADVICE}", epoch, step, bad)

    def _rewind(self) -> None:
        if self._snapshot is None:
            return
        parameters, state = self._snapshot
        for parameter, values in zip(self._model.parameters(), parameters, strict=True):
            parameter.copy_(values)
        self._optimizer._native.load_state(state)

    def _state(self) -> tuple[list[Array], list[dict[str, Any]]]:
        parameters = [to_array(parameter) for parameter in self._model.parameters()]
        return parameters, self._optimizer._native.state()


def _added(left: list[Tensor | None], right: list[Tensor | None]) -> list[Tensor | None]:
    """Sums of two shards' gradients, in `left`; where one has none they are the other's."""
    for one, other in zip(left, right, strict=True):
        if one is not None and other is not None:
            _schuss.add_gradient(one, other)
    return [other if one is None else one for one, other in zip(left, right, strict=True)]

# SPDX-License-Identifier: MIT
"""Training over whole data sets, natively where that is possible."""

from __future__ import annotations

import contextlib
import operator
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from schuss import _schuss
from schuss._busy import claim
from schuss._chains import network_for
from schuss._grad_mode import enable_grad
from schuss._interrupts import Interrupts
from schuss._options import as_count, as_flag, as_seed, known_options, type_name
from schuss._random import seed_from
from schuss._recording import Criterion, ExpressionLoss, as_criterion, native_loss, recorded_for
from schuss._steps import ADVICE, StepLoop
from schuss._trials import batch_sizes, rows_in
from schuss.data import as_array
from schuss.errors import NonFiniteError
from schuss.evaluation import (
    check_criterion,
    check_model,
    evaluate,
    named_metrics,
    naming,
    predict,
    thread_count,
    training_mode,
)
from schuss.history import History
from schuss.nn.native import network_of
from schuss.optim import Optimizer
from schuss.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

if TYPE_CHECKING:
    from schuss._schuss import Parameter
    from schuss._typing import Metric, TensorLike
    from schuss.nn.module import Module

__all__ = ["fit"]

_FOREVER = float("inf")
_REDRAW_SECONDS = 0.1


@known_options
def fit(
    model: Module,
    criterion: Criterion,
    optimizer: Optimizer,
    X: TensorLike,
    y: TensorLike,
    *,
    epochs: int = 1,
    batch_size: int | None = 32,
    shuffle: bool = True,
    drop_last: bool = False,
    seed: int | None = None,
    validation_data: tuple[TensorLike, TensorLike] | None = None,
    metrics: Sequence[str | Metric] | None = None,
    progress: bool | None = None,
    callback: Callable[[int, History], Any] | None = None,
    scheduler: LRScheduler | None = None,
    keep_last_finite: bool = True,
    num_threads: int | None = None,
    shards: int = 1,
) -> History:
    """Train a model; the whole loop is one native call.

    The result has the bits of the same loop written out with `DataLoader`, ``backward()`` and
    ``step()``. The optimizer remembers how far it got: a second call goes on with the next epoch's
    shuffling, and after an interruption with the next step.

    Parameters
    ----------
    model : nn.Module
        Trained in training mode; the mode is put back afterwards. ``.grad`` stays as it was. A
        ``forward()`` of its own is run on a few rows first: where it is a chain of layers and
        activations, the same for all data, it trains natively too.
    criterion : nn loss, or callable (prediction, target) -> Tensor or (value, d_prediction)
        A function of Tensors that returns one number as a Tensor is recorded once, as by
        `compile`, and runs natively; where it cannot be recorded it trains step by step, with the
        same result. With one output the target has the prediction's shape (n, 1). A function of
        arrays that returns the value and its gradient trains step by step. Functions are called
        with arrays first: those that return something else, or raise, are taken for functions of
        Tensors. These are called a few times before training begins, so one that counts its calls
        counts those too; what it draws at random there is taken back.
    optimizer : optim.Optimizer
        Of parameters of this model; other parameters of the model stay fixed.
    X : array-like of shape (n, features)
        Any real dtype, order or strides, also memory-mapped; converted in flight, never copied
        whole.
    y : array-like of shape (n,) or (n, columns)
        Class indices or numbers, as the loss takes them.
    epochs : int, default 1
        Passes over the data, 1 or more.
    batch_size : int or None, default 32
        Rows of a step; None takes all rows at once. Memory does not grow with it.
    shuffle : bool, default True
        A new order each epoch, from (seed, epoch). One batch of all rows (``batch_size=None``) is
        taken in the order of the rows.
    drop_last : bool, default False
        Leave a shorter last batch out.
    seed : int, optional
        Of the shuffling. By default the optimizer's first `fit` draws one from
        `schuss.manual_seed`'s state, and later ones keep it.
    validation_data : pair (X, y), optional
        Evaluated after every epoch.
    metrics : list of "accuracy" or callables (prediction, target) -> value, optional
        Computed after every epoch, on the validation data or else on the training data.
    progress : bool, optional
        Show a progress bar; by default on a terminal only.
    callback : callable (epoch, history), optional
        Called after every epoch, counted from 0 in this call; a true result stops training.
    scheduler : optim.lr_scheduler.LRScheduler, optional
        Of this optimizer; takes a step after every epoch, before the callback.
        `ReduceLROnPlateau` looks at the validation loss, or else at the training loss.
    keep_last_finite : bool, default True
        When parameters overflow, put those of the epoch's start back.
    num_threads : int, optional
        Threads for this call; by default as `schuss.set_num_threads` says.
    shards : {1, 2, 4, 8}, default 1
        Cut each batch of n rows into row ranges: shard s is rows ``ceil(s*n / shards)`` up to
        ``ceil((s+1)*n / shards)``. Their gradients and losses are summed apart and then pairwise,
        ``((0+1)+(2+3))+...``, so that processes which share the ranges get the bits of one. Another
        number of shards gives other last bits. A model with a ``forward()`` of its own sees a
        shard at a time.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind, shape or range; nothing has changed.
    NonFiniteError
        The loss or a parameter became infinite or NaN.
    RuntimeError
        Another thread is using the model.

    Examples
    --------
    >>> import numpy as np
    >>> import schuss
    >>> from schuss import nn, optim
    >>> X = np.linspace(-1, 1, 64).reshape(-1, 1)
    >>> model = nn.Linear(1, 1)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
    >>> history = schuss.fit(model, nn.MSELoss(), optimizer, X, 2 * X + 1, epochs=200, seed=0)
    >>> f"{model.weight.item():.3f} {model.bias.item():.3f}"
    '2.000 1.000'
    """
    check_model(model)
    check_criterion(criterion)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: got {type_name(optimizer)}; expected one of schuss.optim")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: got {type_name(callback)}; expected a callable")
    _check_scheduler(scheduler, optimizer)
    n_epochs = as_count(epochs, "epochs")
    options = {
        "batch_size": None if batch_size is None else as_count(batch_size, "batch_size"),
        "shuffle": as_flag(shuffle, "shuffle"),
        "drop_last": as_flag(drop_last, "drop_last"),
        "restore": as_flag(keep_last_finite, "keep_last_finite"),
        "shards": _as_shards(shards),
    }
    chosen_seed = None if seed is None else as_seed(seed)
    show = sys.stderr.isatty() if progress is None else as_flag(progress, "progress")
    measured = named_metrics(metrics)
    validation = _checked_pair(validation_data)
    own = list(model.parameters())
    _check_ownership(model, own, optimizer, X)

    with claim(own, "fit"), thread_count(num_threads), training_mode(model):
        with _unchanged_on_error(optimizer):
            criterion = as_criterion(criterion)
            watched = callback is not None
            run = _Run(model, criterion, optimizer, X, y, options, chosen_seed, watched)
            judge = None  # what the scheduler does with the validation loss
            if isinstance(scheduler, ReduceLROnPlateau) and validation is not None:
                judge = scheduler.step
            run.scheduler = scheduler if judge is None else None
            if validation is not None:
                with naming("validation_data"):
                    evaluate(model, criterion, *validation)  # errors come first
        with enable_grad(), _bar(show, n_epochs) as advance:
            each_epoch = bool(validation or measured or callback or scheduler)
            slice_seconds = _REDRAW_SECONDS if show else _FOREVER
            run.train(
                n_epochs,
                each_epoch,
                slice_seconds,
                advance,
                lambda history: _after_epoch(
                    model,
                    criterion,
                    (X, y),
                    validation,
                    measured,
                    judge,
                    callback,
                    history,
                ),
            )
    return run.history


class _unchanged_on_error:  # noqa: N801  (used like a function)
    """Take back what getting ready changes: the seeds drawn, and where the optimizer is."""

    __slots__ = ("_entered", "_memory", "_progress", "_seeds")

    def __init__(self, optimizer: Optimizer) -> None:
        self._entered = False
        self._memory = optimizer._progress
        self._seeds, self._progress = _schuss.seed_state(), dict(self._memory)

    def __enter__(self) -> None:
        self._entered = True

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is not None:
            _schuss.set_seed_state(*self._seeds)
            self._memory.update(self._progress)
        self._entered = False

    def __del__(self) -> None:
        if self._entered:  # a second Ctrl-C came before __exit__ began
            self.__exit__(KeyboardInterrupt)


class _Run:
    """The loops of one call of `fit`, and what the optimizer remembers of them."""

    def __init__(
        self,
        model: Module,
        criterion: Criterion,
        optimizer: Optimizer,
        X: TensorLike,
        y: TensorLike,
        options: dict[str, Any],
        seed: int | None,
        watched: bool,
    ) -> None:
        self._model, self._criterion, self._optimizer = model, criterion, optimizer
        self._is_watched = watched  # by a callback, which may change anything
        self._X, self._y, self._options = X, y, options
        self._interrupts = Interrupts()
        memory = optimizer._progress
        before = memory["seed"]
        self._seed = seed if seed is not None else before
        if self._seed is None:
            self._seed = seed_from(None)
        self._network: _schuss.Network | None = None  # of a native loop
        self._built_from: list[Any] | None = None  # what it was made of, where that may change
        self._loop = self._make(memory["epoch"], 0)
        steps = self._loop.steps_per_epoch
        # Go on inside an interrupted epoch when it is the same one.
        same = before == self._seed and memory["steps"] == steps
        self._first_step = memory["step"] if same else 0
        memory.update(seed=self._seed, step=self._first_step, steps=steps)
        n_rows = len(X) if hasattr(X, "__len__") else len(as_array(X))
        if options["drop_last"] and options["batch_size"] is not None:
            n_rows = steps * options["batch_size"]
        self.history = History(n_rows)
        self.scheduler: LRScheduler | None = None

    def _make(self, epoch: int, step: int) -> _schuss.Trainer | StepLoop:
        batch, drop_last = self._options["batch_size"], self._options["drop_last"]
        sizes = batch_sizes(rows_in(self._X), batch, drop_last)
        network = network_for(self._model, self._X, training=True, sizes=sizes)
        common = {**self._options, "seed": self._seed, "first_epoch": epoch}
        common["first_step"] = step
        self._criterion = recorded_for(
            self._criterion, self._model, predict, self._X, self._y, sizes
        )
        loss = native_loss(self._criterion)
        self._built_from = None
        native = self._optimizer._native
        if network is not None and loss is not None and network.holds_all_of(native):
            self._network = network
            self._built_from = self._parts() if self._is_watched else None
            return _schuss.Trainer(network, loss, native, self._X, self._y, **common)
        common["interrupts"] = self._interrupts
        return StepLoop(self._model, self._criterion, self._optimizer, self._X, self._y, **common)

    def _parts(self) -> list[Any]:
        """What a native loop takes over when it is made, and a callback may exchange."""
        parameters = self._optimizer._parameters()
        frozen = [p for p in self._model.parameters() if not p.requires_grad]
        network, loss = network_of(self._model, self._X), native_loss(self._criterion)
        return [network, loss, *parameters, None, *frozen]

    def _is_outdated(self) -> bool:
        """Whether a callback may have changed what the present loop does not look at again."""
        if self._built_from is None:
            return False  # step by step: everything is looked at in every step
        before, now = self._built_from, self._parts()
        recorded = now[0] is None or isinstance(self._criterion, ExpressionLoss)
        same = len(before) == len(now) and all(map(operator.is_, before, now))
        return recorded or not same

    def train(
        self,
        n_epochs: int,
        each_epoch: bool,
        slice_seconds: float,
        advance: Callable[[int], object],
        after_epoch: Callable[[History], bool],
    ) -> None:
        """Run the loops until the epochs are done or something stops them."""
        if self._first_step > 0:
            self._loop = self._make(self._optimizer._progress["epoch"], self._first_step)
        # The native loop asks for signals itself, between steps; a callback may end it.
        python = isinstance(self._loop, StepLoop) or self._is_watched
        with self._interrupts if python else contextlib.nullcontext():
            self._drive(n_epochs, each_epoch, slice_seconds, advance, after_epoch)

    def _drive(
        self,
        n_epochs: int,
        each_epoch: bool,
        slice_seconds: float,
        advance: Callable[[int], object],
        after_epoch: Callable[[History], bool],
    ) -> None:
        """Run the present loop."""
        loop, memory, history = self._loop, self._optimizer._progress, self.history
        interrupts = self._interrupts
        first = memory["epoch"]
        seconds = 0.0  # since the last epoch that was finished
        try:
            while loop.epochs_done < n_epochs:
                seen = loop.epochs_done
                begin = time.perf_counter()
                try:
                    if loop.run(seen + 1 if each_epoch else n_epochs, slice_seconds) == "recorded":
                        # Nothing has happened but that the first batch showed what the loss is.
                        self._criterion = cast("StepLoop", loop).criterion
                        loop = self._loop = self._make(memory["epoch"], memory["step"])
                        continue
                finally:
                    # Also where a signal came with the last step: the next call goes on from here.
                    interrupts.held = True
                    memory.update(epoch=first + loop.epochs_done, step=loop.steps_done)
                    seconds += time.perf_counter() - begin
                    if loop.epochs_done > seen:
                        history.extend(loop.losses_from(seen), seconds)
                        seconds = 0.0
                        self._step_scheduler()
                    interrupts.release()
                advance(loop.epochs_done - seen)
                if not each_epoch or loop.epochs_done == seen:
                    continue
                if after_epoch(history):
                    history.stopped = "callback"
                    return
                if self._is_watched and loop.epochs_done < n_epochs and self._is_outdated():
                    n_epochs -= loop.epochs_done
                    first = memory["epoch"]
                    if isinstance(self._criterion, ExpressionLoss):
                        self._criterion = self._criterion.forgotten()
                    loop = self._loop = self._make(first, 0)
        except KeyboardInterrupt:
            history.stopped = "interrupted"
            raise
        except (_schuss.NonFinite, NonFiniteError) as error:
            history.stopped = "not finite"
            memory["step"] = 0
            if isinstance(error, NonFiniteError):
                raise
            raise self._non_finite(first, *error.args) from None

    def _step_scheduler(self) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(self.history.loss[-1])
        elif self.scheduler is not None:
            self.scheduler.step()

    def _non_finite(
        self, first: int, found: str, epoch: int, step: int, parameter: int
    ) -> NonFiniteError:
        name = None
        if parameter >= 0 and self._network is not None:
            odd = self._network.parameters[parameter]
            names = self._model.named_parameters()
            name = next((name for name, p in names if p is odd), None)
            found = f"parameter {name} is not finite"
        place = f"epoch {first + epoch}, step {step}"
        return NonFiniteError(f"{place}: {found}; {ADVICE}", first + epoch, step, name)


# ---- arguments -----------------------------------------------------------------------------------


def _as_shards(value: Any) -> int:
    shards = as_count(value, "shards")
    if shards not in (1, 2, 4, 8):
        raise ValueError(f"shards: got {shards}; expected 1, 2, 4 or 8")
    return shards


def _check_ownership(
    model: Module, parameters: Sequence[Parameter], optimizer: Optimizer, X: TensorLike
) -> None:
    network = network_of(model, X)
    if network is not None and network.holds_all_of(optimizer._native):
        return
    own = {id(parameter) for parameter in parameters}
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            if id(parameter) not in own:
                raise ValueError(
                    f"optimizer: a parameter of shape {parameter.shape} in group {number} is not "
                    "one of the model's; build the optimizer from model.parameters()"
                )


def _check_scheduler(scheduler: Any, optimizer: Optimizer) -> None:
    if scheduler is None:
        return
    if not isinstance(scheduler, LRScheduler):
        raise TypeError(
            f"scheduler: got {type_name(scheduler)}; expected one of schuss.optim.lr_scheduler"
        )
    if scheduler.optimizer is not optimizer:
        raise ValueError("scheduler: it is another optimizer's; make it from the one given to fit")


def _checked_pair(pair: Any) -> tuple[TensorLike, TensorLike] | None:
    if pair is None:
        return None
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"validation_data: got {type_name(pair)}; expected the pair (X, y)")
    return pair[0], pair[1]


# ---- around the loops ----------------------------------------------------------------------------


def _bar(show: bool, n_epochs: int) -> contextlib.AbstractContextManager[Callable[[int], object]]:
    """A bar, or nothing, to be told of epochs done."""
    if not show:
        return contextlib.nullcontext(_ignore)
    return _shown_bar(n_epochs)


def _ignore(done: int) -> None:
    del done


@contextlib.contextmanager
def _shown_bar(n_epochs: int) -> Iterator[Callable[[int], object]]:
    from tqdm import tqdm

    with tqdm(total=n_epochs, unit="epoch") as bar:
        yield bar.update


def _after_epoch(
    model: Module,
    criterion: Criterion,
    training: tuple[TensorLike, TensorLike],
    validation: tuple[TensorLike, TensorLike] | None,
    metrics: list[tuple[str, Metric | None]],
    judge: Callable[[float], None] | None,
    callback: Callable[[int, History], Any] | None,
    history: History,
) -> bool:
    if validation is not None or metrics:
        data = training if validation is None else validation
        asked = ["accuracy" if metric is None else metric for _, metric in metrics]
        found = evaluate(model, criterion, *data, metrics=asked)
        if validation is not None:
            history.val_loss.append(found["loss"])
        for name, _ in metrics:
            history.metrics.setdefault(name, []).append(found[name])
    if judge is not None:
        judge(history.val_loss[-1])
    return callback is not None and bool(callback(history.epochs - 1, history))

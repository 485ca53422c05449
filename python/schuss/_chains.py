# SPDX-License-Identifier: MIT
"""Models with a forward() of their own that are chains of layers all the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from schuss._grad_mode import enable_grad, no_grad
from schuss._recording import place_of
from schuss._schuss import ChainRecording, Network, Tensor, recorded_chain, tensor
from schuss._trials import example_sizes, trial
from schuss.data import as_rows
from schuss.errors import RecordingError
from schuss.nn.native import network_of

if TYPE_CHECKING:
    from schuss._typing import Array, TensorLike
    from schuss.nn.module import Module

__all__ = ["compile_model", "network_for", "record_chain", "training_mode"]

_EXAMPLE_ROWS = 64
_Model = TypeVar("_Model", bound="Module")


class training_mode:  # noqa: N801  (used like a function)
    """Put every module in training or evaluation mode, and back to its own afterwards."""

    __slots__ = ("_before", "_mode", "_model")

    def __init__(self, model: Module, mode: bool = True) -> None:
        self._model, self._mode = model, mode
        self._before: list[tuple[Module, bool]] = []

    def __enter__(self) -> None:
        self._before = [(module, module.training) for module in self._model.modules()]
        for _, training in self._before:
            if training != self._mode:
                self._model.train(self._mode)
                break

    def __exit__(self, *error: object) -> None:
        for module, training in self._before:
            if module.training != training:
                module.training = training
        self._before = []

    def __del__(self) -> None:
        if self._before:  # a second Ctrl-C came before __exit__ began
            self.__exit__()


def network_for(
    model: Module, X: TensorLike, *, training: bool, sizes: tuple[int, int] | None = None
) -> Network | None:
    """The native network of a model for data like `X`; None where it has to be called.

    `sizes` are those of the batches; None: all rows at once.
    """
    network = network_of(model, X)
    if network is not None or next(iter(model.parameters()), None) is None:
        return network
    try:
        rows = as_rows(X, "X")
        if rows.ndim != 2:
            return None
        sizes = (len(rows), len(rows)) if sizes is None else sizes
        return record_chain(model, rows[:_EXAMPLE_ROWS], training=training, sizes=sizes)
    except Exception:  # noqa: BLE001  (the call that follows says what is wrong)
        return None


def compile_model(model: _Model, example: TensorLike) -> _Model:
    """The model, when its ``forward()`` can be recorded; RecordingError where it cannot."""
    rows = as_rows(example.detach().numpy() if isinstance(example, Tensor) else example, "x")
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"example_inputs: got shape {rows.shape}; expected (n, features), n >= 2")
    if network_of(model, rows) is None:
        if next(iter(model.parameters()), None) is None:
            raise RecordingError(f"{type(model).__name__}: there are no parameters to train")
        record_chain(model, rows, training=model.training, sizes=(len(rows), len(rows) + 1))
    return model


def record_chain(model: Module, rows: Array, *, training: bool, sizes: tuple[int, int]) -> Network:
    """The network that ``forward()`` is; RecordingError where it is none."""
    dtype = next(iter(model.parameters())).dtype
    rows = rows.astype(dtype)
    size, other = example_sizes(sizes, rows.shape[1])
    with trial(model), _put_back(model):
        first = _run(model, rows[np.arange(size) % len(rows)], training)
        second = _run(model, rows[np.arange(other)[::-1] % len(rows)], training)
    try:
        return recorded_chain(first, second)
    except RuntimeError as error:
        raise RecordingError(f"{type(model).__name__}: {error}") from None


@contextlib.contextmanager
def _put_back(model: Module) -> Iterator[None]:
    """Take back what ``forward()`` writes to parameters and buffers, and refuse it."""
    tensors = [*model.parameters(), *model.buffers()]
    before = [t.detach().numpy().copy() for t in tensors]
    changed = False
    try:
        yield
    finally:
        for t, values in zip(tensors, before, strict=True):
            if not np.array_equal(t.detach().numpy(), values, equal_nan=values.dtype.kind == "f"):
                changed = True
                with no_grad():
                    t.copy_(values)
    if changed:
        name = type(model).__name__
        raise RecordingError(f"{name}: forward() writes to parameters or buffers")


def _run(model: Module, rows: Array, training: bool) -> ChainRecording:
    x = tensor(rows)
    with enable_grad() if training else no_grad():
        return _run_on(model, x, training)


def _run_on(model: Module, x: Tensor, training: bool) -> ChainRecording:
    recording = ChainRecording(x)
    try:
        with training_mode(model, training):
            recording.run(model, x)
    except Exception as error:
        if not recording.refusal:
            raise
        place = place_of(error, type(model).__name__)
        raise RecordingError(f"{place}: {recording.refusal}") from None
    if recording.refusal:
        raise RecordingError(f"{type(model).__name__}: {recording.refusal}")
    return recording

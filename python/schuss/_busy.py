# SPDX-License-Identifier: MIT
"""One thread at a time for the parameters of a model."""

from __future__ import annotations

from _thread import allocate_lock, get_ident  # threading itself is slow to import
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schuss._schuss import Parameter

__all__ = ["claim"]

_lock = allocate_lock()
_owners: dict[int, int] = {}  # id of a parameter -> the thread that works on it


class claim:  # noqa: N801  (used like a function)
    """Keep other threads from changing these parameters inside a ``with`` block.

    The thread that holds a parameter may claim it again: a callback may load a state dict.
    Parameters are claimed rather than models, because models share layers.
    """

    __slots__ = ("_fresh", "_held", "_what")

    def __init__(self, parameters: Iterable[Parameter], what: str) -> None:
        self._fresh: list[int] = []
        # Alive as long as the claim, so ids stay theirs.
        self._held = {id(parameter): parameter for parameter in parameters}
        self._what = what

    def __enter__(self) -> None:
        thread = get_ident()
        with _lock:
            if not _owners:
                self._fresh = list(self._held)
            elif any(_owners.get(key, thread) != thread for key in self._held):
                raise RuntimeError(
                    f"{self._what}: the model is in use by another thread; use one model from one "
                    "thread at a time (different models may train side by side)"
                )
            else:
                self._fresh = [key for key in self._held if key not in _owners]
            _owners.update(dict.fromkeys(self._fresh, thread))

    def __exit__(self, *error: object) -> None:
        while self._fresh:  # no lock: what is given back can only let others in
            _owners.pop(self._fresh.pop(), None)

    def __del__(self) -> None:
        if self._fresh:  # a second Ctrl-C came before __exit__ began
            self.__exit__()

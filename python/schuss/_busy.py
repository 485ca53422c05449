# SPDX-License-Identifier: MIT
"""One thread at a time for the parameters of a model."""

from __future__ import annotations

import contextlib
from _thread import allocate_lock, get_ident  # threading itself is slow to import
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schuss._schuss import Parameter

__all__ = ["claim"]

_lock = allocate_lock()
_owners: dict[int, int] = {}  # id of a parameter -> the thread that works on it


@contextlib.contextmanager
def claim(parameters: Iterable[Parameter], what: str) -> Iterator[None]:
    """Keep other threads from changing these parameters inside the block.

    The thread that holds a parameter may claim it again: a callback may load a state dict.
    Parameters are claimed rather than models, because models share layers.
    """
    thread = get_ident()
    held = {id(parameter): parameter for parameter in parameters}  # alive, so ids stay theirs
    with _lock:
        if any(_owners.get(key, thread) != thread for key in held):
            raise RuntimeError(
                f"{what}: the model is in use by another thread; use one model from one thread at "
                "a time (different models may train side by side)"
            )
        fresh = [key for key in held if key not in _owners]
        _owners.update(dict.fromkeys(fresh, thread))
    try:
        yield
    finally:
        with _lock:
            for key in fresh:
                del _owners[key]

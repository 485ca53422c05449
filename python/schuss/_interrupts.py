# SPDX-License-Identifier: MIT
"""Ctrl-C at a boundary: a signal that comes while something must not stop halfway waits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Interrupts"]


class Interrupts:
    """In a ``with`` block, SIGINT waits while `held` is True; `release` hands it on.

    Python runs handlers in its main thread, between calls; in other threads, and where SIGINT has
    no handler in Python, there is nothing to do.

    Attributes
    ----------
    held : bool
        To be assigned, not called: no signal can come in between.
    """

    def __init__(self) -> None:
        self.held = False
        self._waiting: tuple[int, FrameType | None] | None = None
        self._before: Callable[[int, FrameType | None], Any] | None = None

    def __enter__(self) -> Interrupts:
        self.held, self._waiting = False, None
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._before)
        self.release()

    def release(self) -> None:
        """End the wait: a signal that came in the meantime takes effect here."""
        self.held = False
        if self._waiting is not None and self._before is not None:
            waiting, self._waiting = self._waiting, None
            self._before(*waiting)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.held:
            self._waiting = (number, frame)
        elif self._before is not None:
            self._before(number, frame)

# SPDX-License-Identifier: MIT
"""Checks that options of the public functions share."""

from __future__ import annotations

import functools
import numbers
import operator
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

__all__ = [
    "as_count",
    "as_dtype",
    "as_flag",
    "as_number",
    "as_seed",
    "check_device",
    "known_options",
    "type_name",
]

P = ParamSpec("P")
R = TypeVar("R")


def type_name(value: object) -> str:
    """Name of the type, for messages; with its module where it is another library's."""
    kind = type(value)
    own = kind.__module__ == "builtins" or kind.__module__.partition(".")[0] == "schuss"
    return kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}"


def known_options(function: Callable[P, R]) -> Callable[P, R]:
    """Make an unknown keyword a TypeError that names the options there are."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    valid = frozenset(names)
    owner = function.__qualname__.removesuffix(".__init__")
    listed = ", ".join(name for name in names if name != "self")

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if not valid.issuperset(kwargs):
            unknown = ", ".join(repr(name) for name in kwargs if name not in valid)
            raise TypeError(f"{owner}: unknown option {unknown}; expected one of {listed}")
        return function(*args, **kwargs)

    return checked


def as_number(value: Any, name: str) -> float:
    """A real number as a float; its range is for others to check."""
    if not isinstance(value, (bool, np.bool_)) and isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"{name}: got {type_name(value)} {value!r}; expected a number")


def as_flag(value: Any, name: str) -> bool:
    """True or False, and nothing that merely looks like it."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name}: got {type_name(value)} {value!r}; expected True or False")


def as_count(value: Any, name: str, *, least: int = 1) -> int:
    """An integer that is at least `least`."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: got {value!r}; expected an integer")
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: got {type_name(value)} {value!r}; expected an integer") from None
    if count < least:
        raise ValueError(f"{name}: got {count}; expected an integer that is {least} or more")
    return count


def as_seed(value: Any, name: str = "seed") -> int:
    """An integer of 0 to 2**64 - 1."""
    seed = as_count(value, name, least=0)
    if seed >= 2**64:
        raise ValueError(f"{name}: got {seed}; expected an integer below 2**64")
    return seed


def as_dtype(dtype: Any) -> str:
    """``"float32"`` or ``"float64"``; None means float32."""
    if dtype is None:
        return "float32"
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is not None and found.isnative and found.name in ("float32", "float64"):
        return str(found.name)
    raise TypeError(f"dtype: got {dtype!r}; expected schuss.float32 or schuss.float64")


def check_device(device: Any) -> None:
    """Raise unless the device is None or the CPU: there is no other."""
    if device is not None and str(device) != "cpu":
        raise ValueError(f'device: got {device!r}; expected None or "cpu", which is all there is')

# SPDX-License-Identifier: MIT
"""How tensors print: four decimals, columns aligned, long tensors shortened, as PyTorch prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from schuss._schuss import Tensor

__all__ = ["text"]

PRECISION = 4
THRESHOLD = 1000  # more elements than this are shortened
EDGE = 3  # elements at either end of a shortened dimension
WIDTH = 80


def text(tensor: Tensor) -> str:
    """The text of ``repr(tensor)``.

    Examples
    --------
    >>> import schuss
    >>> schuss.tensor([[1.0, 2.5], [-3.0, 4.0]], requires_grad=True)
    tensor([[ 1.0000,  2.5000],
            [-3.0000,  4.0000]], requires_grad=True)
    """
    values = np.asarray(tensor.detach())
    is_parameter = type(tensor).__name__ == "Parameter"
    prefix = "Parameter containing:\ntensor(" if is_parameter else "tensor("
    indent = len("tensor(")
    if values.size == 0:
        body = "[]"
    else:
        summarize = values.size > THRESHOLD
        body = _body(values, _formatter(_shown(values, summarize)), indent, summarize)
    suffixes = []
    if values.size == 0 and values.ndim != 1:
        suffixes.append(f"size={tuple(values.shape)}")
    if values.dtype == np.float64 or (values.size == 0 and values.dtype == np.int64):
        suffixes.append(f"dtype=schuss.{values.dtype.name}")
    if tensor.grad_fn is not None:
        suffixes.append(f"grad_fn={tensor.grad_fn!r}")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    return prefix + _with_suffixes(body, suffixes, indent)


def _with_suffixes(body: str, suffixes: list[str], indent: int) -> str:
    last_line = indent + len(body) - (body.rfind("\n") + 1)
    for suffix in suffixes:
        if last_line + len(suffix) + 2 > WIDTH:
            body += ",\n" + " " * indent + suffix
            last_line = indent + len(suffix)
        else:
            body += ", " + suffix
            last_line += len(suffix) + 2
    return body + ")"


def _shown(values: NDArray[np.generic], summarize: bool) -> NDArray[np.generic]:
    """The elements that will be printed."""
    if not summarize:
        return values.reshape(-1)
    for axis, size in enumerate(values.shape):
        if size > 2 * EDGE:
            kept = [*range(EDGE), *range(size - EDGE, size)]
            values = np.take(values, kept, axis=axis)
    return values.reshape(-1)


def _formatter(shown: NDArray[np.generic]) -> Callable[[object], str]:
    """A function from element to text, all texts of one width."""
    if shown.dtype.kind != "f":
        plain = [str(x) for x in shown.tolist()]
        width = max(map(len, plain))
        return lambda x: str(x).rjust(width)
    numbers: list[float] = shown.tolist()
    style = _float_style(numbers)
    # As in PyTorch, infinities, NaNs and zeros do not widen the columns.
    width = max((len(style(x)) for x in numbers if np.isfinite(x) and x != 0.0), default=1)
    return lambda x: style(x).rjust(width)  # type: ignore[arg-type]


def _float_style(numbers: list[float]) -> Callable[[float], str]:
    sizes = [abs(x) for x in numbers if np.isfinite(x) and x != 0.0]
    if not sizes:
        whole, scientific = True, False
    else:
        large, small = max(sizes), min(sizes)
        whole = all(x == np.trunc(x) for x in sizes)
        if whole:
            scientific = (large / small > 1000.0 and large > 1.0e8) or large > 1.0e8
        else:
            scientific = large / small > 1000.0 or large > 1.0e8 or small < 1.0e-4
    if scientific:
        return lambda x: f"{x:.{PRECISION}e}"
    if whole:
        return lambda x: f"{x:.0f}." if np.isfinite(x) else f"{x:.0f}"
    return lambda x: f"{x:.{PRECISION}f}"


def _body(
    values: NDArray[np.generic], style: Callable[[object], str], indent: int, summarize: bool
) -> str:
    if values.ndim == 0:
        return style(values.item())
    shorten = summarize and len(values) > 2 * EDGE
    if values.ndim == 1:
        return _row(values, style, indent, shorten)
    rows = [*values[:EDGE], ..., *values[-EDGE:]] if shorten else [*values]
    parts = [
        "..." if row is ... else _body(np.asarray(row), style, indent + 1, summarize)
        for row in rows
    ]
    between = "," + "\n" * (values.ndim - 1) + " " * (indent + 1)
    return "[" + between.join(parts) + "]"


def _row(
    values: NDArray[np.generic], style: Callable[[object], str], indent: int, shorten: bool
) -> str:
    shown = values.tolist()
    if shorten:
        texts = [
            *map(style, shown[:EDGE]),
            " ...",
            *map(style, shown[-EDGE:]),
        ]
    else:
        texts = [style(x) for x in shown]
    per_line = max(1, (WIDTH - indent) // (len(texts[0]) + 2))
    lines = [", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"

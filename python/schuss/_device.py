# SPDX-License-Identifier: MIT
"""The one device there is, for programs that ask."""

from __future__ import annotations

from schuss._options import check_device

__all__ = ["cuda", "device"]


class device:  # noqa: N801  (PyTorch's name)
    """``device("cpu")``; no other exists here.

    Examples
    --------
    >>> import schuss
    >>> schuss.device("cuda" if schuss.cuda.is_available() else "cpu")
    device(type='cpu')
    """

    type = "cpu"

    def __init__(self, name: str = "cpu") -> None:
        check_device(name)

    def __str__(self) -> str:
        return "cpu"

    def __repr__(self) -> str:
        return "device(type='cpu')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device)

    def __hash__(self) -> int:
        return hash("cpu")


class cuda:  # noqa: N801  (PyTorch's name)
    """What programs ask before they choose a device."""

    @staticmethod
    def is_available() -> bool:
        """No: schuss runs on the CPU."""
        return False

# SPDX-License-Identifier: MIT
"""Seeds: the process-wide one, and generators of one's own."""

from __future__ import annotations

from typing import Any

from schuss import _schuss
from schuss._options import as_seed, type_name

__all__ = ["Generator", "manual_seed", "seed_from"]

_MASK = 2**64 - 1


def manual_seed(seed: int) -> None:
    """Set the seed that initialisation and shuffling start from where no other is given.

    Parameters
    ----------
    seed : int
        0 to 2**64 - 1. The same seed, followed by the same calls, gives the same bits on every
        machine.

    Raises
    ------
    TypeError
        `seed` is not an integer.
    ValueError
        `seed` is negative or needs more than 64 bits.

    Examples
    --------
    >>> import schuss
    >>> schuss.manual_seed(7)
    >>> first = schuss.nn.Linear(2, 1).weight.tolist()
    >>> schuss.manual_seed(7)
    >>> schuss.nn.Linear(2, 1).weight.tolist() == first
    True
    """
    _schuss.seed_everything(as_seed(seed))


class Generator:
    """A source of seeds, apart from the process-wide one.

    Each draw mixes the seed and the number of draws so far with the finaliser of SplitMix64
    (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): integers only.

    Parameters
    ----------
    seed : int, default 0
        0 to 2**64 - 1.

    Examples
    --------
    >>> from schuss import Generator
    >>> Generator(1).draw() == Generator().manual_seed(1).draw()
    True
    """

    def __init__(self, seed: int = 0) -> None:
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from `seed`; returns the generator itself."""
        self._seed = as_seed(seed)
        self._draws = 0
        return self

    def initial_seed(self) -> int:
        """The seed that the generator started from."""
        return self._seed

    def draw(self) -> int:
        """The next seed, 0 to 2**64 - 1."""
        self._draws += 1
        z = (self._seed + self._draws * 0x9E3779B97F4A7C15) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)


def seed_from(generator: Any) -> int:
    """A seed from a `Generator`, an integer, or (None) the process-wide state."""
    if generator is None:
        return _schuss.next_seed()
    if isinstance(generator, Generator):
        return generator.draw()
    if isinstance(generator, int) and not isinstance(generator, bool):
        return as_seed(generator, "generator")
    raise TypeError(
        f"generator: got {type_name(generator)}; expected a schuss.Generator, an integer or None"
    )

# SPDX-License-Identifier: MIT
"""What the machine could do at best, measured in the same run as the times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from cases import Problem

SMALL_BYTES = 1 << 20
REPEATS = 5  # the best of: a bound is what the machine can do, not what it usually does


@dataclasses.dataclass(frozen=True)
class Bound:
    """The least time of one unit of a case, and what sets it."""

    seconds: float
    reason: str


def _testing() -> Any:
    """Return the probes of the extension.

    Raises
    ------
    ImportError
        Where schuss, or its test hooks, are missing.
    """
    from schuss import _schuss

    if not hasattr(_schuss, "testing") or not hasattr(_schuss.testing, "peak_fma"):
        msg = "schuss._schuss.testing has no probes; build schuss with its test hooks"
        raise ImportError(msg)
    return _schuss.testing


class Hardware:
    """Probes of one run.

    Parameters
    ----------
    threads
        What a bound with ``bound_threads=None`` may use.
    repeats
        Measurements of which the best counts.
    """

    def __init__(self, threads: int, repeats: int = REPEATS) -> None:
        self.threads = threads
        self.repeats = repeats
        self.testing = _testing()

    def _least(self, probe: Callable[[], float]) -> float:
        return min(probe() for _ in range(self.repeats))

    def peak(self, threads: int) -> float:
        """Measure float32 operations a second of multiply-adds in registers; NaN if scalar."""
        return max(float(self.testing.peak_fma(threads)) for _ in range(self.repeats))

    def chain(self) -> float:
        """Measure seconds of one epoch's dependent operations on line30."""
        return self._least(self.testing.chain_seconds_per_epoch)

    def summary(self) -> dict[str, float]:
        """Measure the machine by itself: peak, and reading 256 MB in order."""
        data = np.ones(1 << 26, dtype=np.float32)
        result = {}
        for threads in sorted({1, self.threads}):
            seconds = self._least(lambda n=threads: self.testing.read_seconds(data, n))  # type: ignore[misc]
            result[f"peak_gflops_{threads}"] = self.peak(threads) / 1e9
            result[f"read_gbytes_{threads}"] = data.nbytes / seconds / 1e9
        result["chain_ns"] = self.chain() * 1e9
        return result

    def reading(self, problem: Problem, shuffled: bool, threads: int) -> list[float]:
        """Measure reading X once, in order or by a permutation, a few times; nothing is computed.

        Where a case has several models, each of them reads X. Empty for small data: they lie in a
        cache, and the probe would time the start of its threads.
        """
        if problem.X.nbytes < SMALL_BYTES:
            return []
        if shuffled:
            order = np.random.default_rng(0).permutation(problem.case.n_rows).astype(np.int32)
            probe = partial(self.testing.gather_seconds, problem.X, order, threads)
        else:
            probe = partial(self.testing.read_seconds, problem.X, threads)
        return [probe() * problem.case.models for _ in range(self.repeats)]

    def bound(self, problem: Problem, shuffled: bool) -> Bound:
        """Measure the bound of a case: its chain, or the larger of arithmetic and reading."""
        case = problem.case
        if case.bound == "chain":
            return Bound(self.chain() / case.units, "dependency chain")
        threads = self.threads if case.bound_threads is None else case.bound_threads
        team = f"{threads} thread{'s' if threads > 1 else ''}"
        arithmetic = case.flops / self.peak(threads)
        reading = min(self.reading(problem, shuffled, threads), default=0.0)
        if not arithmetic <= reading:  # also where the peak is NaN: then nothing is said
            return Bound(arithmetic / case.units, f"multiply-adds, {team}")
        name = "bare shuffled gather" if shuffled else "one read in order"
        return Bound(reading / case.units, f"{name}, {team}")

# SPDX-License-Identifier: MIT
"""How schuss scales: with a second thread, with the number of rows, and against bare reading.

    python bench/scaling.py --json r.json
    python bench/scaling.py --parts threads,rows,reading --rounds 7

threads  wide and mnist on all threads over one thread, beside what a loop of multiply-adds on
         registers gains in the same rounds.
rows     Linear(100, 1), batch 1024: time per row at 10^4, 10^6 and 10^7 rows (4 GB).
reading  epochs of the cases bound by memory over one bare read of X (in order) or one bare gather
         of its rows by a permutation (shuffled), on all threads, in the same rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import machine
from bounds import Hardware
from cases import CASES, Case, Problem, make_problem
from peers_schuss import Schuss

SETTLE_SECONDS = 0.01
ROW_COUNTS = (10_000, 1_000_000, 10_000_000)
#: case, shuffled, the most times one bare read that an epoch may take: what schuss aims at.
READING = (
    ("linear", False, 1.5),
    ("linear", True, 1.3),
    ("narrow", False, None),
    ("narrow", True, 1.3),
    ("softmax", False, None),
    ("softmax", True, None),
    ("full", False, 1.2),
)


def case_named(name: str) -> Case:
    """Find a case."""
    return next(case for case in CASES if case.name == name)


def epochs_for(contender: Schuss, min_seconds: float) -> int:
    """Find how many epochs take `min_seconds`; warms up on the way."""
    contender.train(1)
    start = time.perf_counter()
    contender.train(1)
    return max(1, round(min_seconds / (time.perf_counter() - start)))


def seconds_of(contender: Schuss, epochs: int) -> float:
    """Time one epoch, in a row of some."""
    time.sleep(SETTLE_SECONDS)
    start = time.perf_counter()
    contender.train(epochs)
    return (time.perf_counter() - start) / epochs


def ratio(above: list[float], below: list[float]) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def scale_threads(hardware: Hardware, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare the gain of all threads over one with that of the loop on registers."""
    lines = []
    for name in ("wide", "mnist"):
        problem = make_problem(case_named(name))
        for shuffled in problem.case.orders:
            ways = {n: Schuss(problem, shuffled, n) for n in (1, options.threads)}
            epochs = {n: epochs_for(way, options.min_seconds) for n, way in ways.items()}
            times: dict[int, list[float]] = {n: [] for n in ways}
            rates: dict[int, list[float]] = {n: [] for n in ways}
            for _ in range(options.rounds):
                for n, way in ways.items():
                    times[n].append(seconds_of(way, epochs[n]))
                    rates[n].append(float(hardware.testing.peak_fma(n)))
            gain, peak_gain = (
                ratio(times[1], times[options.threads]),
                ratio(rates[options.threads], rates[1]),
            )
            # Within a round, so that a neighbour who takes a core meets both.
            both = [
                (times[1][i] / times[options.threads][i])
                / (rates[options.threads][i] / rates[1][i])
                for i in range(options.rounds)
            ]
            of_peak = problem.case.flops / statistics.median(times[options.threads])
            lines.append(
                {
                    "case": name,
                    "shuffled": shuffled,
                    "gain": gain,
                    "peak_gain": peak_gain,
                    "of_peak_gain": statistics.median(both),
                    "of_peak_rate": of_peak / statistics.median(rates[options.threads]),
                    "seconds": times,
                    "peak": rates,
                }
            )
            line = lines[-1]
            print(
                f"{name:8} {'shuffled' if shuffled else 'in order':9} gain of {options.threads} "
                f"threads {gain:.3f}, of the loop on registers {peak_gain:.3f}: "
                f"{line['of_peak_gain']:.1%}; {line['of_peak_rate']:.1%} of the peak rate",
                flush=True,
            )
    return lines


def many_rows(case: Case, n_rows: int) -> Problem:
    """Repeat the rows of a problem: as many, in memory of their own, without the time to draw."""
    base = make_problem(case.with_rows(1_000_000))
    X = np.empty((n_rows, base.X.shape[1]), dtype=base.X.dtype)
    y = np.empty((n_rows, *base.y.shape[1:]), dtype=base.y.dtype)
    for first in range(0, n_rows, len(base.X)):
        n = min(len(base.X), n_rows - first)
        X[first : first + n], y[first : first + n] = base.X[:n], base.y[:n]
    return Problem(dataclasses.replace(case, n_rows=n_rows), X, y, base.weights)


def scale_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare the time per row of few and many rows."""
    counts = [n for n in ROW_COUNTS if n <= options.most_rows]
    problems = {n: many_rows(case_named("linear"), n) for n in counts}
    lines = []
    for shuffled in (False, True):
        ways = {n: Schuss(problem, shuffled, options.threads) for n, problem in problems.items()}
        epochs = {n: epochs_for(way, options.min_seconds) for n, way in ways.items()}
        times: dict[int, list[float]] = {n: [] for n in ways}
        for _ in range(options.rounds):
            for n, way in ways.items():
                times[n].append(seconds_of(way, epochs[n]) / n)
        of_million = {n: ratio(times[n], times[1_000_000]) for n in counts}
        lines.append({"shuffled": shuffled, "over_million_rows": of_million, "seconds": times})
        for n in counts:
            print(
                f"linear   {'shuffled' if shuffled else 'in order':9} {n:>10,} rows: "
                f"{statistics.median(times[n]) * 1e9:7.2f} ns a row, "
                f"{of_million[n]:.3f} of the time at 10^6",
                flush=True,
            )
    return lines


def scale_reading(hardware: Hardware, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare epochs with bare reads of their data."""
    lines = []
    for name, shuffled, aim in READING:
        problem = make_problem(case_named(name))
        way = Schuss(problem, shuffled, options.threads)
        epochs = epochs_for(way, options.min_seconds)
        times, reads = [], []
        for _ in range(options.rounds):
            times.append(seconds_of(way, epochs))
            reads.append(statistics.median(hardware.reading(problem, shuffled, options.threads)))
        over = ratio(times, reads)
        lines.append(
            {
                "case": name,
                "shuffled": shuffled,
                "aim": aim,
                "over_reading": over,
                "seconds": times,
                "reading": reads,
            }
        )
        print(
            f"{name:8} {'shuffled' if shuffled else 'in order':9} "
            f"{statistics.median(times) * 1e3:8.3f} ms, bare "
            f"{'gather' if shuffled else 'read'} {statistics.median(reads) * 1e3:8.3f} ms: "
            f"{over:.3f}" + ("" if aim is None else f" (aim {aim})"),
            flush=True,
        )
    return lines


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n", maxsplit=1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--parts", default="threads,rows,reading")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--min-seconds", type=float, default=0.1, help="shortest sample")
    parser.add_argument("--threads", type=int, default=machine.available_cores())
    parser.add_argument("--most-rows", type=int, default=ROW_COUNTS[-1])
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure the parts asked for."""
    options = parse(arguments)
    hardware = Hardware(options.threads)
    document: dict[str, Any] = {"machine": machine.describe(options.threads)}
    for part in options.parts.split(","):
        if part == "threads":
            document[part] = scale_threads(hardware, options)
        elif part == "rows":
            document[part] = scale_rows(options)
        elif part == "reading":
            document[part] = scale_reading(hardware, options)
        else:
            sys.exit(f"--parts: got {part}; expected threads, rows or reading")
    if options.json is not None:
        options.json.write_text(json.dumps(document) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Look for sizes where the number of threads that `fit` chooses by itself is a bad one.

    python bench/threads.py --json r.json --plot r.svg

Steps of a net of two layers (w-w-10, ReLU, cross-entropy, plain SGD) over widths w and batches are
timed on one thread, on as many as allowed whatever the work, and by default. A round times the
three in turn and then again in the opposite order, so each has two samples of the same thing within
a round: the noise of a cell is the largest ratio that such a pair shows (A/A, median over rounds).
The table shows default over the best of the other two; what the noise does not explain is marked.
Cells that are marked are measured once more after the sweep: a bad choice is marked twice.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import machine
import schuss
from schuss import _schuss, nn, optim

WIDTHS = (4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048)
BATCHES = (1, 4, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096)
CLASSES = 10
WAYS = ("one", "shared", "default")
LIMIT = 1.10  # the default may be this much slower than the best, beyond the noise
DATA_BYTES = 4 << 20
LONG_SECONDS = 2.0  # of a cell, after which its rounds end
LEAST_ROUNDS = 3
SETTLE_SECONDS = 0.002


@contextlib.contextmanager
def way_to_share(way: str, threads: int) -> Iterator[None]:
    """Choose threads as one of WAYS says, for the fits inside."""
    schuss.set_num_threads(1 if way == "one" else threads)
    before = _schuss.testing.set_work_per_thread(1.0 if way == "shared" else 0.0)
    try:
        yield
    finally:
        _schuss.testing.set_work_per_thread(before)
        schuss.set_num_threads(threads)


@dataclasses.dataclass
class Cell:
    """Times of one step of one width and batch, by way: two of each round, one after the other."""

    width: int
    batch: int
    seconds: dict[str, list[float]]

    def ratio(self, way: str, other: str) -> float:
        """Median over rounds of the ratio within a round."""
        above, below = self.seconds[way], self.seconds[other]
        rounds = range(0, len(above), 2)
        return statistics.median(
            (above[i] + above[i + 1]) / (below[i] + below[i + 1]) for i in rounds
        )

    @property
    def over_best(self) -> float:
        """Time of the default over that of the better of one and all threads."""
        return max(self.ratio("default", "one"), self.ratio("default", "shared"))

    @property
    def noise(self) -> float:
        """How far two samples of the same thing are apart: at least 1."""
        largest = 1.0
        for samples in self.seconds.values():
            pairs = zip(samples[::2], samples[1::2], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            largest = max(largest, ratio, 1.0 / ratio)
        return largest

    @property
    def is_bad(self) -> bool:
        """Whether the default is slower than it may be, beyond the noise."""
        return self.over_best > LIMIT * self.noise


def measure(width: int, batch: int, threads: int, rounds: int, min_seconds: float) -> Cell:
    """Time one cell."""
    steps = max(1, min(64, DATA_BYTES // (4 * width * batch)))
    rng = np.random.default_rng(0)
    X = rng.standard_normal((steps * batch, width), dtype=np.float32)
    y = rng.integers(0, CLASSES, steps * batch)
    schuss.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CLASSES))
    optimizer = optim.SGD(model.parameters(), lr=1e-4)
    criterion = nn.CrossEntropyLoss()

    def run(epochs: int) -> float:
        start = time.perf_counter()
        schuss.fit(model, criterion, optimizer, X, y, epochs=epochs, batch_size=batch)
        return time.perf_counter() - start

    with way_to_share("one", threads):
        run(1)
        once = run(1)
    epochs = max(1, round(min_seconds / once))
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    start = time.perf_counter()
    for number in range(rounds):
        if number >= LEAST_ROUNDS and time.perf_counter() - start > LONG_SECONDS:
            break
        first = number % len(WAYS)
        turn = WAYS[first:] + WAYS[:first]
        for way in turn + turn[::-1]:
            with way_to_share(way, threads):
                time.sleep(SETTLE_SECONDS)
                # Four digits: finer than any noise, and a smaller file.
                seconds[way].append(float(f"{run(epochs) / (epochs * steps):.3e}"))
    return Cell(width, batch, seconds)


def table(cells: list[Cell]) -> str:
    """Format default over best: a line a width, a column a batch; `!` where noise is no excuse."""
    batches = sorted({cell.batch for cell in cells})
    at = {(cell.width, cell.batch): cell for cell in cells}
    lines = ["width \\ batch" + "".join(f"{batch:>7}" for batch in batches)]
    for width in sorted({cell.width for cell in cells}):
        line = f"{width:>13}"
        for batch in batches:
            cell = at[width, batch]
            mark = "!" if cell.is_bad else " "
            line += f"{cell.over_best:6.2f}{mark}"
        lines.append(line)
    return "\n".join(lines)


def summary(cells: list[Cell], repeated: list[Cell]) -> dict[str, Any]:
    """Find the worst cell, the noise of all, and which were marked once and twice."""
    worst = max(cells, key=lambda cell: cell.over_best / cell.noise)
    noises = sorted(cell.noise for cell in cells)
    return {
        "worst": {
            "width": worst.width,
            "batch": worst.batch,
            "default_over_best": worst.over_best,
            "noise": worst.noise,
        },
        "noise_median": statistics.median(noises),
        "noise_worst": noises[-1],
        "cells": len(cells),
        "cells_above_limit": sum(cell.over_best > LIMIT for cell in cells),
        "cells_above_limit_beyond_noise": sum(cell.is_bad for cell in cells),
        "of_them_again": sum(cell.is_bad for cell in repeated),
        "repeated": [
            {"width": c.width, "batch": c.batch, "default_over_best": c.over_best, "noise": c.noise}
            for c in repeated
        ],
    }


def plot(path: Path, cells: list[Cell]) -> None:
    """Draw the time of each way over the best, against the work of a step."""
    import matplotlib as mpl

    mpl.use("Agg")
    # The same picture from the same numbers, with letters as letters.
    mpl.rcParams.update({"svg.hashsalt": "schuss", "svg.fonttype": "none"})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    work = [3.0 * cell.batch * cell.width * (cell.width + CLASSES) for cell in cells]
    for way, label, marker, size in (
        ("one", "one thread", "v", 12),
        ("shared", "all threads, always", "^", 12),
        ("default", "default", "o", 16),
    ):
        best = [max(cell.ratio(way, "one"), cell.ratio(way, "shared")) for cell in cells]
        axes.scatter(work, best, s=size, marker=marker, label=label, alpha=0.8, linewidths=0)
    axes.scatter(work, [c.noise for c in cells], s=8, color="grey", label="A/A noise", alpha=0.6)
    axes.axhline(LIMIT, color="black", linewidth=0.8, linestyle=":")
    axes.set(
        xscale="log", yscale="log", xlabel="multiply-adds of a step", ylabel="time over the best"
    )
    axes.set_yticks([1, 1.1, 1.5, 2, 4, 8], ["1", "1.1", "1.5", "2", "4", "8"])
    axes.yaxis.set_minor_formatter("")
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n", maxsplit=1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)))
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--rounds", type=int, default=7, help="pairs of samples of each way")
    parser.add_argument("--min-seconds", type=float, default=0.004, help="shortest sample")
    parser.add_argument("--threads", type=int, default=machine.available_cores())
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--plot", type=Path, help="draw the ratios into this file")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the sweep."""
    options = parse(arguments)
    described = machine.describe(options.threads)

    def cell(width: int, batch: int) -> Cell:
        return measure(width, batch, options.threads, options.rounds, options.min_seconds)

    cells = [
        cell(int(width), int(batch))
        for width in options.widths.split(",")
        for batch in options.batches.split(",")
    ]
    repeated = [cell(once.width, once.batch) for once in cells if once.is_bad]
    found = summary(cells, repeated)
    print(f"default over the best of 1 and {options.threads} threads\n{table(cells)}")
    print(json.dumps(found, indent=1))
    if options.json is not None:
        document = {
            "machine": described,
            "summary": found,
            "cells": [dataclasses.asdict(cell) for cell in cells],
            "repeated": [dataclasses.asdict(cell) for cell in repeated],
        }
        options.json.write_text(json.dumps(document) + "\n", encoding="utf-8")
    if options.plot is not None:
        plot(options.plot, cells)
    return 0


if __name__ == "__main__":
    sys.exit(main())

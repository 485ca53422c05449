# SPDX-License-Identifier: MIT
"""Results of a comparison as text, JSON and a picture."""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

OURS = "schuss"


@dataclasses.dataclass
class Timing:
    """All rounds of one contender on one case.

    Attributes
    ----------
    seconds
        One time per unit (an epoch or a step) for each round.
    error_in_tolerances
        Largest difference from the reference as a fraction of what rounding explains; None where
        the contender does other steps.
    """

    contender: str
    seconds: list[float]
    epochs_per_sample: int
    error_in_tolerances: float | None
    compile_seconds: float | None

    @property
    def median(self) -> float:
        """Median over rounds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Interquartile range over the median; 0 for a single round."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / self.median


@dataclasses.dataclass
class CaseResult:
    """One case in one order.

    Attributes
    ----------
    bound_seconds, bound_reason
        The least time the hardware allows, the best of the run, and what sets it.
    readings
        For each round, the time of one bare read of X (shuffled: a gather of its rows) on all
        threads; empty where not measured.
    """

    case: str
    work: str
    order: str
    unit: str
    bound_seconds: float | None
    bound_reason: str
    readings: list[float]
    timings: list[Timing]
    skipped: dict[str, str]
    wrong: dict[str, str]

    def ratio(self, timing: Timing) -> float | None:
        """Time over schuss's: the median over rounds of ratios within a round.

        Both were measured within moments of each other, so what the machine does over minutes
        cancels.
        """
        ours = next((t for t in self.timings if t.contender == OURS), None)
        if ours is None:
            return None
        pairs = zip(timing.seconds, ours.seconds, strict=True)
        return statistics.median(theirs / own for theirs, own in pairs)

    def of_bound(self, timing: Timing) -> float | None:
        """Bound over time: 1 is as fast as the hardware."""
        if self.bound_seconds is None:
            return None
        return self.bound_seconds / timing.median

    def over_reading(self, timing: Timing) -> float | None:
        """Time over one bare read of the data: the median over rounds of the ratio within one."""
        if not self.readings:
            return None
        pairs = zip(timing.seconds, self.readings, strict=True)
        return statistics.median(time / reading for time, reading in pairs)


def format_seconds(seconds: float) -> str:
    """Three digits and a unit: ``0.0261 us``, ``12.3 ms``."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def _optional(value: float | None, form: str) -> str:
    return "-" if value is None or value != value else format(value, form)


def case_table(result: CaseResult) -> str:
    """Format one case as aligned text."""
    title = f"{result.case}, {result.order}: {result.work}; time per {result.unit}"
    bound = "not measured"
    if result.bound_seconds is not None:
        bound = f"{format_seconds(result.bound_seconds)} ({result.bound_reason})"
    lines = [title, f"  bound of the hardware: {bound}"]
    lines.append(
        f"  {'':30}{'median':>11}{'spread':>9}{'/ schuss':>11}{'of bound':>10}{'/ read':>9}"
    )
    for timing in result.timings:
        lines.append(  # noqa: PERF401 - one line a contender, built as it is read
            f"  {timing.contender:30}{format_seconds(timing.median):>11}{timing.spread:>9.1%}"
            f"{_optional(result.ratio(timing), '.3g'):>11}"
            f"{_optional(result.of_bound(timing), '.0%'):>10}"
            f"{_optional(result.over_reading(timing), '.3g'):>9}"
        )
    lines += [
        f"  {t.contender}: compiling took {format_seconds(t.compile_seconds)} more"
        for t in result.timings
        if t.compile_seconds is not None
    ]
    lines += [f"  {name} skipped: {why}" for name, why in result.skipped.items()]
    lines += [f"  {name} WRONG, not timed: {why}" for name, why in result.wrong.items()]
    return "\n".join(lines)


def machine_text(machine: dict[str, Any], hardware: dict[str, float]) -> str:
    """Format the head of a report."""
    cpu = machine["cpu"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    probes = ", ".join(f"{name} {value:.3g}" for name, value in hardware.items())
    return (
        f"{machine['date']}\n{cpu['model']}, {cpu['cores']} cores, {' '.join(cpu['isa'])}; "
        f"{machine['threads']} threads; load {machine['load_at_start'][0]:.2f}\n{versions}\n"
        f"{probes or 'hardware not probed'}\n"
    )


def write_json(
    path: Path,
    machine: dict[str, Any],
    hardware: dict[str, float],
    options: dict[str, Any],
    results: list[CaseResult],
) -> None:
    """Write everything that was measured, each round included."""
    cases = []
    for result in results:
        entry = dataclasses.asdict(result)
        for timing, fields in zip(result.timings, entry["timings"], strict=True):
            fields["median"] = timing.median
            fields["spread"] = timing.spread
            fields["ratio_to_schuss"] = result.ratio(timing)
            fields["of_bound"] = result.of_bound(timing)
            fields["over_reading"] = result.over_reading(timing)
        cases.append(entry)
    document = {"machine": machine, "hardware": hardware, "options": options, "results": cases}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def write_plot(path: Path, results: list[CaseResult]) -> None:
    """Draw times relative to schuss, one line a case, with the bound of the hardware.

    Without times of schuss there is no picture.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [r for r in results if any(t.contender == OURS for t in r.timings)]
    if not shown:
        return  # nothing to relate the peers to
    names = list(dict.fromkeys(t.contender for r in shown for t in r.timings))
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.35 * len(shown)), layout="constrained")
    for number, name in enumerate(names):
        points = [
            (ratio, row)
            for row, result in enumerate(shown)
            for timing in result.timings
            if timing.contender == name and (ratio := result.ratio(timing)) is not None
        ]
        axes.scatter(
            [x for x, _ in points],
            [row for _, row in points],
            marker="o^vsDPX*<>"[number % 10],
            color=f"C{number % 10}",
            label=name,
            zorder=3,
        )
    for row, result in enumerate(shown):
        ours = next(t for t in result.timings if t.contender == OURS)
        fraction = result.of_bound(ours)
        if fraction is not None and fraction == fraction:
            label = "bound of the hardware" if row == 0 else None
            axes.plot([fraction] * 2, [row - 0.3, row + 0.3], color="black", label=label)
    axes.set_xscale("log")
    axes.set_yticks(range(len(shown)), [f"{r.case}, {r.order}" for r in shown])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("time relative to schuss (logarithmic; right is slower)")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)

# SPDX-License-Identifier: MIT
"""Write the tables of README and docs/PERFORMANCE.md and their picture from one results file.

    python bench/compare.py --json bench/results/today.json
    python bench/render.py bench/results/today.json

Text between `<!-- NAME begin -->` and `<!-- NAME end -->` is replaced, nothing else. Ratios are
those that compare.py formed within its rounds; of several contenders of one peer the faster counts.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from report import OURS

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("PyTorch", "JAX", "scikit-learn")
LOOP = "schuss, step by step"
README_CASES = {
    "line30": "straight line, 30 rows",
    "tiny": "4-64-64-2, batch 32",
    "digits": "64-128-10, batch 64",
    "mnist": "784-128-10, 60,000 rows",
    "wide": "1024-1024-1024-1024, batch 1024",
    "linear": "Linear(100,1), 1,000,000 rows",
    "softmax": "Linear(784,10), 60,000 rows",
    "narrow": "Linear(20,1), batch 32, 100,000 rows",
}
Result = dict[str, Any]


def timing_of(result: Result, contender: str) -> dict[str, Any] | None:
    """Find a contender's line, if it was timed."""
    return next((t for t in result["timings"] if t["contender"] == contender), None)


def peer_ratio(result: Result, peer: str) -> float | None:
    """Time of the fastest contender of a peer over that of schuss."""
    ratios = [
        t["ratio_to_schuss"]
        for t in result["timings"]
        if t["contender"].startswith(peer) and t["ratio_to_schuss"] is not None
    ]
    return min(ratios, default=None)


def time_text(seconds: float) -> str:
    """Three digits: ``89.6 ns``, ``19.9 us``, ``370 ms``, ``1.63 s``."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= 0.9995 * scale:
            return f"{seconds / scale:#.3g}".rstrip(".") + f" {unit}"
    return f"{seconds * 1e9:#.3g}".rstrip(".") + " ns"


def ratio_text(ratio: float | None) -> str:
    """Two digits and a times sign; the whole number from a hundred up."""
    if ratio is None:
        return "-"
    return f"{ratio:,.0f}x" if ratio >= 99.5 else f"{ratio:.2g}x"


def readme_table(results: list[Result]) -> str:
    """Build the short table: shuffled batches, one line a case."""
    lines = ["| time of | schuss | " + " | ".join(PEERS) + " |", "|---|---|---|---|---|"]
    for result in results:
        if result["case"] not in README_CASES or result["order"] == "in order":
            continue
        ours = timing_of(result, OURS)
        if ours is not None:
            unit = "an epoch" if result["unit"] == "epoch" else "a step"
            cells = [f"{README_CASES[result['case']]}, {unit}", time_text(ours["median"])]
            cells += [ratio_text(peer_ratio(result, peer)) for peer in PEERS]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def full_table(results: list[Result]) -> str:
    """Build the table of every case and order."""
    names = ["case", "order", OURS, "spread", *PEERS, "step by step", "of the bound", "/ one read"]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for result in results:
        ours, loop = timing_of(result, OURS), timing_of(result, LOOP)
        if ours is None:
            continue
        bound, reading = ours["of_bound"], ours.get("over_reading")
        cells = [
            result["case"],
            result["order"],
            f"{time_text(ours['median'])} / {result['unit']}",
            f"{ours['spread']:.0%}",
            *(ratio_text(peer_ratio(result, peer)) for peer in PEERS),
            "-"
            if loop is None
            else f"{time_text(loop['median'])}, {ratio_text(loop['ratio_to_schuss'])}",
            "-" if bound is None or bound != bound else f"{bound:.0%}",
            ratio_text(reading) if reading is not None and result["bound_reason"] else "-",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured_text(document: dict[str, Any], path: Path) -> str:
    """Say where and with what: one sentence, and the file."""
    machine, hardware = document["machine"], document["hardware"]
    cpu, versions = machine["cpu"], machine["versions"]
    probes = ", ".join(f"{name} {value:.3g}" for name, value in hardware.items())
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{cpu['model']}, {cpu['cores']} cores ({', '.join(cpu['isa'])}), {machine['date'][:10]}; "
        f"{names}. Measured in the same run: {probes}. Every sample: "
        f"[{path.name}](../bench/results/{path.name})."
    )


def replace(page: Path, name: str, text: str) -> None:
    """Put text between a page's two marks of that name."""
    begin, end = f"<!-- {name} begin -->", f"<!-- {name} end -->"
    old = page.read_text(encoding="utf-8")
    if old.count(begin) != 1 or old.count(end) != 1:
        sys.exit(f"{page}: expected {begin} and {end}, once each")
    new = re.sub(
        f"{re.escape(begin)}.*{re.escape(end)}",
        lambda _: f"{begin}\n{text}\n{end}",
        old,
        flags=re.DOTALL,
    )
    page.write_text(new, encoding="utf-8")


def draw(path: Path, results: list[Result]) -> None:
    """Draw how many times longer each peer takes, a line a case, logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    # The same picture from the same numbers, with letters as letters.
    mpl.rcParams.update({"svg.hashsalt": OURS, "svg.fonttype": "none"})
    from matplotlib import pyplot as plt

    shown = [r for r in results if timing_of(r, OURS) is not None]
    figure, axes = plt.subplots(figsize=(7.5, 0.9 + 0.27 * len(shown)), layout="constrained")
    for peer, marker, colour in zip(PEERS, "osD", ("C1", "C2", "C0"), strict=True):
        points = [(peer_ratio(r, peer), row) for row, r in enumerate(shown)]
        known = [(x, y) for x, y in points if x is not None]
        axes.scatter(
            [x for x, _ in known], [y for _, y in known], s=26, marker=marker, color=colour,
            label=peer, zorder=3,
        )  # fmt: skip
    axes.axvline(1.0, color="black", linewidth=1.2, label=OURS)
    axes.set_xscale("log")
    axes.set_yticks(range(len(shown)), [f"{r['case']}, {r['order']}" for r in shown])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("time over that of schuss (right: schuss is faster)")
    axes.legend(loc="lower right", frameon=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Write tables and picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("json", type=Path, help="what compare.py --json wrote")
    parser.add_argument("--root", type=Path, default=ROOT, help="where README.md and docs/ are")
    options = parser.parse_args(arguments)
    document = json.loads(options.json.read_text(encoding="utf-8"))
    results = document["results"]
    performance = options.root / "docs" / "PERFORMANCE.md"
    replace(options.root / "README.md", "speed", readme_table(results))
    replace(performance, "machine", measured_text(document, options.json))
    replace(performance, "results", full_table(results))
    draw(options.root / "docs" / "img" / "speed.svg", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

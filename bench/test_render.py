# SPDX-License-Identifier: MIT
# ruff: noqa: D103 - the name of a test is its sentence
"""The tables of README and docs/PERFORMANCE.md are what their results file says."""

from __future__ import annotations

import re
from pathlib import Path

import render

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/PERFORMANCE.md")


def test_tables_are_those_of_the_results_file_they_name(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for page in PAGES:
        (tmp_path / page).write_text((ROOT / page).read_text(encoding="utf-8"), encoding="utf-8")
    machine = (ROOT / "docs" / "PERFORMANCE.md").read_text(encoding="utf-8")
    name = re.search(r"machine begin.*?\(\.\./(bench/results/[^)]+)\)", machine, re.DOTALL)
    assert name is not None
    assert render.main([str(ROOT / name[1]), "--root", str(tmp_path)]) == 0
    for page in PAGES:
        assert (tmp_path / page).read_text(encoding="utf-8") == (ROOT / page).read_text(
            encoding="utf-8"
        )
    assert (tmp_path / "docs" / "img" / "speed.svg").stat().st_size > 0


def test_times_keep_three_digits_in_every_unit() -> None:
    texts = [render.time_text(s) for s in (8.96e-8, 9.9996e-7, 1.99e-5, 0.0035, 0.37, 1.63, 12.0)]
    assert texts == ["89.6 ns", "1.00 us", "19.9 us", "3.50 ms", "370 ms", "1.63 s", "12.0 s"]

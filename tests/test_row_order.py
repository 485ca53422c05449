# SPDX-License-Identifier: MIT
"""The numbers of the rows that are trained on next, and of those that are only fetched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import cpp_build
import pytest

SOURCE = cpp_build.ROOT / "tests/cpp/row_order.cpp"


@pytest.mark.skipif(not cpp_build.compilers(), reason="no C++ compiler")
def test_rows_ahead_are_the_permutation_s_and_end_with_the_epoch(tmp_path: Path) -> None:
    program = tmp_path / "row_order"
    subprocess.run(
        [
            *cpp_build.compilers()[0],
            *["-std=c++20", "-O1", "-ffp-contract=off", f"-I{cpp_build.ROOT / 'cpp'}"],
            *[str(SOURCE), str(cpp_build.ROOT / "cpp/base/block_cache.cpp"), "-o", str(program)],
        ],
        check=True,
    )
    result = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")

# SPDX-License-Identifier: MIT
"""`tests/cpp/check_symbols.py`, run on every build's kernel objects, sees what it looks for."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cpp_build import ROOT, compilers

CHECK = ROOT / "tests" / "cpp" / "check_symbols.py"
TABLE = "namespace schuss { struct K { int (*f)(); }; extern const K kAvx2Kernels; "
# Name of the case, source of a unit, what the check says of it.
UNITS = {
    "table": ("static int f() { return 1; } const K kAvx2Kernels{&f}; }", "its table alone"),
    "weak": ("inline int f() { return 1; } const K kAvx2Kernels{&f}; }", "weak: "),
    "second": ("int f() { return 1; } const K kAvx2Kernels{&f}; }", "exports "),
    "foreign": (
        'extern "C" int far_away(); const K kAvx2Kernels{&far_away}; }',
        "calls functions that are not ours: ['far_away']",
    ),
    "none": ("static int f() { return 1; } const K* kOther() { return nullptr; } }", "exports "),
}

pytestmark = [
    pytest.mark.skipif(platform.system() != "Linux", reason="reads nm's output for ELF objects"),
    pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) is not installed"),
    pytest.mark.skipif(not compilers(), reason="no C++ compiler"),
    pytest.mark.no_sanitizer,
]


def check(*objects: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECK), *map(str, objects)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("case", UNITS)
def test_isa_object_exports_only_its_table(case: str, tmp_path: Path) -> None:
    body, said = UNITS[case]
    source, target = tmp_path / "avx2.cpp", tmp_path / "isa" / "avx2.cpp.o"
    source.write_text(TABLE + body)
    target.parent.mkdir()
    subprocess.run([*compilers()[0], "-c", str(source), "-o", str(target)], check=True)
    done = check(target)
    assert said in done.stdout
    assert done.returncode == (0 if case == "table" else 1)


def test_objects_of_no_instruction_set_are_a_failure(tmp_path: Path) -> None:
    assert check(tmp_path / "dispatch.cpp.o").returncode == 1

# SPDX-License-Identifier: MIT
"""Float32 elementary functions over all 2^32 inputs, and the same bits from NEON."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cpp_build import ISAS, ROOT, UNITS, build_kernel_program, compilers

SOURCE = ROOT / "tests" / "cpp" / "elementary_exhaustive.cpp"
FUNCTIONS = ["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "erf", "erfc"]
SAMPLE = "997"  # every 997th float, and those around every exponent

pytestmark = [pytest.mark.slow, pytest.mark.no_sanitizer]


def run(command: list[str]) -> dict[str, str]:
    """The digest of each function; the program fails when an error is over its bound."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    digests = dict(re.findall(r"^(\w+) +([0-9a-f]{16}) ", done.stdout, flags=re.MULTILINE))
    assert list(digests) == FUNCTIONS
    return digests


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not compilers():
        pytest.skip("no C++ compiler: neither CXX nor g++ nor clang++")
    folder = tmp_path_factory.mktemp("native")
    return str(build_kernel_program(SOURCE, folder, compilers()[0], ISAS, []))


def test_every_float_is_within_its_functions_bound(program: str) -> None:
    run([program])


def test_neon_gives_the_digests_of_this_machine(program: str, tmp_path: Path) -> None:
    cross, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
    for tool in (cross, emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    # -O1 compiles in 115 s instead of 164, and the bits do not depend on it.
    arm = build_kernel_program(SOURCE, tmp_path, [cross], UNITS["aarch64"], ["-static"], "-O1")
    assert run([emulator, str(arm), SAMPLE]) == run([program, SAMPLE])

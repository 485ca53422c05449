# SPDX-License-Identifier: MIT
"""Compiling parts of the core as CMakeLists.txt does, for tests of objects and of C++ programs."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNITS = {
    "x86_64": ["scalar", "avx2", "avx512"],
    "aarch64": ["scalar", "neon"],
    "arm64": ["scalar", "neon"],
}
ISAS = UNITS.get(platform.machine(), ["scalar"])


def compilers() -> list[list[str]]:
    """What CXX names, or g++ and clang++ where they are installed."""
    if os.environ.get("CXX"):
        return [shlex.split(os.environ["CXX"])]
    return [[name] for name in ("g++", "clang++") if shutil.which(name)]


def build_flags(isa: str, optimisation: str = "-O3") -> list[str]:
    """The flags that CMakeLists.txt gives this unit: one place to change them."""
    text = (ROOT / "CMakeLists.txt").read_text()

    def listed(name: str) -> list[str]:
        match = re.search(rf"set\({name}\s([^)]*)\)", text)
        return match.group(1).split() if match else []

    kernel_flags = listed("kernel_flags")
    assert "-ffp-contract=off" in kernel_flags, "CMakeLists.txt: set(kernel_flags ...) not found"
    flags = [*listed(f"isa_flags_{isa}"), *kernel_flags]
    return [optimisation if flag == "${SCHUSS_KERNEL_OPTIMISATION}" else flag for flag in flags]


def build_kernel_program(
    source: Path,
    folder: Path,
    compiler: Sequence[str],
    isas: Sequence[str],
    link: Sequence[str],
    optimisation: str = "-O3",
) -> Path:
    """A program of tests/cpp that needs the kernels and their dispatch only."""
    common = [*compiler, "-std=c++20", f"-I{ROOT / 'cpp'}"]
    plain = ["-O2", "-ffp-contract=off"]
    units = [
        (ROOT / "cpp/kernels/isa" / f"{isa}.cpp", build_flags(isa, optimisation)) for isa in isas
    ]
    units += [(source, plain), (ROOT / "cpp/kernels/dispatch.cpp", plain)]

    def compiled(unit: tuple[Path, list[str]]) -> Path:
        path, flags = unit
        target = folder / f"{path.stem}.o"
        subprocess.run([*common, *flags, "-c", str(path), "-o", str(target)], check=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [str(target) for target in pool.map(compiled, units)]
    program = folder / source.stem
    subprocess.run([*compiler, *objects, *link, "-pthread", "-o", str(program)], check=True)
    return program

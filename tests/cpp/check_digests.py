# SPDX-License-Identifier: MIT
"""Train the stored cases under every compiler, instruction set and architecture there is.

    python tests/cpp/check_digests.py [--work FOLDER] [--quick] [--update] [gcc] [clang] [aarch64]

Builds tests/cpp/digests.cpp with g++ and clang++, runs it under each instruction set of the machine
with 1 and 3 threads, and compares with tests/data/digests.txt. With aarch64-linux-gnu-g++ and
qemu-aarch64-static the same for aarch64, scalar and NEON. What is not installed is skipped with a
line that says so. AVX-512 runs where the machine has it; run_avx512.py emulates one that does.

--quick builds the kernels at -O1, in half the time; --program gcc=PATH takes a program that is
already built.

--update writes tests/data/digests.txt, from the scalar kernels of g++. A digest that changes is a
change of the arithmetic: see CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests" / "data" / "digest_cases.txt"
STORED = ROOT / "tests" / "data" / "digests.txt"
HEADER = """\
# Digests of the cases of digest_cases.txt: parameters, losses, predictions.
# Written by: python tests/cpp/check_digests.py --update
"""
TARGETS = {"gcc": "g++", "clang": "clang++", "aarch64": "aarch64-linux-gnu-g++"}
EMULATOR = "qemu-aarch64-static"


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), text=True, **options)  # type: ignore[call-overload, no-any-return]


def build(work: Path, target: str, *more: str, program: str = "digests") -> Path:
    """Configure and build a program with CMake; its flags are the library's."""
    folder = work / target
    options = [f"-DCMAKE_CXX_COMPILER={TARGETS[target]}"]
    if target == "aarch64":
        options += ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
        options += ["-DCMAKE_EXE_LINKER_FLAGS=-static"]
    if shutil.which("ninja"):
        options += ["-G", "Ninja"]
    options += ["-DCMAKE_BUILD_TYPE=Release", "-DSCHUSS_BUILD_PYTHON=OFF"]
    options += ["-DSCHUSS_BUILD_CPP_TESTS=ON", *more]
    configure = ["cmake", "-S", ROOT, "-B", folder, *options]
    run(*configure, check=True, stdout=subprocess.DEVNULL)
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count()))
    command = ["cmake", "--build", folder, "--target", program, "--parallel", jobs]
    run(*command, check=True, stdout=subprocess.DEVNULL)
    return folder / program


def missing(target: str) -> str | None:
    """What keeps a target from being run here."""
    needed = ["cmake", TARGETS[target], *([EMULATOR] if target == "aarch64" else [])]
    for tool in needed:
        if not shutil.which(tool):
            return f"{tool} is not installed"
    return None


def instruction_sets(target: str) -> list[str]:
    if target == "aarch64" or os.uname().machine in ("aarch64", "arm64"):
        return ["scalar", "neon"]
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    avx512 = all(f" avx512{part}" in flags for part in ("f", "dq", "bw", "vl"))
    return ["scalar", "avx2"] + (["avx512"] if avx512 else [])


def compare(target: str, program: Path) -> bool:
    """Run the program under each instruction set; true when every digest is the stored one."""
    good = True
    for isa in instruction_sets(target):
        # An emulated machine is slow, and threads change what runs, not what is emulated.
        for threads in (2,) if target == "aarch64" else (1, 3):
            command = [program, CASES, "--expect", STORED, "--threads", threads]
            if target == "aarch64":
                command.insert(0, EMULATOR)
            found = run(*command, env={**os.environ, "SCHUSS_ISA": isa}, stdout=subprocess.PIPE)
            print(f"{target}: {found.stdout.strip()}", flush=True)
            good = good and found.returncode == 0
    return good


def update(program: Path) -> None:
    environment = {**os.environ, "SCHUSS_ISA": "scalar"}
    found = run(program, CASES, env=environment, stdout=subprocess.PIPE, check=True)
    lines = [line for line in found.stdout.splitlines() if not line.startswith("#")]
    STORED.write_text(HEADER + "\n".join(lines) + "\n")
    print(f"{STORED}: {len(lines)} cases")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("targets", nargs="*", metavar="target", help="default: all")
    parser.add_argument("--work", type=Path, help="keep the builds in this folder")
    parser.add_argument("--quick", action="store_true", help="kernels at -O1")
    parser.add_argument(
        "--program",
        action="append",
        default=[],
        metavar="TARGET=PATH",
        help="tests/cpp/digests.cpp as built for a target",
    )
    parser.add_argument("--update", action="store_true", help="write tests/data/digests.txt")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"{', '.join(unknown)}: expected some of {', '.join(TARGETS)}")
    built = dict(entry.split("=", 1) for entry in arguments.program)
    if unknown := set(built) - set(TARGETS):
        parser.error(f"--program {', '.join(unknown)}: expected TARGET=PATH")
    more = ("-DSCHUSS_KERNEL_OPTIMISATION=-O1",) if arguments.quick else ()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        if arguments.update:
            update(build(work, "gcc"))
            return 0
        good = True
        for target in arguments.targets or TARGETS:
            if reason := missing(target):
                print(f"{target}: {reason}: skipped")
                continue
            program = Path(built[target]) if target in built else build(work, target, *more)
            good = compare(target, program) and good
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

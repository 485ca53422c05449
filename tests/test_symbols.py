# SPDX-License-Identifier: MIT
"""Each instruction set's object exports its table and nothing else.

Two objects that both carry a weak copy of an inline function leave the choice to the linker, which
may keep the AVX-512 copy on a machine without AVX-512, or one with other roundings.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cpp_build import ISAS, ROOT, build_flags, compilers

# fma: exact by definition, the scalar path's. The others move bytes. Leading underscores: the
# linker's and the compiler's own.
ALLOWED_UNDEFINED = re.compile(r"fmaf?|mem(?:cpy|set|move)|_.*")

pytestmark = [
    pytest.mark.slow,  # compiles every kernel unit, a minute or two each
    pytest.mark.no_sanitizer,
    pytest.mark.skipif(platform.system() != "Linux", reason="reads nm's output for ELF objects"),
    pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) is not installed"),
]


@pytest.fixture(scope="module", params=compilers() or [None], ids=lambda c: c and Path(c[0]).name)
def compiler(request: pytest.FixtureRequest) -> list[str]:
    if request.param is None:
        pytest.skip("no C++ compiler: neither CXX nor g++ nor clang++")
    command: list[str] = request.param
    return command


@pytest.mark.parametrize("isa", ISAS)
def test_isa_object_exports_only_its_table(compiler: list[str], isa: str, tmp_path: Path) -> None:
    source = ROOT / "cpp" / "kernels" / "isa" / f"{isa}.cpp"
    target = tmp_path / f"{isa}.o"
    common = ["-std=c++20", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden"]
    include = f"-I{ROOT / 'cpp'}"
    command = [*compiler, *common, include, *build_flags(isa), "-c", str(source), "-o", str(target)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr

    listing = subprocess.run(["nm", str(target)], capture_output=True, text=True, check=True).stdout
    symbols = [(line[17:18], line[19:]) for line in listing.splitlines()]
    exported = [name for kind, name in symbols if kind.isupper() and kind not in "U"]
    weak = [name for kind, name in symbols if kind in "WwVvu"]
    undefined = [name for kind, name in symbols if kind == "U"]

    table = f"k{isa.capitalize()}Kernels"
    assert exported == [f"_ZN6schuss{len(table)}{table}E"]
    assert not weak, weak
    foreign = [name for name in undefined if not ALLOWED_UNDEFINED.fullmatch(name)]
    assert not foreign, f"calls functions that are not ours: {foreign}"

# SPDX-License-Identifier: MIT
"""Each instruction set's object exports its table and nothing else.

Two objects that both carry a weak copy of an inline function leave the choice to the linker, which
may keep the AVX-512 copy on a machine without AVX-512, or one with other roundings.

    python tests/cpp/check_symbols.py [--nm NM] OBJECT...

Objects are those of a build (``.../isa/avx2.cpp.o``); others than an instruction set's are passed
over. Fails where there is none.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

# fma: exact by definition, the scalar path's. The others move bytes. Leading underscores: the
# linker's and the compiler's own.
ALLOWED_UNDEFINED = re.compile(r"fmaf?|mem(?:cpy|set|move)|_.*")


def faults(path: Path, nm: str = "nm") -> list[str]:
    """What is wrong with the object of the instruction set that its name begins with."""
    listing = subprocess.run([nm, str(path)], capture_output=True, text=True, check=True).stdout
    symbols = [(line[17:18], line[19:]) for line in listing.splitlines()]
    table = f"k{path.name.split('.')[0].capitalize()}Kernels"
    exported = [name for kind, name in symbols if kind.isupper() and kind != "U"]
    weak = [name for kind, name in symbols if kind in "WwVvu"]
    undefined = [name for kind, name in symbols if kind == "U"]
    found = []
    if exported != [f"_ZN6schuss{len(table)}{table}E"]:
        found.append(f"exports {exported}; expected schuss::{table} alone")
    if weak:
        found.append(f"weak: {weak}")
    if foreign := [name for name in undefined if not ALLOWED_UNDEFINED.fullmatch(name)]:
        found.append(f"calls functions that are not ours: {foreign}")
    return found


def main() -> int:
    """Check the objects of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("objects", nargs="+", type=Path)
    parser.add_argument("--nm", default="nm")
    options = parser.parse_args()
    units = [path for path in options.objects if path.parent.name == "isa"]
    if not units:
        print("no object in a folder isa/")
        return 1
    bad = 0
    for path in units:
        found = faults(path, options.nm)
        print(f"{path.name}: {'; '.join(found) or 'its table alone'}")
        bad += bool(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""The installed package: version, dependencies, what import loads, and its documentation's code."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import schuss

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(schuss.__file__).parent
# Modules that are programs, or need an extra that the test environment may lack, when imported.
NOT_IMPORTED = {"schuss.__main__"}


def project_version() -> str:
    match = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert match
    return match.group(1)


def distribution() -> metadata.Distribution:
    try:
        return metadata.distribution("schuss")
    except metadata.PackageNotFoundError:
        pytest.skip("schuss is not installed but imported from a build tree")


def module_names() -> list[str]:
    names = [m.name for m in pkgutil.walk_packages([str(PACKAGE)], "schuss.")]
    return ["schuss", *sorted(n for n in names if n not in NOT_IMPORTED and "._schuss" not in n)]


def test_version_is_the_one_of_pyproject() -> None:
    assert schuss.__version__ == project_version()


def test_installed_version_is_the_one_of_pyproject() -> None:
    assert distribution().version == project_version()


def test_runtime_dependencies_are_three() -> None:
    required = [r for r in distribution().requires or [] if "extra ==" not in r]
    names = {re.split(r"[^\w-]", r)[0] for r in required}
    assert names == {"numpy", "safetensors", "tqdm"}


def test_package_carries_its_types() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert (PACKAGE / "_schuss.pyi").is_file()


def test_import_loads_nothing_heavy() -> None:
    # Each of these costs milliseconds to seconds, and none is needed to train.
    heavy = ["torch", "jax", "sklearn", "matplotlib", "pandas", "scipy", "tqdm", "safetensors"]
    code = (
        "import sys, numpy; before = set(sys.modules); import schuss; "
        f"print([m for m in {heavy} if m in sys.modules and m not in before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", module_names())
def test_docstring_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0, f"{name}: {result.failed} of {result.attempted} examples failed"

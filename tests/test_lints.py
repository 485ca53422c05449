# SPDX-License-Identifier: MIT
"""What the arithmetic and the layering forbid, checked in the text of the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 500

# Folders of cpp/ and what each may include besides itself. Tensors (autograd) are what layers and
# parameters are made of, so they sit below nn.
LAYERS: dict[str, tuple[str, ...]] = {
    "base": (),
    "kernels": ("base",),
    "parallel": ("base", "kernels"),
    "autograd": ("base", "kernels", "parallel"),
    "nn": ("base", "kernels", "parallel", "autograd"),
    "optim": ("base", "kernels", "parallel", "autograd", "nn"),
    "train": ("base", "kernels", "parallel", "autograd", "nn", "optim"),
    "bindings": ("base", "kernels", "parallel", "autograd", "nn", "optim", "train"),
}

# Functions whose last bits differ between C libraries, that depend on the rounding mode, or that
# treat NaN and signed zero as the library likes. Exact ones (fma, sqrt, floor, ldexp, isnan,
# copysign ...) are not among them.
LIBM = (
    "exp|exp2|exp10|expm1|log|log2|log10|log1p|pow|cbrt|hypot|sin|cos|tan|sincos|asin|acos|atan|"
    "atan2|sinh|cosh|tanh|asinh|acosh|atanh|erf|erfc|lgamma|tgamma|fmin|fmax|rint|nearbyint|"
    "lrint|llrint"
)
LIBM_QUALIFIED = rf"(?:std::|__builtin_)(?:{LIBM})[fl]?\b"
LIBM_CALL = rf"(?<![\w.:>~])(?:::)?(?:{LIBM})[fl]?\s*\("
# Folders whose own functions carry these names: `exp(tensor)` there is an operation, not libm's.
OPERATION_FOLDERS = {"autograd", "bindings"}

FORBIDDEN_CPP = {
    r"\b_mm\d*_(?:mask_)?reduce_\w+": "the compiler chooses the order of the sum",
    r"\bvaddvq?_\w+": "the instruction chooses the order of the sum",
    r"\bomp\s+simd": "the compiler chooses the order of the sum",
    r"\bstd::(?:transform_)?reduce\b": "the library chooses the order of the sum",
    r"\b_mm\d*_(?:maskz?_)?(?:rcp|rsqrt)\w*": "approximations differ between processors",
    r"\bvr(?:ecp|sqrt)[es]\w*": "approximations differ between processors",
    r"\b_mm\d*_(?:maskz?_)?(?:min|max)_[ps][sd]\b": "NaN and -0 differ between instruction sets",
    r"\bv(?:min|max)(?:nm)?v?q?_f\d+": "NaN and -0 differ between instruction sets",
    r"\bstd::(?:mt19937\w*|random_device|\w+_distribution)\b": "randomness is counter-based",
}

# Exact functions of `math` and NumPy stay allowed; these are not exact, or sum in some order.
EXACT_MATH = {"inf", "nan", "isfinite", "isinf", "isnan", "isqrt", "gcd", "prod", "ceil", "floor"}
FORBIDDEN_NUMPY = (
    "exp|exp2|expm1|log|log2|log10|log1p|power|float_power|cbrt|sin|cos|tan|tanh|sinh|cosh|arctan|"
    "arctanh|mean|average|sum|nansum|nanmean|cumsum|std|var|dot|vdot|inner|outer|matmul|tensordot|"
    "einsum|convolve|polyfit|polyval|random|linalg|fft"
)
OUTSIDE_NUMERIC_PATH = {
    "__main__.py": "the command line",
    "_demo.py": "NumPy's least squares is the yardstick that the demo compares with",
    "plot.py": "draws: nothing it computes reaches a parameter",
    "datasets": "reads files",
}


def cpp_sources() -> list[Path]:
    suffixes = {".cpp", ".hpp", ".inl"}
    return sorted(p for p in (ROOT / "cpp").rglob("*") if p.suffix in suffixes)


def python_sources(*folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_of(text: str) -> str:
    """C++ text with comments and string literals blanked, line numbers kept."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'

    def blank(match: re.Match[str]) -> str:
        return "\n" * match.group().count("\n")

    return re.sub(pattern, blank, text, flags=re.DOTALL)


def findings(pattern: str, code: str) -> list[str]:
    return [
        f"line {code.count(chr(10), 0, m.start()) + 1}: {m.group().strip()}"
        for m in re.finditer(pattern, code)
    ]


def cpp_arithmetic_findings(folder: str, text: str) -> list[str]:
    code = code_of(text)
    found = findings(LIBM_QUALIFIED, code)
    if folder not in OPERATION_FOLDERS:
        found += findings(LIBM_CALL, code)
    for pattern, reason in FORBIDDEN_CPP.items():
        found += [f"{hit} ({reason})" for hit in findings(pattern, code)]
    return found


def include_findings(folder: str, below_isa: bool, text: str) -> list[str]:
    found = []
    for quoted in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, flags=re.MULTILINE):
        layer = quoted.split("/")[0]
        if layer != folder and layer not in LAYERS[folder]:
            found.append(f'{folder}/ includes "{quoted}"')
    for system in re.findall(r"^\s*#\s*include\s+<([^>]+)>", text, flags=re.MULTILINE):
        if re.match(r"Python\.h|pybind11/|numpy/", system) and folder != "bindings":
            found.append(f"<{system}>: only bindings/ sees Python")
        if re.match(r"\w*intrin\.h|arm_\w+\.h", system) and not below_isa:
            found.append(f"<{system}>: only kernels/isa/ includes intrinsics")
    return found


class NumericPath(ast.NodeVisitor):
    """Collects what Python code must not compute on the way to a parameter."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name):
            module, name = node.value.id, node.attr
            bad_numpy = module in {"np", "numpy"} and re.fullmatch(FORBIDDEN_NUMPY, name)
            if bad_numpy or (module == "math" and name not in EXACT_MATH):
                self.found.append(f"line {node.lineno}: {module}.{name}")
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [f"line {node.lineno}: {a.name}" for a in node.names if a.name == "random"]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        allowed = {"math": EXACT_MATH, "random": set[str]()}.get(node.module or "")
        if allowed is not None:
            bad = [a.name for a in node.names if a.name not in allowed]
            self.found += [f"line {node.lineno}: {node.module}.{name}" for name in bad]

    def visit_BinOp(self, node: ast.BinOp) -> None:
        integers = all(
            isinstance(side, ast.Constant) and isinstance(side.value, int)
            for side in (node.left, node.right)
        )
        if isinstance(node.op, ast.Pow) and not integers:
            self.found.append(f"line {node.lineno}: **")
        self.generic_visit(node)


def python_arithmetic_findings(text: str) -> list[str]:
    visitor = NumericPath()
    visitor.visit(ast.parse(text))
    return visitor.found


def report(found: dict[str, list[str]]) -> str:
    return "\n".join(f"{path}: {hit}" for path, hits in found.items() for hit in hits)


def test_cpp_arithmetic_is_our_own() -> None:
    files = cpp_sources()
    assert files, "no sources under cpp/"
    found = {
        relative(p): cpp_arithmetic_findings(p.relative_to(ROOT / "cpp").parts[0], p.read_text())
        for p in files
    }
    assert not any(found.values()), report(found)


def test_cpp_dependencies_point_one_way() -> None:
    found = {}
    for path in cpp_sources():
        folder = path.relative_to(ROOT / "cpp").parts[0]
        assert folder in LAYERS, f"{relative(path)}: cpp/{folder}/ is not a layer"
        below_isa = path.parent == ROOT / "cpp" / "kernels" / "isa"
        found[relative(path)] = include_findings(folder, below_isa, path.read_text())
    assert not any(found.values()), report(found)


def test_python_numeric_path_computes_no_floats() -> None:
    package = ROOT / "python" / "schuss"
    files = python_sources("python/schuss")
    assert files, "no sources under python/schuss/"
    found = {
        relative(p): python_arithmetic_findings(p.read_text())
        for p in files
        if p.relative_to(package).parts[0] not in OUTSIDE_NUMERIC_PATH
    }
    assert not any(found.values()), report(found)


def test_sources_start_with_their_licence() -> None:
    cpp = [*cpp_sources(), *(ROOT / "tests").rglob("*.cpp")]
    python = python_sources("python", "tests", "bench", "examples")
    expected = [(p, "// SPDX-License-Identifier: MIT") for p in cpp]
    expected += [(p, "# SPDX-License-Identifier: MIT") for p in python]
    missing = [relative(p) for p, line in expected if not p.read_text().startswith(line + "\n")]
    assert not missing, f"first line is not the SPDX line: {missing}"


def test_sources_are_short_enough_to_read() -> None:
    files = cpp_sources() + python_sources("python", "tests", "bench", "examples")
    lengths = {relative(p): p.read_text().count("\n") for p in files}
    long = {path: n for path, n in lengths.items() if n > MAX_LINES}
    assert not long, f"more than {MAX_LINES} lines: {long}"


@pytest.mark.parametrize(
    ("code", "is_bad"),
    [
        ("y = std::exp(x);", True),
        ("y = expf (x);", True),
        ("y = ::pow(x, 2);", True),
        ("y = __builtin_log1p(x);", True),
        ("s = _mm512_reduce_add_ps(v);", True),
        ("v = _mm256_max_ps(a, b);", True),
        ("v = _mm_rsqrt_ps(a);", True),
        ("y = std::fma(a, b, c) + std::sqrt(d);", False),
        ("y = v_exp<T>(x); table.exp(x); n->log(x);", False),
        ("// std::exp(x) is off by one ulp here", False),
        ('require(ok, "exp(x) overflows");', False),
    ],
)
def test_cpp_lint_on_known_code_decides_rightly(code: str, is_bad: bool) -> None:
    assert bool(cpp_arithmetic_findings("kernels", code)) == is_bad


@pytest.mark.parametrize(
    ("code", "is_bad"),
    [
        ("import math\ny = math.cos(x)", True),
        ("from math import exp", True),
        ("import random", True),
        ("y = np.random.default_rng(0)", True),
        ("y = np.mean(x)", True),
        ("y = beta ** t", True),
        ("y = 2**31 + math.inf", False),
        ("y = np.asarray(x).reshape(-1)", False),
        ("'''np.exp(x)'''", False),
    ],
)
def test_python_lint_on_known_code_decides_rightly(code: str, is_bad: bool) -> None:
    assert bool(python_arithmetic_findings(code)) == is_bad


@pytest.mark.parametrize(
    ("folder", "line", "is_bad"),
    [
        ("base", '#include "kernels/kernels.hpp"', True),
        ("nn", '#include "train/gather.hpp"', True),
        ("train", '#include "nn/parameter.hpp"', False),
        ("train", "#include <pybind11/numpy.h>", True),
        ("bindings", "#include <pybind11/numpy.h>", False),
        ("kernels", "#include <immintrin.h>", True),
    ],
)
def test_include_lint_on_known_lines_decides_rightly(folder: str, line: str, is_bad: bool) -> None:
    assert bool(include_findings(folder, False, line)) == is_bad

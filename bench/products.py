# SPDX-License-Identifier: MIT
"""Products alone: schuss against MKL and OpenBLAS in C++; `functional.linear` against PyTorch.

    cmake -B build -DSCHUSS_BUILD_BENCH=ON && cmake --build build --target bench_products
    python bench/products.py --driver build/bench_products --json r.json
    python bench/products.py --skip-driver                      # the Python side only

MKL is the newest one found: from `pip install mkl` in this environment, or --mkl. OpenBLAS is the
one that SciPy brings, or --openblas. MKL picks its code by the processor's vendor;
MKL_ENABLE_INSTRUCTIONS=AVX2 in the environment asks it to think again, and is recorded.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import machine
import schuss
from schuss import nn
from schuss.nn import functional

SETTLE_SECONDS = 0.005
SAMPLE_SECONDS = 0.003
SQUARES = (32, 64, 128, 256, 384, 512, 768, 1024, 1536)
LAYERS = [(n, n, n) for n in SQUARES] + [(128, 784, 128), (128, 128, 10)]
EPS = float(np.finfo(np.float32).eps)


def find_mkl() -> Path | None:
    """Find the library of the PyPI package `mkl`."""
    found = sorted((Path(sys.prefix) / "lib").glob("libmkl_rt.so*"))
    return found[-1] if found else None


def find_openblas() -> Path | None:
    """Find the OpenBLAS of SciPy's wheel (NumPy's has 64-bit integers)."""
    spec = importlib.util.find_spec("scipy")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent.parent / "scipy.libs"
    return next(iter(sorted(folder.glob("libscipy_openblas*.so"))), None)


def run_driver(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the C++ program, its table on the screen, and return its lines."""
    command = [str(options.driver), "--rounds", str(options.rounds)]
    for name in ("shapes", "forms", "threads", "dtypes"):
        if value := getattr(options, name):
            command += [f"--{name}", value]
    for name in ("mkl", "openblas"):
        path = getattr(options, name)
        if path is not None:
            command += [f"--{name}", str(path)]
    environment = os.environ.copy()
    if options.mkl is not None:  # where its parts and its OpenMP are
        paths = [str(options.mkl.resolve().parent), environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = ":".join(path for path in paths if path)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines.json"
        subprocess.run([*command, "--json", str(lines)], check=True, env=environment)
        found: list[dict[str, Any]] = json.loads(lines.read_text(encoding="utf-8"))
        return found


def seconds_of(call: Callable[[], object], times: int) -> float:
    """Time of one call, in a row of some."""
    time.sleep(SETTLE_SECONDS)
    call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def compare_linear(shape: tuple[int, int, int], threads: int, rounds: int) -> dict[str, Any]:
    """Time `functional.linear` without history against PyTorch's; returns all samples."""
    import torch

    batch, n_in, n_out = shape
    torch.set_num_threads(threads)
    schuss.set_num_threads(threads)
    x = np.random.default_rng(0).standard_normal((batch, n_in), dtype=np.float32)
    layer = nn.Linear(n_in, n_out)
    torch_layer = torch.nn.Linear(n_in, n_out)
    with torch.no_grad():
        torch_layer.weight.copy_(torch.from_numpy(np.array(layer.weight)))
        torch_layer.bias.copy_(torch.from_numpy(np.array(layer.bias)))
    torch_x = torch.from_numpy(x)

    def ours() -> Any:
        return functional.linear(x, layer.weight, layer.bias)

    def theirs() -> Any:
        return torch.nn.functional.linear(torch_x, torch_layer.weight, torch_layer.bias)

    samples: dict[str, list[float]] = {"schuss": [], "PyTorch": []}
    with schuss.no_grad(), torch.no_grad():
        # Each of n_in + 1 roundings is relative to a partial sum of |x w|; there are two results.
        weight = np.abs(np.array(layer.weight))
        allowed = 2 * (n_in + 1) * EPS / 2 * (np.abs(x) @ weight.T + np.abs(np.array(layer.bias)))
        difference = np.abs(ours().numpy() - theirs().numpy())
        assert (difference <= allowed).all(), f"functional.linear differs from PyTorch's: {shape}"
        times = max(1, round(SAMPLE_SECONDS / max(seconds_of(theirs, 1), 1e-7)))
        for _ in range(rounds):
            samples["schuss"].append(seconds_of(ours, times))
            samples["PyTorch"].append(seconds_of(theirs, times))
    return {"shape": shape, "threads": threads, "seconds": samples}


def linear_table(lines: list[dict[str, Any]]) -> str:
    """Format the times of `functional.linear`."""
    text = [f"{'functional.linear':18} {'th':>2} {'schuss':>9} {'PyTorch':>9} {'ratio':>7}   (us)"]
    for line in lines:
        ours, theirs = line["seconds"]["schuss"], line["seconds"]["PyTorch"]
        ratio = statistics.median(t / o for o, t in zip(ours, theirs, strict=True))
        text.append(
            f"{'x'.join(map(str, line['shape'])):18} {line['threads']:2} "
            f"{statistics.median(ours) * 1e6:9.4g} {statistics.median(theirs) * 1e6:9.4g} "
            f"{ratio:7.3f}"
        )
    return "\n".join(text)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--driver", type=Path, default=Path("build/bench_products"))
    parser.add_argument("--skip-driver", action="store_true", help="the Python side only")
    parser.add_argument("--skip-linear", action="store_true", help="the C++ side only")
    parser.add_argument("--mkl", type=Path, default=find_mkl(), help="libmkl_rt")
    parser.add_argument("--openblas", type=Path, default=find_openblas())
    parser.add_argument("--shapes", default="", help="as the C++ program takes them")
    parser.add_argument("--forms", default="", help="forward,weight,input")
    parser.add_argument("--dtypes", default="", help="f32,f64")
    parser.add_argument("--threads", default=f"1,{machine.available_cores()}")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    options = parser.parse_args(arguments)
    if not options.skip_driver and not options.driver.exists():
        parser.error(f"--driver: no {options.driver}; build the target bench_products")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run both sides."""
    options = parse(arguments)
    threads = [int(n) for n in options.threads.split(",")]
    document: dict[str, Any] = {"machine": machine.describe(max(threads))}
    libraries = {"MKL": options.mkl, "OpenBLAS": options.openblas}
    document["libraries"] = {name: path and path.name for name, path in libraries.items()}
    if not options.skip_driver:
        document["products"] = run_driver(options)
    if not options.skip_linear:
        lines = [compare_linear(shape, n, options.rounds) for n in threads for shape in LAYERS]
        document["linear"] = lines
        print(linear_table(lines))
    if options.json is not None:
        options.json.write_text(json.dumps(document) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Where and with what a result was measured."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import schuss

PACKAGES = ("schuss", "numpy", "torch", "jax", "jaxlib", "scikit-learn")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def available_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> dict[str, Any]:
    fields: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags", fields.get("Features", "")).split()
    wanted = ("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "asimd", "sve")
    return {
        "model": fields.get("model name", platform.processor() or platform.machine()),
        "mhz": fields.get("cpu MHz", ""),
        "isa": [flag for flag in wanted if flag in flags],
        "cores": available_cores(),
    }


def _version(package: str) -> str:
    if package == "schuss":  # a build tree is not installed
        return schuss.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def describe(threads: int) -> dict[str, Any]:
    """Return machine, versions, date, threads and what else sets the speed of this run."""
    variables = ("SCHUSS_ISA", "SCHUSS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
                 "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA",
                 "OPENBLAS_CORETYPE", "XLA_FLAGS")  # fmt: skip
    try:
        import schuss

        info = {key: str(value) for key, value in schuss.info().items()}
    except ImportError:
        info = {}
    return {
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "system": platform.platform(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_at_start": os.getloadavg(),
        "threads": threads,
        "versions": _versions(),
        "schuss": info,
        "environment": {name: os.environ[name] for name in variables if name in os.environ},
    }
